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


def test_the_recipe_of_mlperf_tiny():
    recipe = load_recipe(next(path for path in RECIPES if path.name == "mlperf-tiny.toml"))
    assert (recipe.student.model, recipe.student.input_size) == ("resnet8", None)
    assert recipe.teacher.is_trained
    assert recipe.export.precisions == ["fp32", "int8"]


def test_the_recipe_of_a_pair_without_evidence():
    recipe = load_recipe(next(path for path in RECIPES if path.name == "capacity-gap.toml"))
    assert recipe.distill == DistillTable(temperature=2, soft_weight=0.7)
    assert (recipe.teacher.epochs, recipe.student.epochs, len(recipe.seeds)) == (200, 100, 5)
    for table in (recipe.teacher, recipe.student):
        assert (table.batch_size, table.learning_rate, table.weight_decay) == (128, 0.1, 5e-4)


def test_the_recipe_of_the_usual_cifar_100_pair():
    recipe = load_recipe(next(path for path in RECIPES if path.name == "cifar100.toml"))
    assert recipe.distill == DistillTable(temperature=4, soft_weight=0.9)
    for table in (recipe.teacher, recipe.student):
        ends = [sum(phase.epochs for phase in table.phase[: n + 1]) for n in range(4)]
        assert ends == [150, 180, 210, 240]
        rates = [phase.learning_rate for phase in table.phase]
        assert rates == pytest.approx([0.05 * 0.1**n for n in range(4)])
        assert (table.batch_size, table.weight_decay) == (64, 5e-4)


def test_the_recipe_of_the_paper_on_subclasses():
    recipe = load_recipe(next(path for path in RECIPES if path.name == "mnist-2x5.toml"))
    assert recipe.data.group == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert recipe.subclass == SubclassTable()
    assert recipe.distill == DistillTable(temperature=4, soft_weight=0.5)
    assert (recipe.teacher.epochs, recipe.student.epochs, len(recipe.seeds)) == (12, 12, 5)
