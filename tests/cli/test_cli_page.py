"""docs/cli.md is what docs/generate/cli.py writes, whatever the terminal."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def generated():
    spec = importlib.util.spec_from_file_location("generate_cli", DOCS / "generate" / "cli.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.page()


def test_the_page_of_commands_is_up_to_date():
    written = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert written == generated(), "run: uv run python docs/generate/cli.py"


def test_the_page_is_the_same_in_every_terminal(monkeypatch):
    pages = set()
    for columns in ("40", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setenv("FORCE_COLOR", "1")
        pages.add(generated())
    (page,) = pages
    assert "\x1b" not in page
    lines = [line for line in page.partition("## ")[2].splitlines() if "docs/generate" not in line]
    assert max(map(len, lines)) <= 80
    assert page.count("## kdtool") == 14
