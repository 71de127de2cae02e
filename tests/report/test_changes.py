"""What is otherwise than when a study was last written: each difference is a sentence."""

import pytest

from kdtool.report.changes import changes_since


def test_equal_results_have_none(build):
    old, new = build(), build().model_copy(deep=True)
    assert changes_since(old, new) == []
    new.recipe["distill"]["method"] = "kd"  # an older kdtool had no other
    assert changes_since(old, new) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda one: one.recipe["distill"].update(temperature=8.0),
            "distill.temperature is 8.0; it was 20.0.",
        ),
        (lambda one: one.recipe["distill"].pop("temperature"), "is not set; it was 20.0."),
        (
            lambda one: one.recipe["distill"].update(method="dist"),
            "distill.method is dist; it was kd.",
        ),
        (
            lambda one: one.data.__dict__.update(fingerprint="other"),
            "The images, their labels or their split differ.",
        ),
        (lambda one: one.environment.__dict__.update(kdtool="9"), "kdtool is 9; it was "),
    ],
)
def test_recipe_data_and_software(build, change, sentence):
    old, new = build(), build().model_copy(deep=True)
    change(new)
    (found,) = changes_since(old, new)
    assert sentence in found


def test_outcomes(build, typed):
    old, new = build(), build().model_copy(deep=True)
    student = new.models["student"]
    worse = student.test["accuracy"].model_copy(update={"mean": 0.5})
    student.test["accuracy"] = worse
    verdict = new.verdicts[0].model_copy(update={"verdict": "HURT"})
    new = new.model_copy(update={"verdicts": [verdict, *new.verdicts[1:]]})
    found = [typed(one) for one in changes_since(old, new)]
    before = typed(f"{100 * old.models['student'].test['accuracy'].mean:.2f} %")
    assert found[0] == f"The accuracy of the student is 50.00 %; it was {before}."
    assert found[1] == f"The verdict on the student is HURT; it was {old.verdicts[0].verdict}."
    assert found[2] == "To ship is nothing; it was student.onnx."
    fewer = old.model_copy(update={"models": {"teacher": old.models["teacher"]}})
    assert "The student is new." in changes_since(fewer, old)
