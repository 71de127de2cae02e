"""Recipes that no key can have: each gets one message, whatever its depth or its characters."""

import pytest

from kdtool.errors import RecipeError
from kdtool.recipe.load import MOST_LEVELS, load_recipe, parse_setting

RECIPE = """
name = "tiny"
[data]
source = "digits"
[teacher]
model = "mnist-cnn"
[student]
model = "mnist-mlp"
"""
DEEP = "[" * 20_000 + "]" * 20_000
LONG = "9" * 5_000  # Python reads numbers of up to 4,300 digits


@pytest.fixture
def read(tmp_path):
    def read(text, *overrides):
        (tmp_path / "a.toml").write_text(text)
        return load_recipe(tmp_path / "a.toml", list(overrides))

    return read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"a = {DEEP}", "is not valid TOML: tables or lists in it are nested thousands of levels"),
        (f"[{'.'.join('a' * 5_000)}]\nb = 1", r"a\.a: got values nested more than 20 levels deep"),
        (f"{'.'.join('a' * 5_000)} = 1", r"a\.a: got values nested more than 20 levels deep"),
        (f"seeds = [{LONG}]", "is not valid TOML: a number in it has thousands of digits"),
        ('[data]\nroot = "a\\u0000b"', "data.root: got .* with the character NUL, which no name"),
        ('[teacher]\nmodel = "a\\u0000.onnx"', "teacher.model: got .* with the character NUL"),
        ('[data.files]\ntest_images = "\\u0000"', "data.files.test_images: got .* the character N"),
        ('"a\\u0000" = 1', "with the character NUL"),
        ('seeds = ["\\u0000"]', r"seeds\.0: got .* with the character NUL"),
    ],
)
def test_what_no_key_can_have_is_one_message(read, text, message):
    with pytest.raises(RecipeError, match=message):
        read(text)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.root=a\0b", "data.root: got .* with the character NUL"),
        ("da\0ta.root=a", "expected a key of the recipe, such as teacher.epochs"),
        (f"{'.'.join('a' * 5_000)}=1", "expected a key of the recipe, such as teacher.epochs"),
        (f"seeds={DEEP}", "seeds: got "),  # text, as TOML cannot read it
        (f"seeds=[{LONG}]", "seeds: got "),
        (f"seeds={'[' * 40}{']' * 40}", r"seeds\.0: got values nested more than 20 levels deep"),
        ("seeds=[99999999999999999999]", "expected a value less than 4294967296"),
    ],
)
def test_so_is_what_is_typed_after_set(read, override, message):
    with pytest.raises(RecipeError, match=message):
        read(RECIPE, override)


def test_a_value_may_be_nested_as_deeply_as_any_key_has_it():
    nested = "[" * MOST_LEVELS + "]" * MOST_LEVELS
    key, value = parse_setting(f"data.group={nested}")
    assert (key, str(value)) == ("data.group", nested)


@pytest.mark.parametrize("path", ["../train", "/etc/hostname", "a/../../b"])
def test_files_of_idx_are_inside_their_folder(read, tmp_path, path):
    text = RECIPE.replace(
        'source = "digits"',
        f'source = "idx"\nroot = "."\nfiles = {{ train_images = "{path}" }}',
    )
    with pytest.raises(RecipeError, match="expected a name inside data") as refused:
        read(text)
    assert f'got "{path}"' in str(refused.value)
    assert read(text.replace(path, "raw/a")).data.files.train_images.name == "a"
