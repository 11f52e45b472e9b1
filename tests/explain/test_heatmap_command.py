"""`moon2 heatmap` on the command line, and its answers to mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from moon2 import Encoder, Product
from moon2.cli import main


def test_a_drawing_and_a_page(
    encoder: Encoder, product: Product, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder.save_pretrained(tmp_path / "run" / "model")
    images = [str(tmp_path / f"{number}.png") for number in range(2)]
    for image, path in zip(product.images, images, strict=True):
        image.save(path)
    page, drawing = tmp_path / "new" / "heat.html", tmp_path / "heat.png"
    args = ["heatmap", str(tmp_path / "run"), "--image", *images, "--text", "navy shirt"]
    assert main([*args, "--query", "shirt", "--out", str(page)]) == 0
    assert main([*args, "--layer", "0", "--out", str(drawing)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(page), str(drawing)]
    assert page.read_text().startswith("<!DOCTYPE html>") and "Image 2" in page.read_text()
    assert drawing.read_bytes().startswith(b"\x89PNG")


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["heatmap", str(tmp_path), "--text", "navy", "--out", "heat.pdf"]) == 2
    assert main(["heatmap", str(tmp_path), "--out", "heat.png"]) == 2
    assert main(["heatmap", str(tmp_path / "none"), "--text", "navy", "--out", "heat.png"]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert "must end in .png or .html" in first and "nothing to look at" in second and "there is no such run" in third
