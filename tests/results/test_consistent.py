"""A results.json whose parts contradict each other is one message, and so is a path out of it."""

import json

import pytest
from sample_study import build_results

from kdtool.errors import StudyError
from kdtool.results.base import ROLES, to_json
from kdtool.results.consistent import is_inside
from kdtool.results.study import load_results

EVIDENCE = {"fine_classes": tuple("abcdefghijklmnopqrst"), "excluded": ("3",)}


@pytest.fixture(scope="module")
def content():
    return to_json(build_results(explain=True, sweep_keys=1, roles=ROLES, evidence=EVIDENCE))


def loaded(path, content, change):
    document = json.loads(content)
    change(document)
    path.write_text(json.dumps(document))
    return load_results(path)


def test_the_results_of_a_study_fit_together(tmp_path, content):
    assert loaded(tmp_path / "results.json", content, lambda _: None).models


CONTRADICTIONS = {
    "data.class_counts: there is no train": lambda d: d["data"]["class_counts"].pop("train"),
    "data.class_counts.train": lambda d: d["data"]["class_counts"]["train"].pop(),
    "models.student.exported_seed: there is no seed 99": lambda d: d["models"]["student"].update(
        exported_seed=99
    ),
    "models.student.exported_seed": lambda d: d["models"]["student"]["seeds"].clear(),
    "models.control.seeds.0.best_epoch: there is no epoch 500": lambda d: d["models"]["control"][
        "seeds"
    ][0].update(best_epoch=500),
    "models.teacher.seeds.0.test.confusion": lambda d: d["models"]["teacher"]["seeds"][0]["test"][
        "confusion"
    ].pop(),
    "student.seeds.0.test.confusion: got 9 entries for 10 classes": lambda d: d["models"][
        "student"
    ]["seeds"][0]["test"]["confusion"][3].pop(),
    "student.seeds.0.test.per_class": lambda d: d["models"]["student"]["seeds"][0]["test"][
        "per_class"
    ].pop(),
    "models.student.seeds.0.epochs.0.validation_score: got 7.5, expected 0 to 1": lambda d: d[
        "models"
    ]["student"]["seeds"][0]["epochs"][0].update(validation_score=7.5),
    "models.student.seeds.0.epochs: they are numbered [1, 3": lambda d: d["models"]["student"][
        "seeds"
    ][0]["epochs"].pop(1),
    "models.teacher.files.fp32.accuracy: got -0.1": lambda d: d["models"]["teacher"]["files"][
        "fp32"
    ].update(accuracy=-0.1),
    "models.student.recommended: there is no fp16 file": lambda d: d["models"]["student"].update(
        recommended="fp16"
    ),
    "shipped: there is no model subclass-student": lambda d: (
        d["models"].pop("subclass-student", None),
        d.update(shipped="subclass-student"),
    ),
    "models.control.test: there is no accuracy": lambda d: d["models"]["control"]["test"].pop(
        "accuracy"
    ),
    "models.teacher.files: there is no fp32": lambda d: d["models"]["teacher"].update(
        files={"fp16": d["models"]["teacher"]["files"]["fp32"]}
    ),
    "explain.images.2.probabilities: there is no student": lambda d: d["explain"]["images"][2][
        "probabilities"
    ].pop("student"),
    "gallery.images.0.probabilities: there is no teacher": lambda d: d["gallery"]["images"][0][
        "probabilities"
    ].pop("teacher"),
    "gallery.images.3.predictions: there is no control": lambda d: d["gallery"]["images"][3][
        "predictions"
    ].pop("control"),
    "flips.0.gained_images: image 77 is not in the gallery": lambda d: d["flips"][0][
        "gained_images"
    ].append(77),
    "explain.faithfulness.student.deletion_curve.ci95": lambda d: d["explain"]["faithfulness"][
        "student"
    ]["deletion_curve"]["ci95"].pop(),
    "bias_shifts.0.per_class: got 9 entries for 10 classes": lambda d: d["bias_shifts"][0][
        "per_class"
    ].pop(),
    "subclasses.0.per_class: got 9 entries for 10 classes": lambda d: d["subclasses"][0][
        "per_class"
    ].pop(),
    "subclasses.0.fine.table: got 19 entries for 20 fine classes": lambda d: d["subclasses"][0][
        "fine"
    ]["table"].pop(),
    "subclasses.0.fine.table: got 49 entries for 50 subclasses": lambda d: d["subclasses"][0][
        "fine"
    ]["table"][3].pop(),
    "subclasses.0.per_class.0.claimed: image 77 is not in the gallery": lambda d: d["subclasses"][
        0
    ]["per_class"][0]["claimed"][0].append(77),
    "sweep.1.settings: there is no distill.temperature": lambda d: d["sweep"][1][
        "settings"
    ].clear(),
    "verdicts.0.mcnemar_p": lambda d: d["verdicts"][0]["mcnemar_p"].append(0.5),
    "files.fp32.path: ../student.onnx is not inside the folder": lambda d: d["models"]["student"][
        "files"
    ]["fp32"].update(path="../student.onnx"),
    "explain.path: /tmp/x.npz is not inside": lambda d: d["explain"].update(path="/tmp/x.npz"),
    "models.teacher.files.fp32.latency.p50_ms: Input should be greater than 0": lambda d: d[
        "models"
    ]["teacher"]["files"]["fp32"]["latency"].update(p50_ms=0),
    "models.student.files.fp32.latency.p50_ci95_ms.0": lambda d: d["models"]["student"]["files"][
        "fp32"
    ]["latency"].update(p50_ci95_ms=[-1, 2]),
    "data.duplicate_images": lambda d: d["data"].update(duplicate_images="a/../../b.npz"),
}


@pytest.mark.parametrize("message", CONTRADICTIONS)
def test_each_contradiction_is_named_with_the_cure(tmp_path, content, message):
    with pytest.raises(StudyError, match="delete it and run the command that made it again") as bad:
        loaded(tmp_path / "results.json", content, CONTRADICTIONS[message])
    assert message in str(bad.value)


@pytest.mark.parametrize("path", ["a.onnx", "figures/a.npz", "a..b", "...", "å/ß.npz"])
def test_a_path_inside(path):
    assert is_inside(path)


@pytest.mark.parametrize(
    "path", ["", "/a", "..", "../a", "a/../../b", "a\\..\\..\\b", "C:\\a", "C:a", "\\a", "a\0b"]
)
def test_a_path_that_leaves_on_some_system(path):
    assert not is_inside(path)
