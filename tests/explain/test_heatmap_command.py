"""`moon2 heatmap` as it is typed, and what it says to mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from moon2 import Encoder, Product
from moon2.cli import main


def test_a_drawing_and_a_page(encoder: Encoder, product: Product, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path / "run" / "model")
    product.images[0].save(tmp_path / "photo.png")
    typed = ["heatmap", str(tmp_path / "run"), "--image", str(tmp_path / "photo.png"), "--text", "navy shirt"]
    assert main([*typed, "--query", "shirt", "--out", str(tmp_path / "heat.html")]) == 0
    assert main([*typed, "--layer", "0", "--out", str(tmp_path / "heat.png")]) == 0
    assert (tmp_path / "heat.html").read_text().startswith("<!DOCTYPE html>")
    assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["heatmap", str(tmp_path), "--text", "navy", "--out", "heat.pdf"]) == 2
    assert main(["heatmap", str(tmp_path), "--out", "heat.png"]) == 2
    assert main(["heatmap", str(tmp_path / "none"), "--text", "navy", "--out", "heat.png"]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert "must end in .png or .html" in first and "nothing to look at" in second and "there is no such run" in third
