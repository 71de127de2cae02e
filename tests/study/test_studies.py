"""Several studies on one page: what is refused, what is warned of, and the figures."""

import io
import json
import sys

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from page_reader import Page
from rich.console import Console

from kdtool.cli.app import main
from kdtool.errors import StudyError
from kdtool.report.studies import recipe_differences, studies_report
from kdtool.results.base import to_json
from kdtool.results.studies import StudiesReport
from kdtool.stats.intervals import wilson_interval
from kdtool.study.studies import read_studies, write_studies
from kdtool.terminal.studies import show_studies


@pytest.fixture
def studies(build, tmp_path):
    """A function that writes studies into `tmp_path`, by name; returns their folders."""

    def write(**results):
        folders = []
        for name, one in results.items():
            folder = tmp_path / name
            folder.mkdir()
            (folder / "results.json").write_text(to_json(one))
            (folder / "report.html").write_text("a report")
            folders.append(folder)
        return folders

    return write


def named(results, name, **recipe):
    recipe = results.recipe | {"name": name} | recipe
    return results.model_copy(update={"name": name, "recipe": recipe})


def with_data(results, **changes):
    return results.model_copy(update={"data": results.data.model_copy(update=changes)})


@pytest.fixture
def two(build, studies):
    hot = {"temperature": 8.0, "soft_weight": 0.9}
    return studies(
        first=named(build(int8=True), "first"),
        second=named(build(seeds=(0, 1)), "second", distill=hot, seeds=[0, 1]),
    )


def shown(report, written=(), width=80):
    stream = io.StringIO()
    show_studies(Console(file=stream, width=width), report, written)
    return stream.getvalue()


def test_each_study_has_its_figures(two, typed):
    report = read_studies(two)
    first, second = report.studies
    assert (first.ship, second.ship) == ("student.int8.onnx", "student.onnx")
    results = json.loads((two[0] / "results.json").read_text())["models"]["student"]
    file = results["files"]["int8"]
    assert (first.accuracy, first.size_bytes) == (file["accuracy"], file["size_bytes"])
    assert first.latency.p50_ms == file["latency"]["p50_ms"]
    assert first.accuracy_ci95 == wilson_interval(round(10_000 * file["accuracy"]), 10_000)
    assert first.seed == results["exported_seed"]
    assert (first.verdict.of, first.verdict.against) == ("student", "control")
    assert report.warnings == []
    assert {one.key: one.values for one in report.differences} == {
        "seeds": [[0, 1, 2], [0, 1]],
        "distill.temperature": [20.0, 8.0],
    }
    assert StudiesReport.model_validate_json(to_json(report)) == report


def test_the_page_links_to_the_reports_and_changes_no_study(two, tmp_path, typed):
    before = [(folder / "results.json").read_bytes() for folder in two]
    report = read_studies(two)
    html, markdown = write_studies(report, tmp_path / "new" / "pages")
    assert (html.name, markdown.name) == ("studies.html", "studies.md")
    page = html.read_text()
    assert '<a href="../../first/report.html">first</a>' in page
    assert "[second](../../second/report.html)" in markdown.read_text()
    for text in (page, markdown.read_text()):
        assert "student.int8.onnx" in text
        assert "distill.temperature" in text.replace("\\", "")
        assert text.count("20.0") == 1
    terminal = shown(report, [html])
    assert "distill.temperature" in terminal
    assert max(map(len, shown(report).splitlines())) <= 80
    assert "Compared 2 studies; none was changed." in terminal
    assert [(folder / "results.json").read_bytes() for folder in two] == before
    (one,) = write_studies(report, tmp_path / "only.md")
    assert one.read_text().startswith("# 2 studies")
    assert not (tmp_path / "only.html").exists()


def test_names_cannot_break_the_page(hostile, mhist, tmp_path):
    results = [(tmp_path / "<b>a|b", one.results) for one in (hostile, hostile)]
    report = studies_report(results)
    html, markdown = write_studies(report, tmp_path)
    assert "script" not in Page(html.read_text()).tags
    assert "<b>a|b" not in html.read_text()
    assert "<b>a|b" not in markdown.read_text()


def test_classes_have_to_be_the_same(build, studies):
    folders = studies(
        animals=build(classes=("cat", "dog")), birds=build(classes=("cat", "owl", "tit"))
    )
    with pytest.raises(StudyError) as error:
        read_studies(folders)
    text = str(error.value)
    assert f"only {folders[0]} has dog; only {folders[1]} has owl, tit; give studies" in text
    turned = studies(one=build(classes=("a", "b")), other=build(classes=("b", "a")))
    assert len(read_studies(turned).studies) == 2


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"num_test": 5_000}, "The studies have different test images (one 10,000, other 5,000)"),
        ({"fingerprint": "00" * 32}, "not known whether their test images are the same"),
    ],
)
def test_other_test_images_are_a_warning_on_the_page(build, tmp_path, change, warning):
    results = build()
    other = build(num_test=5_000) if "num_test" in change else with_data(results, **change)
    report = studies_report([("one", results), ("other", other)])
    (found,) = report.warnings
    assert warning in found
    for page in write_studies(report, tmp_path):
        assert warning.split(" (")[0] in page.read_text()
        assert page.read_text().count("other data than mnist") == ("fingerprint" in change)
    assert warning.split(" (")[0] in " ".join(shown(report).split())


def test_times_of_different_machines_are_a_warning(build):
    results = build()
    board = results.environment.model_copy(update={"cpu": "Cortex-A76"})
    other = results.model_copy(update={"environment": board})
    (warning,) = studies_report([("one", results), ("other", other)]).warnings
    assert (
        warning == "The studies were timed on different machines: their times cannot be compared."
    )


def test_a_study_without_a_student_has_a_row_without_figures(build, studies):
    folders = studies(all=build(), teacher=build(roles=("teacher",)))
    report = read_studies(folders)
    row = report.studies[1]
    assert (row.ship, row.file, row.accuracy, row.verdict) == (None, None, None, None)
    assert row.because == "No student has a file yet."
    assert "ships nothing: No student has a file yet." in " ".join(shown(report).split())


def test_keys_that_differ_are_those_of_nested_tables():
    one = {"name": "a", "data": {"size": None, "augment": ["flip"]}, "new": 1}
    other = {"name": "b", "data": {"size": None, "augment": []}}
    assert [(d.key, d.values) for d in recipe_differences([one, other])] == [
        ("data.augment", [["flip"], []]),
        ("new", [1, None]),
    ]


def typed_error(capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["kdtool", "report", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("break_it", "code", "message"),
    [
        (lambda first, second: [first, first / ".." / "first"], 1, "is given twice"),
        (lambda first, second: [first, second, "--out", first / "report.html"], 1,
         "is the report of the study"),
        (lambda first, second: [first, second, "--out", first / "page.pdf"], 1,
         "expected a folder, or a file that ends in .html or .md"),
        (lambda first, second: [first, second, "--out", first / "results.json"], 1,
         "expected a folder, or a file that ends in .html or .md"),
        (lambda first, second: [first, "--out", "page.html"], 2, "is for several studies"),
        (lambda first, second: [first, second.parent / "none"], 1, "none does not exist"),
        (lambda first, second: (second / "results.json").unlink() or [first, second], 1,
         "second is not a study; expected the folder of a finished study"),
        (lambda first, second: (second / "results.json").write_text("{") and [first, second], 1,
         "is not a results.json of schema 1"),
        (lambda first, second: (second / "results.json").write_text('{"schema": 2}')
         and [first, second], 1, "written by a newer kdtool: it has schema 2, and this kdtool"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_gets_one_error(two, capsys, monkeypatch, break_it, code, message):
    arguments = break_it(*two)
    before = sorted(two[0].parent.rglob("*"))
    found, errors = typed_error(capsys, monkeypatch, *arguments)
    assert (found, message in " ".join(errors.split())) == (code, True), errors
    assert "Traceback" not in errors
    assert sorted(two[0].parent.rglob("*")) == before


def test_json_is_the_record(two, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["kdtool", "report", *map(str, two), "--json"])
    with pytest.raises(SystemExit):
        main()
    assert StudiesReport.model_validate_json(capsys.readouterr().out) == read_studies(two)
