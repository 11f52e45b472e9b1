"""Runs as processes: some side by side, each on its own core, all of them ended when the experiment ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import Queue
from typing import TypeVar

Work = TypeVar("Work")


class Processes:
    """The processes under way.

    Args:
        at_once: how many; where more than one, each has one core and one thread.
    """

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self._lock = threading.Lock()
        self._under_way: set[subprocess.Popen[bytes]] = set()
        self._stopped = False
        self._cores: Queue[int] = Queue()
        available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        for number in range(at_once if available and at_once > 1 else 0):
            self._cores.put(available[number % len(available)])

    @property
    def stopped(self) -> bool:
        """Whether the experiment was interrupted, so that processes end before they are done."""
        return self._stopped

    def moon2(self, typed: Sequence[str], log: Path) -> int:
        """Runs one `moon2` command, adds what it prints to `log`, and gives its exit status."""
        environment = os.environ | ({"OMP_NUM_THREADS": "1"} if self.at_once > 1 else {})
        command = [sys.executable, "-m", "moon2.experiments.child", str(os.getpid()), *typed]
        with log.open("a") as file:
            with self._lock:
                if self._stopped:
                    return -1
                process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
                self._under_way.add(process)
            try:
                return process.wait()
            finally:
                with self._lock:
                    self._under_way.discard(process)

    def for_each(self, work: Sequence[Work], do: Callable[[Work], None]) -> None:
        """Does all of the work, `at_once` pieces at a time. Interrupted, ends the processes and starts no other."""
        pool = ThreadPoolExecutor(self.at_once, initializer=self._pin)
        try:
            for done in as_completed([pool.submit(do, piece) for piece in work]):
                done.result()
        except BaseException:
            with self._lock:
                self._stopped = True
                for process in self._under_way:
                    process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _pin(self) -> None:
        # On Linux this is the thread's own affinity, and the processes it starts inherit it.
        if not self._cores.empty():
            os.sched_setaffinity(0, {self._cores.get()})
