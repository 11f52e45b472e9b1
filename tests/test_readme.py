"""What the README tells people to type runs, as written and in its order, on a small shop that comes as CSV files.

Only the number and size of training steps is changed. `make` is dry-run, and fetching the project is not run at all.
"""

from __future__ import annotations

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from moon2.catalog.generated_shop.generate import generate_shop
from moon2.cli import COMMANDS, main, make_parser

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(bash|python)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SET_UP = ("git clone ", "cd ", "make ")
SMALLER = " --training.steps 2 --training.batch_size 4 --training.warmup_steps 0"


def commands(block: str) -> list[str]:
    """The command lines of a bash block; a backslash at the end of a line joins it to the next."""
    lines = (line.strip() for line in block.replace("\\\n", " ").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


LINES = [line for kind, block in BLOCKS if kind == "bash" for line in commands(block)]
IN_PROSE = [text for text in re.findall(r"`(moon2 [a-z][^`]*)`", README) if "…" not in text]


@pytest.fixture(scope="module")
def shop_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the README's reader stands: products.csv, searches.csv, photos, and the recipes of the repository."""
    shop = generate_shop(products=60, queries=12)
    folder = tmp_path_factory.mktemp("readme")
    photos = folder / "photos"
    photos.mkdir()
    (folder / "recipes").symlink_to(REPOSITORY / "recipes")
    rows = []
    for split, products in shop.products.items():
        for product in products:
            names = [f"photos/{product.id}-{number}.webp" for number in range(len(product.images))]
            for name, image in zip(names, product.images, strict=True):
                (folder / name).write_bytes(image)
            rows.append(
                {
                    "sku": product.id,
                    "name": product.title,
                    "description": product.description,
                    "category": " > ".join(product.category),
                    "colour": product.attributes["colour"],
                    "image": "|".join(names),
                    "price": product.price,
                    "split": split,
                }
            )
    searches = [
        {
            "query_text": entry.query.text,
            "query_product_id": entry.query.product_id,
            "purchased_ids": "|".join(entry.positive_ids),
            "ignored_ids": "|".join(entry.negative_ids),
            "split": split,
        }
        for split, entries in shop.interactions.items()
        for entry in entries
    ]
    for file, table in (("products.csv", rows), ("searches.csv", searches)):
        with (folder / file).open("w", newline="") as handle:
            writer = csv.DictWriter(handle, list(table[0]))
            writer.writeheader()
            writer.writerows(table)
    photographed = next(product for product in shop.products["train"] if product.images)
    (photos / "shirt.jpg").write_bytes(photographed.images[0])
    return folder


def test_what_the_readme_says_runs_in_its_order(shop_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands, then the Python blocks with the encoder that they made.

    The first is typed into a shell. The others run here, since each new process loads torch anew.
    """
    monkeypatch.chdir(shop_folder)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    lines = [line + SMALLER * line.startswith("moon2 train ") for line in LINES if not line.startswith(SET_UP)]
    subprocess.run(["bash", "-c", lines[0]], env=environment, timeout=300, check=True)
    for line in lines[1:]:
        assert main(shlex.split(line)[1:]) == 0, line
    assert {"import", "train", "evaluate"} <= {line.split()[1] for line in lines}, "the walk-through has lost a step"
    (shop_folder / "runs" / "demo").symlink_to("shop")  # `make demo` has a test of its own
    (shop_folder / "runs" / "demo" / "photos").mkdir()
    shutil.copyfile(shop_folder / "photos" / "shirt.jpg", shop_folder / "runs" / "demo" / "photos" / "2.webp")
    for kind, block in BLOCKS:
        if kind == "python":
            exec(compile(block, "README.md", "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make ")])
def test_make_has_the_targets(line: str) -> None:
    command = ["make", "--dry-run", line.removeprefix("make ")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", IN_PROSE)
def test_a_command_in_the_prose_can_be_understood(
    text: str, shop_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop_folder)
    words = shlex.split(text)[1:]
    command = next(name for name in COMMANDS if words[: len(name.split())] == name.split())
    module, _, name = COMMANDS[command].partition(":")
    args = words[len(command.split()) :]
    if args:
        make_parser(getattr(import_module(module), name), command).parse_args(args)


def test_the_commands_of_the_import_guide_can_be_understood() -> None:
    guide = (REPOSITORY / "docs" / "import.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in commands(block)]
    layouts = set()
    for line in lines:
        command = next(name for name in COMMANDS if line.startswith(f"moon2 {name} "))
        args = shlex.split(line)[1 + len(command.split()) :]
        module, _, function = COMMANDS[command].partition(":")
        parsed = make_parser(getattr(import_module(module), function), command).parse_args(args)
        layouts |= {parsed["layout"]} if command == "import" else set()
    assert {"auto", "hub", "shopify", "woocommerce", "google-merchant", "mbe"} <= layouts


def test_the_commands_of_the_search_guide_can_be_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those in its blocks, and those that stand between its lines."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(REPOSITORY / "recipes")
    guide = (REPOSITORY / "docs" / "search.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in commands(block)]
    lines += re.findall(r"^    (moon2 .*)$", guide, re.MULTILINE)
    understood = set()
    for line in lines:
        command = next(name for name in COMMANDS if line.startswith(f"moon2 {name} "))
        module, _, function = COMMANDS[command].partition(":")
        args = shlex.split(line)[1 + len(command.split()) :]
        make_parser(getattr(import_module(module), function), command).parse_args(args)
        understood.add(command)
    assert {"import", "embed", "index", "search", "upsert", "delete", "optimize", "push"} <= understood


def headings(file: Path) -> set[str]:
    """Of Markdown, as links name them."""
    lines = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line.casefold()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize(
    "page", [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_what_a_page_links_is_there(page: Path) -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", page.read_text()) if "://" not in target]
    for target in targets:
        name, _, part = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        assert not part or part in headings(linked), target


def test_every_recipe_the_readme_names_is_there() -> None:
    recipes = re.findall(r"`(?:recipes/)?([\w.-]+\.yaml)`", README)
    assert "tiny.yaml" in recipes
    assert [name for name in recipes if not (REPOSITORY / "recipes" / name).exists()] == []
