"""The page and the JSON schema of the recipe are those of the models."""

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft7Validator
from pydantic import BaseModel

from kdtool.recipe.data import DataKeys
from kdtool.recipe.problems import known_keys
from kdtool.recipe.schema import Recipe

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "generate"))
import recipe as generate  # noqa: E402

sys.path.remove(str(ROOT / "docs" / "generate"))
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
GOOD = {
    "name": "tiny",
    "data": {"source": "digits"},
    "teacher": {"model": "mnist-cnn"},
    "student": {"model": "mnist-mlp"},
}


def test_the_page_is_generated_from_the_models_of_today():
    assert generate.PAGE.read_text(encoding="utf-8") == generate.page(), (
        "docs/recipe.md is stale; run python docs/generate/recipe.py"
    )


def test_the_schema_is_generated_from_the_models_of_today():
    assert generate.SCHEMA.read_text(encoding="utf-8") == generate.schema(), (
        "recipes/recipe.schema.json is stale; run python docs/generate/recipe.py"
    )


def test_the_page_has_every_key_with_its_default():
    text = generate.page()
    for key in known_keys():
        assert re.search(rf"^\| `(\w+\.)?{key.rpartition('.')[2]}` \| .* \| .* \|", text, re.M), key
    assert "| `soft_weight` | number ≥ 0, ≤ 1 | `0.9` |" in text
    assert "| `min_steps` | integer ≥ 0 | `0` |" in text
    assert "| `opset` | integer ≥ 18 | `18` |" in text


def tables_of(model):
    """Yield a model and those of its keys, at any depth."""
    yield model
    for one in model.__subclasses__():
        yield from tables_of(one)


def test_every_key_has_a_description():
    tables = [one for one in tables_of(BaseModel) if one.__module__.startswith("kdtool.recipe")]
    assert {Recipe, DataKeys} < set(tables)
    for table in tables:
        for name, field in table.model_fields.items():
            assert field.description, f"{table.__name__}.{name}"


@pytest.fixture(scope="module")
def validator():
    content = json.loads(generate.SCHEMA.read_text(encoding="utf-8"))
    Draft7Validator.check_schema(content)
    return Draft7Validator(content)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_of_ours_fits_the_schema_that_it_names(path, validator):
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == "#:schema recipe.schema.json"
    assert [error.message for error in validator.iter_errors(tomllib.loads(text))] == []


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("data", {"source": "digit"}),
        ("data", {"source": "digits", "root": "x"}),
        ("data", {"source": "folder"}),
        ("data", {"source": "digits", "validation": 0}),
        ("data", {"source": "digits", "augment": ["flop"]}),
        ("teacher", {}),
        ("teacher", {"model": "m", "epochs": "12"}),
        ("teacher", {"model": "m", "epocs": 12}),
        ("teacher", {"model": "m", "phase": [{"train": "head"}]}),
        ("distill", {"soft_weight": 2}),
        ("distill", {"method": "dkk"}),
        ("distill", {"options": {"dkd": {"gamma": 2}}}),
        ("subclass", {"per_class": 1}),
        ("export", {"precisions": ["int8"]}),
        ("export", {"operating_point": "sens"}),
        ("name", "a/b"),
        ("seeds", []),
        ("seeds", [1, 1]),
        ("more", 1),
    ],
)
def test_the_schema_refuses_a_wrong_recipe(validator, table, change):
    assert not list(validator.iter_errors(GOOD))
    assert list(validator.iter_errors(GOOD | {table: change}))
