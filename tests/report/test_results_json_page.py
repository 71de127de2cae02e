"""docs/results-json.md describes every key of the records."""

import json
import re
import sys
from pathlib import Path
from typing import get_args

import pytest

from kdtool.results.base import Precision, to_json
from kdtool.results.study import Results

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "generate"))
import results_json as generate  # noqa: E402

sys.path.remove(str(ROOT / "docs" / "generate"))
RECORDS = generate.records(Results)


def test_the_page_is_up_to_date():
    written = generate.PAGE.read_text(encoding="utf-8")
    assert written == generate.page(), "run `uv run python docs/generate/results_json.py`"


def test_every_type_that_it_names_has_a_part():
    page = generate.page()
    parts = {title.lower() for title in re.findall(r"^#+ (\w+)$", page, re.MULTILINE)}
    assert set(re.findall(r"\]\(#(\w+)\)", page)) <= parts


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_has_a_meaning(record):
    for name in record.model_fields:
        assert generate.meanings(generate._owner(record, name)).get(name), name


def test_meanings_are_the_comments_at_the_field_or_above_it():
    (data,) = [record for record in RECORDS if record.__name__ == "DataResult"]
    found = generate.meanings(data)
    assert found["image_shape"] == "C, H, W"
    assert found["duplicate_images"].startswith("npz, relative to the study")
    assert found["duplicate_images"].endswith("null: no duplicates")


def keys(value):
    """Every key of a document, except those below keys that a user or a package names."""
    if isinstance(value, list):
        return set().union(*map(keys, value))
    if not isinstance(value, dict):
        return set()
    return set(value).union(*(keys(one) for key, one in value.items() if key != "recipe"))


def test_every_key_of_a_study_is_on_the_page(full, subclass, mhist):
    named = set(re.findall(r"^- `(\w+)` \(", generate.page(), re.MULTILINE))
    for study in (full, subclass, mhist):
        found = {key for key in keys(json.loads(to_json(study.results))) if key.isidentifier()}
        model = study.results.models["student"]
        chosen = {*study.results.models, *study.results.environment.packages, *model.test}
        chosen |= {*study.results.data.class_counts, *get_args(Precision)}
        assert found - chosen <= named


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("num_near_duplicates", "May be absent: `0`"),
        ("confusion", "list of list of integer"),
        ("p50_ci95_ms", "[number above 0, number above 0]"),
        ("target", '`"x86"` or `"arm"` or `"portable"`'),
    ],
)
def test_types_and_defaults_are_in_json_words(key, line):
    (entry,) = re.findall(rf"^- `{key}` .*(?:\n  .*)*", generate.page(), re.MULTILINE)
    assert line in " ".join(entry.split())
