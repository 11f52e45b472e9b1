"""moon2's command line in a process that does not outlive the one that started it: `python -m moon2.experiments.child`.

A run goes on for minutes or hours. If the experiment that started it is killed, even by a signal that nobody can
catch, its runs must end too, or the same command given again would meet them still at work.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import time
from threading import Thread

SECONDS_BETWEEN_LOOKS = 0.5


def end_with(parent: int) -> None:
    """Ends this process when `parent`, a process id, is no longer its parent; an orphan is given another."""
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    Thread(target=end_with, args=[int(sys.argv[1])], daemon=True).start()
    sys.argv[:2] = ["moon2"]
    runpy.run_module("moon2", run_name="__main__", alter_sys=True)
