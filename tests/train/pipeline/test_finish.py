"""What is chosen on validation: by the study's metric, and among equals by the loss."""

from dataclasses import replace
from pathlib import Path

from kdtool.results.study import EpochRecord, TrainingResult
from kdtool.train.evaluation.evaluate import Evaluated
from kdtool.train.pipeline.finish import best_on_validation, role_to_ship
from kdtool.train.pipeline.sweep import Candidate, best_candidate
from kdtool.train.run import Trained


def model(role, accuracy, score=None, loss=1.0, seed=0):
    epoch = EpochRecord(
        epoch=1,
        train_loss=1.0,
        validation_loss=loss,
        validation_accuracy=accuracy,
        validation_score=score,
        seconds=1.0,
    )
    result = TrainingResult(
        epochs=[epoch],
        best_epoch=1,
        num_steps=1,
        images_per_second=1.0,
        device="cpu",
        precision="fp32",
    )
    return Trained(role, seed, f"{role}-{seed}", Path("absent"), result)


def evaluated(trained):
    return Evaluated(trained, None, None, None, None)  # no choice may look at test


def test_the_role_to_ship_is_the_best_of_the_metric_and_not_of_the_accuracy():
    students = {
        "student": [evaluated(model("student", 0.9, 0.6)), evaluated(model("student", 0.9, 0.7))],
        "subclass-student": [evaluated(model("subclass-student", 0.8, 0.68))],
    }
    assert role_to_ship(students) == "subclass-student"
    students["control"] = [evaluated(model("control", 0.99, 0.99))]  # never shipped
    assert role_to_ship(students) == "subclass-student"


def test_without_a_metric_of_its_own_a_choice_is_by_the_accuracy_and_then_by_the_loss():
    one, other = (evaluated(model("student", 0.9, loss=loss, seed=3)) for loss in (0.5, 0.4))
    assert best_on_validation([one, other]) is other
    students = {"student": [one], "subclass-student": [evaluated(model("subclass-student", 0.91))]}
    assert role_to_ship(students) == "subclass-student"


def test_a_sweep_chooses_by_the_mean_of_the_metric():
    first = Candidate("student", {}, None, [model("student", 0.9, 0.5), model("student", 0.9, 0.6)])
    second = Candidate("student", {}, None, [model("student", 0.8, 0.57)] * 2)
    assert best_candidate([first, second]) is second
    sooner = replace(second, students=[model("student", 0.1, 0.57, loss=0.9)] * 2)
    assert best_candidate([first, second, sooner]) is sooner
