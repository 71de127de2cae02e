import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from sample_evidence import judged

from kdtool.errors import StudyError
from kdtool.report.parts.pictures import MOST_PIXELS, load_gallery, shrunk
from kdtool.report.sections import calibration, coverage, subclasses
from kdtool.report.sections.bias_shift import shift_sentence
from kdtool.report.sections.flips import flip_rows, flip_sentence
from kdtool.report.write import write_report

ROLES = ("teacher", "subclass-teacher", "control", "student", "subclass-student")
PAIRS = [("subclass-student", "control"), ("subclass-student", "student"), ("student", "control")]


def evidence(build, **options):
    return build(roles=ROLES, evidence=options)


def test_a_collapse_is_reported_with_what_to_try(build):
    found = subclasses.alarm(evidence(build, collapsed=True))
    assert "the subclass teacher of seed 0 (1)" in found
    assert "and 2 more" in found
    assert "subclass.auxiliary_weight" in found
    assert subclasses.alarm(evidence(build)) is None


@pytest.mark.parametrize(
    ("classes", "verdict", "expected"),
    [
        (2, "HELPED", ("consists of 1 number", "as expected: keep")),
        (2, "NO EVIDENCE", ("where they can help", "does not show that there is no gain")),
        (2, "HURT", ("where they can help", "although there are few classes: use it")),
        (10, "HELPED", ("consists of 9 numbers", "although there are many classes")),
        (10, "NO EVIDENCE", ("passes on as much", "none was expected: use plain")),
        (10, "HURT", ("passes on as much", "plain distillation was better, and with so many")),
    ],
)
def test_advice_fits_the_classes_and_the_verdict(build, classes, verdict, expected):
    names = [str(i) for i in range(classes)]
    changed = {"subclass-student/student": {"verdict": verdict}}
    results = judged(build(roles=ROLES, classes=names), **changed)
    text = " ".join(subclasses.advice(results))
    for part in expected:
        assert part in text


def test_fine_rows_are_shares_of_the_fine_class(subclass):
    use = subclasses.exported_uses(subclass.results)[0]
    rows = subclasses.fine_rows(subclass.results, use.fine)
    assert [row.name for row in rows] == list("0123456789")
    for row, counts in zip(rows, use.fine.table, strict=True):
        assert [cell[0] for cell in row.cells] == counts
        assert sum(share for _, share, _ in row.cells) == pytest.approx(1)
        assert [first for *_, first in row.cells] == [i % 5 == 0 for i in range(10)]


def test_flips_have_a_table_and_a_balance(build):
    one = evidence(build).flips[0]
    (both, lost), (gained, neither) = (row.cells for row in flip_rows(one))
    assert (both[0], lost, gained) == (
        one.both_right,
        (one.lost, one.against),
        (one.gained, one.of),
    )
    assert sum(number for row in flip_rows(one) for number, _ in row.cells) == 10_000
    assert neither[0] == one.both_wrong
    assert flip_sentence(one).endswith(f"gets right: {one.lost - one.gained} fewer in total.")
    even = one.model_copy(update={"gained": 5, "lost": 5})
    assert flip_sentence(even).endswith("as many in total.")


# 6,000 validation images: chance explains up to 1.92 / 6,000 = 0.00032 nats in 19 of 20 cases
@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (0.043, "If you use the probabilities, set export.calibrate = true"),
        (0.05166, "If you use the probabilities, set export.calibrate = true"),
        (0.0517, "Leave export.calibrate = false"),
        (0.052, "Leave export.calibrate = false"),
    ],
)
def test_validation_decides_whether_to_scale_and_test_shows_the_effect(build, after, expected):
    advice = calibration.calibration_advice(evidence(build, validation_nll_after=after))
    assert advice.startswith(expected)
    assert f"from 0.0520 to {after:.4f}" in advice
    assert "On the test images, scaling changes the negative log-likelihood from 0.0500" in advice
    assert "the calibration error from 1.00 to 0.40 points" in advice


@pytest.mark.parametrize("temperature", [1.42, 1.0])
def test_the_recipe_says_whether_the_temperature_is_built_in(build, temperature):
    results = evidence(build, temperature=temperature)
    built_in = results.model_copy(update={"recipe": {"export": {"calibrate": True}}})
    expected = f"The temperature {temperature:.2f} is built into the files of the subclass student"
    assert calibration.calibration_advice(built_in).startswith(expected)
    for recipe in ({}, {"export": {}}):  # of a kdtool that did not know the key
        older = results.model_copy(update={"recipe": recipe})
        assert "export.calibrate = true" in calibration.calibration_advice(older)
    assert calibration.calibration_advice(build()) is None


def test_too_many_subclasses_for_a_table_are_in_the_results_only(build, write):
    results = evidence(build)
    use = results.subclasses[0]
    many = [
        one.model_copy(update={"shares": [1 / 61] * 61, "claimed": [[0]] * 61})
        for one in use.per_class
    ]
    use = use.model_copy(update={"per_class": many})
    html, markdown = write(results.model_copy(update={"subclasses": [use]}))
    for text in (html, markdown):
        assert "too many subclasses for a table, see results.json" in text
    assert "| 1 | 2 |" not in markdown
    assert "<th>61</th>" not in html


def test_the_report_says_what_students_learn_from(subclass):
    for text in (subclass.html, subclass.markdown):
        assert "students and control learn from the other 27,000 training images" in text
        assert "The validation images do contain these classes" in text


def test_reliability_draws_a_bar_a_group_and_both_confidences(build):
    results = evidence(build)
    role, found = calibration.shown_calibration(results)
    axes = calibration.reliability_figure(role, found, 400).axes[0]
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == pytest.approx([100 * one.accuracy for one in found.before])
    *intervals, before, after = axes.lines
    for line, one in zip(intervals, found.before, strict=True):
        low, high = line.get_ydata()
        assert low < 100 * one.accuracy < high
    for line, groups in ((before, found.before), (after, found.after)):
        expected = [100 * one.confidence for one in groups]
        assert list(line.get_ydata()) == pytest.approx(expected)
    assert calibration.section(build()) is None


def test_coverage_is_a_sentence_and_a_curve(build):
    results = evidence(build)
    found = results.models["student"].coverage
    section = coverage.section(results)
    assert section.sentence.startswith(
        "Answer only if the probability is at least 0.62, and leave the other images to a person: "
        "95\N{NO-BREAK SPACE}% of the test images are answered, and "
    )
    curve, chosen = coverage.coverage_figure("student", found, 400).axes[0].lines
    assert list(curve.get_xdata()) == [100, 95, 60]
    assert list(chosen.get_xdata()) == [95]
    none = found.model_copy(update={"chosen": None, "test": None, "test_ci95": None})
    assert "the model makes 30 mistakes on the" in coverage.coverage_sentence(results, none)
    unconfirmed = found.model_copy(update={"test_ci95": (0.4, 0.7)})
    assert "0.62 halves the share of mistakes on the" in (
        coverage.coverage_sentence(results, unconfirmed)
    )
    assert coverage.section(build()) is None


def test_bias_shift_is_one_sentence_a_model(build, typed):
    results = evidence(build, excluded=("3",))
    assert typed(shift_sentence(results, results.bias_shifts[1])) == (
        "The student was not trained on 3: adding 2.80 (mean over seeds) to the logits there "
        "changes its accuracy on 3 from 88.30 % to 97.40 %, and on all classes from 97.10 % to "
        "98.20 %. The exported files do not include this shift."
    )


@pytest.mark.parametrize("size", [(28, 28), (224, 200), (3, 500), (56, 57)])
def test_thumbnails_are_small_means(size):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    small = shrunk(picture)
    assert max(small.shape) <= MOST_PIXELS
    assert min(small.shape) >= 1
    if max(size) <= MOST_PIXELS:
        assert np.array_equal(small, picture)
    assert np.array_equal(shrunk(np.full((224, 224, 3), 9, np.uint8)), np.full((56, 56, 3), 9))


def test_a_missing_gallery_is_an_error_that_says_how_to_fix_it(build, tmp_path):
    with pytest.raises(StudyError, match="repeat the command that made the study"):
        write_report(evidence(build), tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_gallery_of_another_study_is_an_error(build, tmp_path):
    np.savez(tmp_path / "gallery.npz", images=np.zeros((3, 8, 8, 1), np.uint8))
    with pytest.raises(StudyError, match=r"has 3 images, but results\.json expects 40"):
        load_gallery(evidence(build).gallery, tmp_path)
