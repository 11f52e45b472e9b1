"""The house stands as docs/house.md says: imports go downward, files are short, and what we do without stays out."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "moon2"
FLOORS = {
    1: ("recipe", "records", "pictures", "writing"),
    2: ("objective", "model", "catalog"),
    3: ("explain", "train", "evaluate", "search", "augment"),
    4: ("serve",),
    5: ("runs", "demo", "experiments", "commands", "cli", "__main__"),
}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
IN_A_ROW = (1, 5)
"""Floors of single files, where one may import those that stand before it; elsewhere, rooms of a floor stay apart."""
LAZY = {"Encoder": "model"}
"""Names that the package gives from a room without importing it at once."""
UNWANTED = {"torchvision", "open_clip", "timm", "pickle"}
MOST_LINES = 400
FILES = sorted(SOURCE.rglob("*.py"))


def imported(code: str) -> list[str]:
    """Every dotted name that a file imports, wherever in it; `from a import b` gives a.b, as b may be a module."""
    names = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import; name the room in full"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def rooms(code: str) -> set[str]:
    """The rooms of the house that a file imports from."""
    second = {name.split(".")[1] for name in imported(code) if name.startswith("moon2.")}
    return {LAZY.get(name, name) for name in second} & FLOOR_OF.keys()


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def test_the_reader_of_imports_sees_all_forms() -> None:
    code = (
        "import moon2.train.step\ndef f():\n    from moon2.model import views\n    from moon2 import Encoder, recipe\n"
    )
    assert rooms(code) == {"train", "model", "recipe"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_only_downward(path: Path) -> None:
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if own == "__init__":
        return  # the front door hands out what is inside
    assert own in FLOOR_OF, f"{own} stands on no floor: give it one here and in docs/house.md"
    floor = FLOOR_OF[own]
    row = FLOORS[floor]
    before = set(row[: row.index(own)]) if floor in IN_A_ROW else set()
    wrong = {room for room in rooms(path.read_text()) - {own} - before if FLOOR_OF[room] >= floor}
    assert not wrong, f"imports from beside or above: {wrong}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_we_do_without_stays_out(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path.read_text())} & UNWANTED
