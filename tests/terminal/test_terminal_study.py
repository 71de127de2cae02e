import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from kdtool.results.base import ROLES
from kdtool.terminal.study import show_results, show_warnings


def shown(results):
    stream = io.StringIO()
    show_results(Console(file=stream, width=80), results, Path("runs/mnist"))
    return stream.getvalue().replace("\N{NO-BREAK SPACE}", " ")


def flat(text):
    return " ".join(text.split())


def test_summary_fits_into_80_columns_and_says_the_verdict(build):
    text = shown(build())
    assert max(map(len, text.splitlines())) <= 80
    assert "HELPED Distillation helped: the student is" in flat(text)
    assert "runs/mnist/report.html" in text


def test_summary_compares_the_models(build, typed):
    text = typed(shown(build()))
    lines = {line.split()[0]: flat(line) for line in text.splitlines() if line.split()}
    assert lines["control"] == "control student"  # over both columns "vs teacher"
    assert lines["teacher"] == "teacher control vs teacher student vs teacher"
    assert lines["Parameters"] == "Parameters 1.01 M 1.24 M 1.22x more 1.24 M 1.22x more"
    assert lines["FLOPs"] == "FLOPs 21.9 M 2.47 M 8.8x fewer 2.47 M 8.8x fewer"


def test_a_subclass_study_fits_80_columns_with_three_verdicts(build):
    results = build(roles=ROLES, int8=True, evidence={"collapsed": True})
    text = shown(results)
    assert max(map(len, text.splitlines())) <= 80
    assert "vs teacher" not in text
    words = flat(text)
    assert "Subclass distillation helped, and it beats plain distillation. HELPED" in words
    assert words.count("HELPED") == 3
    assert "ALARM: Subclasses collapsed in the subclass teacher of seed 0 (1)" in words
    assert "SHIP subclass-student.int8.onnx" in words


def test_large_ratios_do_not_wrap(build, typed):
    results = build()
    teacher = results.models["teacher"].model_copy(update={"num_params": 1_204_300_000})
    models = {**results.models, "teacher": teacher}
    lines = typed(shown(results.model_copy(update={"models": models}))).splitlines()
    assert "1.20 G" in next(line for line in lines if line.startswith("Parameters"))
    assert next(line for line in lines if line.startswith("Parameters")).count("972x fewer") == 2
    assert max(map(len, lines)) <= 80


def test_summary_says_what_to_ship_and_where_it_was_measured(build):
    text = flat(shown(build(int8=True, devices=(("Pi", 6.0, 1.1), ("Pi", 6.0, 1.1)))))
    assert "SHIP student.int8.onnx It takes 0.62 of the time of fp32 (0.60 to 0.64)." in text
    assert "Measured on devices: Pi, 4 cores." in text


def test_one_seed_is_part_of_the_verdict(build):
    assert "HELPED (ONE SEED) Distillation helped" in flat(shown(build(seeds=(4,))))


def test_warnings_are_not_markup(build):
    results = build()
    data = results.data.model_copy(update={"warnings": ["[red]5,000 digits\x1b[0m"]})
    stream = io.StringIO()
    console = Console(file=stream, width=80)
    show_warnings(console, results.model_copy(update={"data": data}))
    assert stream.getvalue().startswith("warning: [red]5,000 digits")
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(
    "options",
    [{"seeds": (4,)}, {"roles": ("teacher",)}, {"roles": ()}, {"latency": False}],
    ids=str,
)
def test_every_shape_of_study_is_shown(build, options):
    text = shown(build(**options))
    assert "report.html" in text
    assert "None" not in text


def test_a_file_that_differs_from_pytorch_is_shown(build):
    results = build()
    student = results.models["student"]
    file = student.files["fp32"]
    parity = file.parity.model_copy(update={"passed": False, "flipped": [1]})
    file = file.model_copy(update={"parity": parity})
    models = {**results.models, "student": student.model_copy(update={"files": {"fp32": file}})}
    text = flat(shown(results.model_copy(update={"models": models})))
    assert "student.onnx: FAILED the check: same class as PyTorch on 9,999 of 10,000" in text


def test_summary_needs_neither_jinja2_nor_matplotlib():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['jinja2', 'matplotlib', 'torch']));"
        "import kdtool.terminal.study"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("classes", [("SSA", "HP"), ("sessile serrated adenoma", "hyper\x1bpolyp")])
def test_two_classes_have_a_table_that_fits_80_columns(build, classes):
    scores = {"metric": "weighted_f1"}
    results = build(roles=ROLES, classes=classes, num_test=977, scores=scores)
    text = shown(results)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    test = results.models["subclass-student"].test
    assert re.search(rf"^Weighted F1 .* {test['weighted_f1'].mean:.3f}$", text, re.MULTILINE)
    table = text[text.index("ROC AUC") :]
    (row,) = re.findall(r"^subclass student +(.*?) *$", table, re.MULTILINE)
    model = results.models["subclass-student"]
    first, second = model.per_class
    shares = [f"{100 * one.accuracy.mean:.2f} %" for one in (first, second)]
    decimals = [first.f1, second.f1, test["weighted_f1"], test["roc_auc"]]
    assert re.split(r" {2,}", row) == [*shares, *(f"{one.mean:.3f}" for one in decimals)]


def test_more_classes_have_no_such_table(build):
    assert "ROC AUC" not in shown(build(scores={"metric": "accuracy", "duplicates": False}))


def test_few_test_images_and_the_threshold_are_reported(build):
    text = flat(shown(build(classes=("SSA", "HP"), num_test=30, scores={"metric": "pr_auc"})))
    assert "SSA has 15 test images, HP 15." in text
    assert "The student predicts SSA where its probability is at least 0.37." in text
