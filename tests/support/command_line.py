"""The command line in tests: what a command prints that must fail, and a new Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moon2.catalog.store import write_catalog
from moon2.cli import main
from moon2.records import Product

HEAVY = {"torch", "transformers", "datasets", "ray", "sklearn", "accelerate"}
"""Libraries that no command imports before it needs them."""


def error_line(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """Runs a command that must end with exit code 2, nothing on standard output and one line, which is returned."""
    assert main([str(arg) for arg in args]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("moon2: "), printed.err
    return lines[0]


def run_python(*args: str) -> tuple[float, str]:
    """Seconds of the processor that a new Python takes, and what it prints.

    Of the processor and not of the clock, so that a busy machine changes nothing.
    """
    process = subprocess.Popen([sys.executable, *args], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, output
    return usage.ru_utime + usage.ru_stime, output


def write_shop_without_log(folder: Path) -> Path:
    """Writes a catalog of three products without a search log."""
    products = [Product(id=str(number), title=f"shirt number {number}") for number in range(3)]
    return write_catalog(folder, {"train": products}, title="shirts").folder
