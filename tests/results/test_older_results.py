"""A results.json of an earlier kdtool lacks keys that were added since; it must load and render."""

import io
import json

import pytest
from pydantic import BaseModel
from report_fixtures import DEVICES
from rich.console import Console
from sample_study import build_results

from kdtool.results.base import ROLES, to_json
from kdtool.results.study import Results, load_results
from kdtool.terminal.stages import show_explained, show_files
from kdtool.terminal.study import show_results

STUDIES = {
    "ten classes": {"sweep_keys": 1, "explain": True, "int8": True, "devices": DEVICES},
    "two classes": {
        "roles": ROLES,
        "classes": ("0-4", "5-9"),
        "num_test": 1000,
        "evidence": {"fine_classes": tuple("0123456789"), "excluded": ("5-9",)},
    },
}


def without_added_keys(value, kept=()):
    """Return a record as JSON without the keys that an earlier kdtool did not write.

    A key may be added to a record only with a default, so the keys without one are the oldest.
    """
    if isinstance(value, BaseModel):
        return {
            field.alias or name: without_added_keys(getattr(value, name), kept)
            for name, field in type(value).model_fields.items()
            if field.is_required() or name in kept
        }
    if isinstance(value, dict):
        return {key: without_added_keys(one, kept) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_added_keys(one, kept) for one in value]
    return value


def read_back(content, folder):
    path = folder / "results.json"
    path.write_text(json.dumps(content))
    return load_results(path)


def shown(results, folder):
    console = Console(file=io.StringIO(), width=80)
    for show in (show_results, show_files, show_explained):
        show(console, results, folder)
    return console.file.getvalue()


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize(
    "kept",
    [
        (),
        # the sections that came later, each in its first form
        (
            "calibration",
            "gallery",
            "flips",
            "subclasses",
            "bias_shifts",
            "excluded",
            "fine_classes",
            "groups",
            "gate",
            "latency",
        ),
    ],
    ids=["oldest", "with evidence"],
)
def test_results_without_the_keys_that_were_added_render(tmp_path, write, study, kept):
    content = without_added_keys(build_results(**STUDIES[study]), kept)
    results = read_back(content | {"schema": 1, "recipe": {}}, tmp_path)
    html, markdown = write(results)
    assert "mnist" in html
    assert "mnist" in markdown
    assert "None" not in markdown
    assert "None" not in shown(results, tmp_path)


def test_an_empty_recipe_is_taken_as_not_calibrated(tmp_path, write):
    results = build_results(**STUDIES["two classes"]).model_copy(update={"recipe": {}})
    assert any(run.calibration for run in results.models["student"].seeds)
    for recipe in ({}, {"export": {}}, {"export": {"calibrate": False}}):
        _, markdown = write(results.model_copy(update={"recipe": recipe}))
        assert "export.calibrate" in markdown


def test_every_record_reads_what_it_wrote(tmp_path):
    results = build_results(**STUDIES["ten classes"])
    (tmp_path / "results.json").write_text(to_json(results))
    assert load_results(tmp_path / "results.json") == results


def test_only_records_with_a_default_were_added_to_the_first_schema():
    # Without these keys no results.json of schema 1 was ever written.
    assert {name for name, field in Results.model_fields.items() if field.is_required()} == {
        "name",
        "recipe",
        "environment",
        "data",
        "models",
        "verdicts",
        "sweep",
        "explain",
        "devices",
    }
