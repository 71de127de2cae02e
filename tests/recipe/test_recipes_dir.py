from pathlib import Path

import pytest

from kdtool.recipe.load import load_recipe
from kdtool.recipe.schema import DistillTable, SubclassTable

RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.toml"))


def test_there_are_recipes():
    assert {"mnist.toml", "fashion-mnist.toml", "digits.toml"} <= {path.name for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_shipped_recipe_loads(path):
    assert load_recipe(path).name == path.stem


def test_the_recipe_of_the_course_report():
    recipe = load_recipe(next(path for path in RECIPES if path.name == "mnist.toml"))
    assert (recipe.distill.temperature, recipe.distill.soft_weight) == (20, 0.9)
    assert (recipe.subclass.per_class, recipe.subclass.temperature) == (5, 20)
    assert len(recipe.seeds) == 5


def test_the_recipe_of_the_paper_on_subclasses():
    recipe = load_recipe(next(path for path in RECIPES if path.name == "mnist-2x5.toml"))
    assert recipe.data.group == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert recipe.subclass == SubclassTable()
    assert recipe.distill == DistillTable(temperature=4, soft_weight=0.5)
    assert (recipe.teacher.epochs, recipe.student.epochs, len(recipe.seeds)) == (12, 12, 5)
