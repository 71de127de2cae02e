"""The README: every command runs, every link leads somewhere, the tree names every module."""

import re
import tomllib

import pytest
from page import MEASURED, README, RESULTS, ROOT, commands, run_page

from kdtool.recipe.load import make_recipe
from kdtool.recipe.schema import DistillTable, SubclassTable

TEXT = README.read_text(encoding="utf-8")


def test_the_readme_has_the_two_commands_that_ci_runs():
    given = [" ".join(command) for command in commands(README)]
    assert "pip install uv && uv run kdtool distill recipes/mnist.toml" in given
    assert "pip install uv && uv run pytest" in given
    ci = (ROOT / ".ci" / "run").read_text()
    assert "readme_command 'pip install uv && uv run pytest'" in ci
    assert "readme_command 'pip install uv && uv run kdtool distill'" in ci


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command_runs(tmp_path, monkeypatch, write_idx_set):
    monkeypatch.chdir(tmp_path)
    assert run_page(README, tmp_path, write_idx_set) >= 14
    assert (tmp_path / "runs" / "mnist" / "report.html").exists()


def test_every_link_of_the_readme_leads_somewhere():
    for page in (README, RESULTS, MEASURED):
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (page.parent / target).exists(), target


def test_the_recipe_of_the_readme_is_one():
    recipe_of_mnist, options, subclass = re.findall(r"```toml\n(.*?)```", TEXT, flags=re.DOTALL)
    content = tomllib.loads(recipe_of_mnist + subclass)
    recipe = make_recipe(content, "README")
    assert recipe.distill == DistillTable(temperature=20, soft_weight=0.9)
    assert recipe.subclass == SubclassTable()
    content["student"] |= tomllib.loads(options)["student"]
    student = make_recipe(content, "README").student
    assert [(phase.epochs, phase.train) for phase in student.phase] == [(10, "head"), (25, "all")]


def test_the_tree_of_the_readme_names_every_module():
    (tree,) = re.findall(r"```\n(kdtool/\n.*?)```", TEXT, flags=re.DOTALL)
    for path in sorted((ROOT / "kdtool").rglob("*.py")):
        if path.name not in {"__init__.py", "__main__.py"}:
            assert re.search(rf"\b{path.name}\b", tree), f"{path} is not in the tree"
