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
            "distill.temperature: 20.0 before, now 8.0.",
        ),
        (lambda one: one.recipe["distill"].pop("temperature"), "20.0 before, now not set."),
        (
            lambda one: one.recipe["distill"].update(method="dist"),
            "distill.method: kd before, now dist.",
        ),
        (
            lambda one: one.data.__dict__.update(fingerprint="other"),
            "The images, their labels or their split changed.",
        ),
        (lambda one: one.environment.__dict__.update(kdtool="9"), "before, now 9."),
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
    assert found[0] == f"accuracy of the student: {before} before, now 50.00 %."
    assert found[1] == f"Verdict on the student: {old.verdicts[0].verdict} before, now HURT."
    assert found[2] == "File to ship: student.onnx before, now none."
    fewer = old.model_copy(update={"models": {"teacher": old.models["teacher"]}})
    assert "The student is new." in changes_since(fewer, old)
    assert "The student is no longer in the study." in changes_since(old, fewer)


def test_keys_that_an_older_kdtool_did_not_have_are_no_change(build):
    old, new = build(), build().model_copy(deep=True)
    new.recipe["export"]["later"] = 1
    assert changes_since(old, new) == ["export.later: not set before, now 1."]
    old.environment.__dict__.update(kdtool="0.0.1")
    (found,) = changes_since(old, new)
    assert found.startswith("kdtool: 0.0.1 before")
