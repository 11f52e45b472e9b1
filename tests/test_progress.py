"""Progress in a log file: whole lines, and few of them."""

from __future__ import annotations

import pytest

from moon2 import progress
from moon2.progress import progress_bar, set_quiet, write_line


def test_a_log_file_gets_a_line_at_the_start_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(total=1000, desc="train", unit="steps") as bar:
        for number in range(1000):
            bar.set_postfix({"loss": number}, refresh=False)
            bar.update()
            if number == 500:
                write_line("half of it is done")
    printed = capsys.readouterr().err
    assert "\r" not in printed and "\x1b" not in printed
    first, notice, last = printed.splitlines()
    assert first.startswith("train: 0 of 1000 steps, ") and last.startswith("train: 1000 of 1000 steps, ")
    assert notice == "half of it is done" and last.endswith("loss=999")


def test_without_a_total_it_is_as_plain(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(desc="import shop.csv", unit="products") as bar:
        bar.update(72)
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(",")[0] for line in lines] == [
        "import shop.csv: 0 products",
        "import shop.csv: 72 products",
    ]


def test_between_them_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    assert [*progress_bar([1, 2, 3], desc="read", miniters=1)] == [1, 2, 3]
    assert len(capsys.readouterr().err.splitlines()) > 2


def test_nothing_when_quiet_or_disabled(capsys: pytest.CaptureFixture[str]) -> None:
    set_quiet(True)
    try:
        progress_bar(total=3).close()
    finally:
        set_quiet(False)
    progress_bar(total=3, disable=True).close()
    assert capsys.readouterr().err == ""
