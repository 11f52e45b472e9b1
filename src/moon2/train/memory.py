"""How much memory the tensors of a step take at once, on any device: counted, not asked of an allocator."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class MemoryMeter(TorchDispatchMode):
    """Counts the bytes of live tensors while it is entered; those of fake tensors too, which have sizes but no memory.

    A storage counts from the operation that made it until nothing refers to it. What a kernel takes for itself does
    not count, nor what an allocator rounds up or holds back. Of a sharded tensor this process's part counts.

    Attributes:
        live: bytes that live now.
        marked: those of them that the caller marked.
        peak: the most bytes that lived at once; may be set to start anew.
        marked_at_peak: the marked ones among those.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types
        self.live = self.marked = self.peak = self.marked_at_peak = 0
        self._sizes: dict[int, int] = {}
        self._marked: set[int] = set()
        self._resize = torch.UntypedStorage.resize_

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Counts tensors that were made before."""
        for tensor in tensors:
            storage = _storage(tensor)
            key = storage._cdata
            if key not in self._sizes:
                self._sizes[key] = 0
                weakref.finalize(storage, self._forget, key).atexit = False
                self._set_size(key, storage.nbytes())

    def mark(self, tensor: Tensor) -> None:
        """Counts a tensor as marked, from now until it is freed."""
        self.add([tensor])
        key = _storage(tensor)._cdata
        if key not in self._marked:
            self._marked.add(key)
            self.marked += self._sizes[key]

    def __enter__(self) -> Any:
        """Starts to count. FSDP2 frees and refills storages that live on, so changes of size count as well."""

        def resize(storage: torch.UntypedStorage, size: int) -> Any:
            if storage._cdata in self._sizes:
                self._set_size(storage._cdata, size)
            return self._resize(storage, size)

        torch.UntypedStorage.resize_ = resize  # type: ignore[method-assign, assignment]  # to be counted
        return super().__enter__()  # type: ignore[no-untyped-call]  # torch has no types

    def __exit__(self, *error: Any) -> None:
        """Ends counting."""
        torch.UntypedStorage.resize_ = self._resize  # type: ignore[method-assign]  # on purpose
        super().__exit__(*error)  # type: ignore[no-untyped-call]  # torch has no types

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation, and counts what it made."""
        result = operation(*args, **(kwargs or {}))
        self.add(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result

    def _set_size(self, key: int, size: int) -> None:
        change = size - self._sizes[key]
        self._sizes[key] = size
        self.live += change
        if key in self._marked:
            self.marked += change
        if self.live > self.peak:
            self.peak, self.marked_at_peak = self.live, self.marked

    def _forget(self, key: int) -> None:
        self._set_size(key, 0)
        self._marked.discard(key)
        del self._sizes[key]


def _storage(tensor: Tensor) -> torch.UntypedStorage:
    return (tensor._local_tensor if isinstance(tensor, DTensor) else tensor).untyped_storage()
