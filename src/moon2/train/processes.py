"""The processes that train together, one a device: what they exchange, and how they hold the weights.

Each process runs its share of the batch. Vectors, gates and router sums are gathered with their gradients, so each
computes the loss of the whole batch: negatives, masks, ω, L_aux and φ are those of one process with the same batch.

Weights are held whole by each process (gradients are then averaged once a step), or in parts by FSDP2, in which each
process gathers a layer's weights just before it needs them. Start several by `torchrun` or `accelerate launch`.
"""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard

from moon2.model.moon_model import MoonModel, RouterSums, Views

T = TypeVar("T")
STATE_FILE = "training.pt"
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
# Frozen weights are those that the run began with.
TRAINED = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)


class Processes:
    """The processes of a run; a run of one process has no other to wait for.

    Attributes:
        rank: the number of this process; 0 alone writes.
        count: how many there are.
        device: of this process.
    """

    def __init__(self, rank: int, count: int, device: torch.device) -> None:
        self.rank = rank
        self.count = count
        self.device = device

    @classmethod
    @contextmanager
    def start(cls) -> Iterator[Processes]:
        """Joins those that `torchrun` started; without it there is one, on the accelerator if there is one."""
        count, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
        kind = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        device = torch.device("cpu") if kind is None else torch.device(kind.type, local)
        if device.type != "cpu":
            torch.accelerator.set_device_index(local)
        if count == 1:
            yield cls(0, 1, device)
            return
        # Gloo exchanges what is on the host, so that asking for the number of chunks does not wait for a GPU.
        dist.init_process_group("gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl")
        try:
            yield cls(dist.get_rank(), count, device)
            dist.barrier()  # or one that is done would close the line while another still reads from it
        finally:
            dist.destroy_process_group()

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def largest(self, number: int) -> int:
        """The largest of the numbers that the processes give."""
        if self.count == 1:
            return number
        found = torch.tensor(number)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def from_first(self, value: T) -> T:
        """What the first process gives, whatever the others do; anything that can be pickled. All must call it."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def gather(self, views: Views, counts: Sequence[int], order: Tensor) -> Views:
        """The views of the whole batch, from those of each process's share.

        Args:
            views: of this process's share.
            counts: how many items each process has.
            order: as in `TripletBatch`, on the device of the views.
        """

        def rows(values: Tensor) -> Tensor:
            shares = values if self.count == 1 else cast(Tensor, _GatherRows.apply(values, self, tuple(counts)))  # type: ignore[no-untyped-call]
            return shares.index_select(0, order)

        def total(values: Tensor) -> Tensor:
            return values if self.count == 1 else cast(Tensor, _Sum.apply(values, self))  # type: ignore[no-untyped-call]

        return Views(
            rows(views.has_text),
            rows(views.has_images),
            {view: rows(vectors) for view, vectors in views.vectors.items()},
            {view: rows(routing) for view, routing in views.routing.items()},
            RouterSums(total(views.router_sums.assigned), total(views.router_sums.probability)),
            {},
        )

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Averages the gradients of weights that every process holds whole; a missing one counts as zeros.

        So a weight gets the same gradient however the images of a batch fall on the processes. FSDP2 has already
        averaged those that it shards.
        """
        whole: list[Tensor] = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if not isinstance(parameter.grad, DTensor):
                whole.append(parameter.grad)
        if self.count > 1:
            for group in _by_size(whole):
                flat = torch.cat([gradient.flatten() for gradient in group])
                dist.all_reduce(flat)
                flat /= self.count
                for gradient, part in zip(group, flat.split([g.numel() for g in group]), strict=True):
                    gradient.copy_(part.view_as(gradient))

    def clip_gradients(self, parameters: Iterable[nn.Parameter], norm: float) -> Tensor:
        """Scales all gradients down to this norm together; returns what the norm was."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        parts = [[g for g in gradients if isinstance(g, DTensor) == is_sharded] for is_sharded in (True, False)]
        norms = [torch.nn.utils.get_total_norm(part) for part in parts if part]
        total = torch.stack([each.full_tensor() if isinstance(each, DTensor) else each for each in norms]).norm()
        scale = (norm / (total + 1e-6)).clamp(max=1.0)
        local = [g.to_local() if isinstance(g, DTensor) else g for g in gradients]
        torch._foreach_mul_(local, scale)
        return total

    def shard(self, model: MoonModel, *, bf16: bool) -> None:
        """Lets each process hold a part of the weights (FSDP2), in place; W* stays whole.

        Args:
            model: on its device.
            bf16: weights are gathered, and products computed, in bfloat16; the parts stay as they are.
        """
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32)

        def placement(parameter: nn.Parameter) -> Shard:
            # Along its experts, a stack of 4 leaves half of 8 processes with nothing; any other cut must be even.
            sides = (1, 2) if parameter.dim() == 3 else ()
            return next((Shard(side) for side in sides if parameter.shape[side] % self.count == 0), Shard(0))

        backbone = cast(nn.Module, model.backbone)
        blocks = [
            *cast(nn.ModuleList, backbone.get_submodule(model.family.vision_blocks)),
            *cast(nn.ModuleList, backbone.get_submodule(f"{model.family.decoder}.layers")),
        ]
        for block in blocks:
            fully_shard(block, mp_policy=policy, shard_placement_fn=placement)
        # A batch's own numbers stay float32: sums over tokens are taken with them.
        policy = replace(policy, cast_forward_inputs=False)
        fully_shard(model, mp_policy=policy, shard_placement_fn=placement, ignored_params={model.dual_alignment})
        atexit.register(_end_exchange)

    def training_state(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Trained weights and optimizer states, on the host; all must call it, and the first process gets them."""
        weights, states = get_state_dict(model, optimizer, options=TRAINED)
        return {"model": weights, "optimizer": states}

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
        """Reads a saved `training_state`, whatever the number of processes was."""
        saved: dict[str, Any] = torch.load(folder / STATE_FILE, map_location="cpu", mmap=True, weights_only=True)
        set_state_dict(
            model,
            optimizer,
            model_state_dict=saved["model"],
            optim_state_dict=saved["optimizer"],
            options=StateDictOptions(full_state_dict=True, strict=all(w.requires_grad for w in model.parameters())),
        )

    def whole_weights(self, model: nn.Module) -> dict[str, Tensor] | None:
        """All weights of a sharded network, on the host, in the first process; the others get none. All must call it.

        None where each process holds the network whole.
        """
        if not isinstance(model, FSDPModule):
            return None
        weights = cast(dict[str, Tensor], get_model_state_dict(model, options=WHOLE))
        # What was cut unevenly comes back as a part of a longer storage, which safetensors refuses to write.
        return {
            name: each.clone() if each.untyped_storage().nbytes() > each.nbytes else each
            for name, each in weights.items()
        }


def _end_exchange() -> None:
    """Ends gloo's threads while Python still runs.

    Torch's cached meshes keep them alive. One that lets go of a tensor when Python is already gone aborts the process,
    and `torchrun` calls a finished run failed.
    """
    gc.collect()
    for mesh in [each for each in gc.get_objects() if type(each) is DeviceMesh]:
        mesh._pg_registry.clear()


def save_state(state: dict[str, Any], folder: Path) -> None:
    """Writes what `Processes.training_state` gave the first process; `Processes.load` reads it."""
    # Of a file that Python opened, a full disk is told as what it is.
    with (folder / STATE_FILE).open("wb") as file:
        torch.save(state, file)


class _GatherRows(torch.autograd.Function):
    """Rows of all processes, one share after another.

    Each process computes the loss of the whole batch, and gradients are averaged over the processes afterwards. So what
    comes back to a share is its own part of the gradient, times the number of processes.
    """

    @staticmethod
    def forward(ctx: Any, share: Tensor, processes: Processes, counts: tuple[int, ...]) -> Tensor:
        """[n, …] of each → [Σ n, …]."""
        ctx.processes, ctx.counts = processes, counts
        # Shares of one length travel together.
        padded = share.new_zeros((max(counts), *share.shape[1:]))
        padded[: len(share)] = share
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        return torch.cat([rows[:count] for rows, count in zip(found, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """This share's rows."""
        start = sum(ctx.counts[: ctx.processes.rank])
        return gradient[start : start + ctx.counts[ctx.processes.rank]] * ctx.processes.count, None, None


class _Sum(torch.autograd.Function):
    """The sum over all processes; for its gradient see `_GatherRows`."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, processes: Processes) -> Tensor:
        """Of equal shape everywhere."""
        ctx.processes = processes
        total = share.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """The same to each."""
        return gradient * ctx.processes.count, None


def _by_size(gradients: Sequence[Tensor], limit: int = 64 * 2**20) -> Iterator[list[Tensor]]:
    """Groups of one number format and about `limit` elements, so that few messages are sent and little is copied."""
    group: list[Tensor] = []
    for gradient in sorted(gradients, key=lambda each: str(each.dtype)):
        if group and (group[0].dtype != gradient.dtype or sum(each.numel() for each in group) > limit):
            yield group
            group = []
        group.append(gradient)
    if group:
        yield group
