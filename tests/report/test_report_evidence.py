import re

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from sample_evidence import judged

from kdtool.report.sections import verdict as verdicts
from kdtool.report.sections.cost import files
from kdtool.report.sections.verdict import differences
from kdtool.report.summary import tiles
from kdtool.report.uncertainty import meaning, uncertainty_rows

ROLES = ("teacher", "subclass-teacher", "control", "student", "subclass-student")
PAIRS = [("subclass-student", "control"), ("subclass-student", "student"), ("student", "control")]


@pytest.mark.parametrize(
    ("control", "plain", "expected"),
    [
        ("HELPED", "HELPED", "Subclass distillation helped, and it beats plain distillation."),
        (
            "HELPED",
            "NO EVIDENCE",
            "Subclass distillation helped, but there is no evidence that it beats plain "
            "distillation.",
        ),
        (
            "HELPED",
            "HURT",
            "Subclass distillation helped, but it is worse than plain distillation.",
        ),
        (
            "NO EVIDENCE",
            "NO EVIDENCE",
            "No evidence that subclass distillation helped, and there is no evidence that it beats "
            "plain distillation.",
        ),
        (
            "NO EVIDENCE",
            "HURT",
            "No evidence that subclass distillation helped, and it is worse than plain "
            "distillation.",
        ),
        (
            "HURT",
            "NO EVIDENCE",
            "Subclass distillation hurt, and there is no evidence that it beats plain "
            "distillation.",
        ),
        ("HURT", "HELPED", "Subclass distillation hurt, but it beats plain distillation."),
        ("HURT", "HURT", "Subclass distillation hurt, and it is worse than plain distillation."),
    ],
)
def test_headline_answers_against_the_control_and_over_plain(build, control, plain, expected):
    words = {
        "subclass-student/control": {"verdict": control},
        "subclass-student/student": {"verdict": plain},
    }
    assert verdicts.headline(judged(build(roles=ROLES), **words)) == expected


def test_verdicts_come_in_the_order_of_the_questions(build):
    found = verdicts.on_methods(build(roles=ROLES))
    assert [(verdict.of, verdict.against) for verdict in found] == PAIRS


def test_an_interval_without_zero_can_be_no_evidence_after_holm(build, typed):
    changed = {
        "verdict": "NO EVIDENCE",
        "difference": 0.0021,
        "ci95": (0.0001, 0.0041),
        "p_value": 0.04,
        "p_holm": 0.08,
    }
    results = judged(build(roles=ROLES), **{"subclass-student/student": changed})
    assert typed(verdicts.verdict_sentence(verdicts.on_methods(results)[1], 3)) == (
        "No evidence that subclass distillation helped over plain distillation: the subclass "
        "student is 0.21 points more accurate than the student of plain distillation (95 % "
        "interval 0.01 to 0.41, 3 seeds; p = 0.080, corrected for 3 comparisons). The interval "
        "by itself excludes zero (p = 0.040), but this is one of 3 comparisons, and p corrected "
        "for that (Holm) is not below 0.05."
    )


def test_a_single_verdict_mentions_no_correction(build):
    sentence = verdicts.headline(build())
    assert sentence.startswith("Distillation helped: the student is")
    assert "corrected" not in sentence


def test_each_student_is_measured_by_its_own_teacher(build, typed):
    results = build(roles=ROLES)
    subclass, _, plain = verdicts.on_methods(results)
    mean = {role: model.test["accuracy"].mean for role, model in results.models.items()}
    expected = (mean["subclass-student"] - mean["control"]) / (
        mean["subclass-teacher"] - mean["control"]
    )
    assert verdicts.gap_share(results, "subclass-student") == pytest.approx(expected)
    sentence = typed(verdicts.gap_sentence(results, subclass))
    assert sentence.startswith(f"Subclass distillation closed {100 * expected:.0f} % of the gap")
    assert f"and subclass teacher ({100 * mean['subclass-teacher']:.2f} %)" in sentence
    assert "Plain distillation closed" in verdicts.gap_sentence(results, plain)


@pytest.mark.parametrize("shipped", ["student", "subclass-student"])
def test_the_student_to_ship_is_named_with_the_reason(build, shipped):
    results = build(roles=ROLES, int8=True).model_copy(update={"shipped": shipped})
    assert files.shipped_role(results) == shipped
    spoken = shipped.replace("-", " ")
    assert f"Of the two students the {spoken} is shipped" in files.choice_sentence(results)
    assert f"Ship {shipped}.int8.onnx." in files.ship_sentence(results)
    seed = results.models[shipped].exported_seed
    assert f"of this file (seed {seed})" in tiles(results)[0].caption


def test_one_student_is_no_choice(build):
    assert files.choice_sentence(build()) is None


def test_differences_share_one_scale(build):
    results = build(roles=ROLES)
    found = verdicts.on_methods(results)
    axes = differences(results, found, 400).axes[0]
    low, high = axes.get_xlim()
    intervals = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2][1:]
    assert len(intervals) == 3
    for verdict, interval in zip(found, intervals, strict=True):
        assert list(interval) == pytest.approx([100 * end for end in verdict.ci95])
        assert low < interval[0] < interval[1] < high
    names = [text.get_text() for text in axes.texts]
    assert "subclass student minus student" in names


def test_uncertainty_says_what_would_help(build):
    results = build(roles=ROLES)
    assert uncertainty_rows(results)[0].cells == ["0.09", "0.05", "0.08", "0.27", "1,240", "2"]
    assert "in the strictest of its 3 comparisons" in meaning(results)
    assert "strictest" not in meaning(build())
    assert meaning(build()).endswith("verdicts hold for teachers of this kind.")
    assert meaning(build(seeds=(3,))).endswith("verdicts hold for this one (teacher_seeds).")
    (row,) = uncertainty_rows(build(seeds=(3,)))
    assert row.cells[0] == "unknown with one seed"
    assert row.cells[-1] == "no number suffices"


def test_subclass_study_shows_all_parts(subclass):
    parts = [
        "Subclass distillation helped",
        "Does it help more than plain distillation?",
        "Classes left out",
        "ALARM",
        "With 2 classes a soft target of plain distillation consists of 1 number.",
        "This study found a gain over plain distillation",
        "Class by class",
        "Where the models differ",
        "Can the probabilities be trusted?",
    ]
    for text in (subclass.html[subclass.html.index("<main>") :], subclass.markdown):
        place = 0
        for part in parts:
            place = text.index(part, place)


def test_every_image_is_on_the_page_once_and_only_those_that_exist(subclass):
    defined = re.findall(r'<image id="t(\d+)"', subclass.html)
    used = set(re.findall(r'<use href="#t(\d+)"', subclass.html))
    assert len(defined) == len(set(defined)) == 40
    assert used <= set(defined)
    assert len(subclass.html) < 1_500_000


def test_a_tiny_page_has_none_of_the_new_sections(full):
    for name in ("subclasses", "flips", "calibration", "bias_shift"):
        assert f'id="{name}"' not in full.html


def test_the_control_has_as_many_steps_unless_early_stopping_says_otherwise(build):
    results = build()
    assert "on the same data for the same number of steps, but without" in verdicts.control_line(
        results
    )
    control = results.models["control"]
    seeds = [
        seed.model_copy(update={"num_steps": steps})
        for seed, steps in zip(control.seeds, (1266, *[2532] * len(control.seeds)), strict=False)
    ]
    models = results.models | {"control": control.model_copy(update={"seeds": seeds})}
    stopped = results.model_copy(update={"models": models})
    assert (
        "on the same data with the same maximum number of steps (early_stop ended the control "
        "after 1,266 to 2,532 and the student after 2,532), but without a teacher"
    ) in verdicts.control_line(stopped)
