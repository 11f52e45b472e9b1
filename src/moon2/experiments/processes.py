"""Runs as processes: some side by side, all of them ended when the experiment ends.

A run goes on for minutes or hours. If the experiment that started it is killed, even by a signal that nobody can catch,
its runs must end too, or the same command given again would meet them still at work. So each run is started as
`python -m moon2.experiments.processes PARENT ARGS… --then ARGS…`, moon2's command line, one command after another, in
a process that watches its parent.
"""

from __future__ import annotations

import gc
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import groupby
from pathlib import Path
from typing import TypeVar

Work = TypeVar("Work")
SECONDS_BETWEEN_CHECKS = 0.5
THEN = "--then"


class Processes:
    """The processes that are running.

    Args:
        at_once: how many; where more than one, each computes with one thread.
    """

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.stopped = False
        """Whether the experiment was interrupted, so that processes end before they are done."""
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()

    def moon2(self, commands: Sequence[Sequence[str]], log: Path) -> int:
        """Runs `moon2` commands until one fails, adds what they print to `log`, and gives the last exit code.

        All in one process, since to start Python and load its libraries takes longer than a small run.
        """
        args = [word for command in commands for word in (THEN, *command)][1:]
        environment = os.environ | ({"OMP_NUM_THREADS": "1"} if self.at_once > 1 else {})
        command = [sys.executable, "-m", "moon2.experiments.processes", str(os.getpid()), *args]
        with log.open("a") as file:
            with self._lock:
                if self.stopped:
                    return -1
                process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
                self._running.add(process)
            try:
                return process.wait()
            finally:
                with self._lock:
                    self._running.discard(process)

    def for_each(self, work: Sequence[Work], do: Callable[[Work], None]) -> None:
        """Does all of the work, `at_once` pieces at a time. Interrupted, it ends the processes and starts no other."""
        pool = ThreadPoolExecutor(self.at_once)
        try:
            for done in as_completed([pool.submit(do, piece) for piece in work]):
                done.result()
        except BaseException:
            with self._lock:
                self.stopped = True
                for process in self._running:
                    process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with(parent: int) -> None:
    """Ends this process when `parent`, a process id, is no longer its parent; an orphan is given another."""
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_CHECKS)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=[int(sys.argv[1])], daemon=True).start()
    for is_then, words in groupby(sys.argv[2:], THEN.__eq__):
        if is_then:
            continue
        sys.argv = ["moon2", *words]
        try:
            runpy.run_module("moon2", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            if end.code:
                raise
        gc.collect()  # a compiled model refers to itself
        if torch := sys.modules.get("torch"):
            torch.cuda.empty_cache()  # other runs may wait for a GPU's memory
