"""A disk without room ends a command in one line, and what was there stays; a limit on file size stands for it."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from support.small_recipe import write_small_recipe

from moon2 import Encoder
from moon2.catalog.store import Catalog
from moon2.cli import main
from moon2.files import is_disk_full
from moon2.image_cache import ImageCache
from moon2.images import LongestSide
from moon2.run_folder import RunFolder
from moon2.train.processes import STATE_FILE


@contextmanager
def room_for_files_of(size: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_checkpoint(shop: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder(tmp_path / "run")
    steps = ["training.steps=2", "training.save_every=1"]
    args = ["train", "--config", str(write_small_recipe(tmp_path / "recipe.yaml", *steps)), "--out", str(run.path)]
    args += ["--data", str(shop.folder)]
    with room_for_files_of(100_000):
        assert main(args) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("moon2: the disk is full; make room on it")
    assert list(run.checkpoints.iterdir()) == [] and not run.model.exists()
    assert main([*args, "--resume"]) == 0
    assert (run.checkpoints / "step-00000002" / STATE_FILE).is_file()


def test_a_saved_encoder_stays(small_encoder: Encoder, small_encoder_folder: Path, tmp_path: Path) -> None:
    small_encoder.save_pretrained(tmp_path / "model")
    before = content(tmp_path / "model")
    for size in (100, 5_000, 100_000):
        for name in ("model", "new"):
            with room_for_files_of(size), pytest.raises(Exception, match=r".") as caught:
                small_encoder.save_pretrained(tmp_path / name)
            assert is_disk_full(caught.value)
    assert content(tmp_path / "model") == before and not (tmp_path / "new").exists()


def test_the_image_cache_does_without(
    image: Callable[..., Image.Image], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.effect_noise((1600, 1200), 60).convert("RGB").save(tmp_path / "large.jpg")
    cache = ImageCache(tmp_path / "cache", 1e9)
    with room_for_files_of(10_000):
        opened = cache(tmp_path / "large.jpg", read_at=LongestSide(300))
    assert opened.size == (300, 225) and content(tmp_path / "cache") == {}
    assert "large images are not cached" in caplog.text
