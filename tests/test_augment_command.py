"""`moon2 augment` on the command line: a shop in, an augmented one out; one line for each error of a user."""

from __future__ import annotations

from pathlib import Path

import pytest

from moon2.catalog.generated_shop.generate import write_shop
from moon2.catalog.store import Catalog
from moon2.cli import main


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shop(out=tmp_path_factory.mktemp("shops") / "shop", products=60, queries=20).folder


def test_a_shop_is_augmented_and_the_counts_are_printed(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "shop+"
    assert main(["augment", str(shop), "--out", str(out), "--images.count", "1", "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    after = list(Catalog.open(out).products("train"))
    assert len(after) == len(Catalog.open(shop).ids("train"))
    assert {len(product.expanded_images) for product in after} <= {0, 2}
    titles, images = (
        sum(product.enriched_title is not None for product in after),
        sum(len(product.expanded_images) for product in after),
    )
    assert f"{len(after)} products, {titles} enriched titles, {images} expanded images" in printed
    assert "products/s" in printed

    before = (out / "README.md").stat().st_mtime_ns
    assert main(["augment", str(shop), "--out", str(out)]) == 2
    assert "holds a catalog already; choose another folder or add --overwrite" in capsys.readouterr().err
    assert (out / "README.md").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere", "--out", "there"], "nowhere"),
        (["SHOP"], "required: out"),
        (["SHOP", "--out", "there", "--text.provider", "openai"], "text.model"),
        (["SHOP", "--out", "there", "--images.count", "-1"], "images.count"),
        (["SHOP", "--out", "there", "--text.provider", "magic"], "text.provider"),
        (["SHOP", "--out", "there", "--workers", "0"], "--workers is 0; give 1 or more"),
        (["SHOP", "--out", "there", "--workers", "-1"], "--workers is -1; give 1 or more"),
    ],
)
def test_a_users_error_is_one_line(
    shop: Path, args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["augment", *(str(shop) if word == "SHOP" else word for word in args)]) == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1


def test_prompts_can_be_written_out_to_be_changed(tmp_path: Path) -> None:
    assert main(["augment", "prompts", str(tmp_path / "mine")]) == 0
    assert len(list((tmp_path / "mine").iterdir())) == 3
