"""The house stands as docs/house.md says: imports go downward, files are short, and what we do without stays out."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "moon2"
FLOORS = (  # from the top down; folders and files of one floor do not import each other
    ("__main__",),
    ("cli",),
    ("demo",),
    ("experiments", "push", "serve"),
    ("evaluate", "search"),
    ("train", "augment", "explain"),
    ("vectors",),
    ("encoders", "jobs"),
    ("model", "catalog"),
    ("objective",),
    ("records", "run_folder", "image_cache", "thumbnails"),
    ("recipe", "images"),
    ("views", "files", "progress", "templates"),
    ("errors", "meant", "options"),
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
LAZY = {"Encoder": "model"}
"""Names that the package hands out without importing their folder at once."""
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
            assert node.level == 0, f"line {node.lineno}: a relative import; name the module in full"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def places(code: str) -> set[str]:
    """The folders and files at the top of the package that a file imports from."""
    second = {name.split(".")[1] for name in imported(code) if name.startswith("moon2.")}
    return {LAZY.get(name, name) for name in second} & FLOOR_OF.keys()


def modules(code: str) -> set[Path]:
    """The files of the package that a file imports."""
    paths = [SOURCE.parent.joinpath(*name.split(".")) for name in imported(code) if name.startswith("moon2.")]
    return {
        path.with_suffix(".py") for part in paths for path in (part, part.parent) if path.with_suffix(".py").exists()
    }


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def test_the_reader_of_imports_sees_all_forms() -> None:
    inside = "    from moon2.model import experts\n    from moon2 import Encoder, recipe\n"
    code = f"import moon2.train.step\ndef f():\n{inside}"
    assert places(code) == {"train", "model", "recipe"}
    assert SOURCE / "train" / "step.py" in modules(code) and SOURCE / "model" / "experts.py" in modules(code)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_only_downward(path: Path) -> None:
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if own == "__init__":
        return  # the front door hands out what is inside
    assert own in FLOOR_OF, f"{own} stands on no floor: give it one here and in docs/house.md"
    wrong = {place for place in places(path.read_text()) - {own} if FLOOR_OF[place] <= FLOOR_OF[own]}
    assert not wrong, f"imports from beside or above: {wrong}"


def test_no_file_imports_itself_by_a_detour() -> None:
    imports = {path: modules(path.read_text()) - {path} for path in FILES}
    while True:  # take away what imports nothing that is left, until nothing or only circles are left
        done = {path for path, targets in imports.items() if not targets & imports.keys()}
        if not done:
            break
        imports = {path: targets for path, targets in imports.items() if path not in done}
    assert not imports, f"in or above a circle: {sorted(map(name_of, imports))}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_we_do_without_stays_out(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path.read_text())} & UNWANTED


def test_only_the_command_line_writes_to_the_terminal() -> None:
    def prints(path: Path) -> bool:
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        return any(isinstance(call, ast.Name) and call.id == "print" for call in calls)

    assert [name_of(path) for path in FILES if prints(path)] == ["cli.py"]
