import io
from pathlib import Path

import pytest
from rich.console import Console
from sample_scores import pretrained

from kdtool.terminal.study import show_explained, show_files, show_results, show_trained

FOLDER = Path("runs/mnist")
SHOWS = {
    "results": show_results,
    "files": show_files,
    "explained": show_explained,
    "trained": lambda console, results, folder: show_trained(
        console, results, folder, next(iter(results.models))
    ),
}


def shown(show, results, encoding="utf-8"):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    show(Console(file=stream, width=80), results, FOLDER)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def flat(text):
    return " ".join(text.split())


@pytest.mark.parametrize("show", SHOWS)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_all_fits_80_columns_and_the_letters_of_the_terminal(build, show, encoding):
    devices = (("日本 Board", 6.0, 1.1),)
    results = build(explain=True, int8=True, devices=devices, classes=("猫", "dog", "b"))
    text = shown(SHOWS[show], results, encoding)
    assert max(map(len, text.splitlines())) <= 80
    assert "None" not in text


@pytest.mark.parametrize("show", SHOWS)
@pytest.mark.parametrize(
    "options", [{"roles": ("control",)}, {"seeds": (3,)}, {"latency": False, "int8": True}], ids=str
)
def test_every_shape_of_study_is_shown(build, show, options):
    text = shown(SHOWS[show], build(**options))
    assert "None" not in text
    assert "runs/mnist/report.html" in text or "This study has no saliency maps" in text


def test_files_are_listed_with_what_identifies_them(build):
    results = build(int8=True)
    lines = [flat(line) for line in shown(show_files, results).splitlines()]
    accuracy = 100 * results.models["student"].files["int8"].accuracy
    assert f"student.int8.onnx int8 18 1.25 MB {accuracy:.2f} % 99.80 % 8b8b8b8b8b8b ship" in lines
    assert "Ship student.int8.onnx: it takes 0.62 of the time of fp32 (0.60 to 0.64)." in lines
    assert sum(line.endswith(" ship") for line in lines) == 1


def test_a_study_without_files_says_so(build):
    results = build(roles=("teacher",))
    models = {"teacher": results.models["teacher"].model_copy(update={"files": {}})}
    text = shown(show_files, results.model_copy(update={"models": models}))
    assert text == "This study has no ONNX files.\n"


def test_explained_images_are_listed_and_mistakes_seen(build):
    results = build(explain=True)
    lines = [flat(line) for line in shown(show_explained, results).splitlines()]
    assert "14 2 2 93 % 3 93 %, agrees 0.44 2 93 %, agrees 0.44" in lines
    assert "Agreement with the teacher's heatmaps over 500 test images: 0.31" in " ".join(lines)
    assert "Pictures: runs/mnist/figures/saliency.png" in lines


def test_training_shows_validation_and_test_of_every_seed(build):
    results = build()
    text = shown(lambda *given: show_trained(*given, "control"), results)
    lines = [flat(line) for line in text.splitlines()]
    for run in results.models["control"].seeds:
        validation, test = run.best.validation_accuracy, run.test.accuracy
        start = f"{run.seed} {run.best_epoch} of 12 {100 * validation:.2f} % {100 * test:.2f} %"
        assert any(line.startswith(start) for line in lines)
    assert "Distillation" not in text


def test_training_shows_the_metric_of_the_study_beside_the_accuracy(build):
    results = build(classes=("SSA", "HP"), num_test=977, scores={"metric": "weighted_f1"})
    text = shown(SHOWS["trained"], pretrained(results))
    assert max(map(len, text.splitlines())) <= 80
    lines = [flat(line) for line in text.splitlines()]
    for run in results.models["teacher"].seeds:
        low, high = run.test.accuracy_ci95
        score, f1 = run.best.score, run.test.weighted_f1
        expected = f"{run.seed} pretrained {score:.3f} {f1:.3f} {100 * run.test.accuracy:.2f} % "
        assert f"{expected}{100 * low:.2f} to {100 * high:.2f}" in lines
    mean = results.models["teacher"].test["weighted_f1"]
    said = f"Weighted F1 on the test images: {mean.mean:.3f}, {mean.std:.3f} of spread over 3 seeds"
    assert said in flat(text)


def test_a_teacher_without_heatmaps_is_agreed_with_by_nobody(build):
    text = shown(show_explained, pretrained(build(explain=True)))
    assert "14 2 2 93 % 3 93 % 2 93 %" in flat(text)
    assert "Agreement" not in text
