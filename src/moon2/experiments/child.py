"""moon2's command line in a process that does not outlive the one that started it: `python -m moon2.experiments.child`.

A run goes on for minutes or hours. If the experiment that started it is killed, even by a signal that nobody can
catch, its runs must end too, or the same command given again would meet them still at work.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with(parent: int) -> None:
    """Asks Linux to end this process when its parent ends; elsewhere does nothing, and the run's lock must do.

    Args:
        parent: process id of the parent, which may be gone already.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    sys.argv[:2] = ["moon2"]
    runpy.run_module("moon2", run_name="__main__", alter_sys=True)
