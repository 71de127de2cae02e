"""Any content is a recipe or one message, and a recipe that is written is read again as itself."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdtool.errors import RecipeError
from kdtool.recipe.load import make_recipe, problems_in, recipe_toml
from kdtool.recipe.schema import Recipe
from kdtool.recipe.table import Table

GOOD = {
    "name": "tiny",
    "data": {"source": "digits"},
    "teacher": {"model": "mnist-cnn"},
    "student": {"model": "mnist-mlp"},
}
# Values that are near what keys take, and any others.
NEAR = [0, 1, -1, 2, 0.5, 1e-3, 1e9, "", "auto", "all", "fp32", "head", "cosine", "adamw", "16 GB"]
NEAR += [[], [0], [0, 1, 2], ["flip"], ["shift:0.1"], [{"epochs": 1}], {}, True, False]
NEAR += ["balanced", "dist", "kd", "mnist", "folder", "data", float("nan"), float("inf"), 2**70]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.sampled_from(NEAR) | st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


def keys_of(table, before=()):
    """The path of every key of a table and of those in it."""
    for name, field in table.model_fields.items():
        path = (*before, field.alias or name)
        yield path
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Table):
            yield from keys_of(kind, path)


OTHERS = [("data", "root"), ("data", "augment"), ("unknown",), ("data", "x")]
KEYS = [*sorted(keys_of(Recipe)), *OTHERS]


def put(content, path, value):
    for name in path[:-1]:
        inner = content.get(name)
        content[name] = dict(inner) if isinstance(inner, dict) else {}
        content = content[name]
    content[path[-1]] = value


@given(st.lists(st.tuples(st.sampled_from(KEYS), VALUES), max_size=4))
def test_any_content_is_a_recipe_or_one_message(changes):
    content = dict(GOOD)
    for path, value in changes:
        put(content, path, value)
    if problems_in(content):
        with pytest.raises(RecipeError, match=r"^any\.toml: "):
            make_recipe(content, "any.toml")
        return
    recipe = make_recipe(content, "any.toml")
    written = make_recipe(tomllib.loads(recipe_toml(recipe)), "")
    assert written == recipe
    assert recipe_toml(written) == recipe_toml(recipe)


@given(LEAVES | st.lists(LEAVES, max_size=3))
def test_content_that_is_no_table_is_one_message(value):
    with pytest.raises(RecipeError, match="expected a table"):
        make_recipe({"teacher": value, "student": value, "data": value}, "")
