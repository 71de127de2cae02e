"""The layout of the package stays one that a newcomer reads at once."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_ARROWS = 50
MOST_LINES = 400
MOST_FILES = 14  # of a folder, but for its __init__.py


def imported(path):
    """Modules of kdtool that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kdtool."):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name.startswith("kdtool."))


def test_few_rooms_of_the_package_know_each_other():
    """A room is a package or a module directly in kdtool; an arrow means that one imports another.

    Their directions are contracts of import-linter.
    """
    arrows = {
        (path.relative_to(ROOT).with_suffix("").parts[1], module.split(".")[1])
        for path in (ROOT / "kdtool").rglob("*.py")
        for module in imported(path)
    }
    assert len({(one, other) for one, other in arrows if one != other}) <= MOST_ARROWS


def test_no_file_is_too_long_to_read():
    for path in (ROOT / "kdtool").rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES, path


def test_no_folder_is_too_full_to_see():
    for folder in {path.parent for path in (ROOT / "kdtool").rglob("*.py")}:
        names = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
        assert len(names) <= MOST_FILES, folder
