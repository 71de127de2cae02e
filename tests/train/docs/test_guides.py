"""README and docs: every command runs, every recipe loads, every link and file name exists."""

import re
import tomllib

import pytest
from page import GUIDES, PAGES, README, ROOT, check_pages, commands, run_pages

from kdtool.recipe.load import make_recipe

MOST_LINES = 130


def test_the_readme_has_the_two_commands_that_ci_runs():
    given = [" ".join(command) for command in commands(README)]
    assert "pip install uv && uv run kdtool distill recipes/mnist.toml" in given
    assert "pip install uv && uv run pytest" in given
    ci = (ROOT / ".ci" / "run").read_text()
    assert "readme_command 'pip install uv && uv run pytest'" in ci
    assert "readme_command 'pip install uv && uv run kdtool distill'" in ci


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_readme_links_every_page():
    text = README.read_text(encoding="utf-8")
    for page in PAGES[1:]:
        assert f"({page.relative_to(ROOT)})" in text, page


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("pages", "least"),
    [
        pytest.param([README], 10, id="README"),
        pytest.param([README, *GUIDES], 15, id="guides", marks=pytest.mark.nightly),
    ],
)
def test_every_command_runs(pages, least, tmp_path, monkeypatch, write_idx_set):
    monkeypatch.chdir(tmp_path)
    assert run_pages(pages, tmp_path, write_idx_set) >= least
    assert (tmp_path / "runs" / "mnist" / "report.html").exists()
    assert (tmp_path / "runs" / "folder" / "kit" / "model.onnx").exists()


def test_every_command_of_the_guides_is_understood(tmp_path, monkeypatch, write_idx_set):
    monkeypatch.chdir(tmp_path)
    assert check_pages(GUIDES, tmp_path, write_idx_set) >= 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page):
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:kdtool|tests|recipes|docs)/[\w./-]+\w)/?`", text):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", [README, *GUIDES], ids=lambda page: page.name)
def test_every_recipe_fragment_loads(page):
    """Each ```toml block, added to the least that a recipe needs."""
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        content = {
            "name": "page",
            "data": {"source": "digits"},
            "teacher": {"model": "mnist-cnn"},
            "student": {"model": "mnist-mlp"},
        }
        for key, value in tomllib.loads(block).items():
            given = content.get(key)
            replaces = key == "data" or not isinstance(given, dict)
            content[key] = value if replaces else given | value
        make_recipe(content, f"{page.name}: {block}")


def test_the_map_of_the_architecture_names_every_module():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (tree,) = re.findall(r"```\n(kdtool/\n.*?)```", text, flags=re.DOTALL)
    for path in sorted((ROOT / "kdtool").rglob("*.py")):
        if path.name not in {"__init__.py", "__main__.py"} and "sections" not in path.parts:
            assert re.search(rf"\b{path.name}\b", tree), f"{path} is not in the map"
    for name in re.findall(r"\b(\w+\.py)\b", tree):
        assert list((ROOT / "kdtool").rglob(name)), f"the map names {name}, which does not exist"
