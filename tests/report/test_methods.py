"""The sentence that says which method to use, for every outcome."""

import pytest

pytest.importorskip("matplotlib")

from kdtool.report.sections import methods
from kdtool.results.base import Summary
from kdtool.results.evidence import MethodResult, PairedVerdict

SCORE = Summary(mean=0.95, std=0.01, ci95=(0.94, 0.96))


def verdict(difference, word):
    low, high = difference - 0.01, difference + 0.01
    return PairedVerdict(difference=difference, ci_holm=(low, high), p_holm=0.01, verdict=word)


NONE, HELPED = verdict(0.002, "NO EVIDENCE"), verdict(0.02, "HELPED")


def method(name, control, kd=None, *, selected=False, settings=None, number=1):
    return MethodResult(
        method=name,
        settings={"distill.method": name} | (settings or {}),
        num_settings=number,
        validation_score=SCORE,
        test_score=SCORE,
        against_control=control,
        against_kd=kd,
        selected=selected,
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            [method("kd", NONE), method("dist", HELPED, verdict(0.018, "HELPED"), selected=True)],
            "On these data use dist: +1.80 points (0.80 to 2.80) over kd, +2.00 points (1.00 to "
            "3.00) over the control.",
        ),
        (
            [method("kd", HELPED), method("dist", HELPED, NONE, selected=True)],
            "On these data dist helps: +2.00 points (1.00 to 3.00) over the control; it is not "
            "shown to differ from kd (+0.20 points (-0.80 to +1.20) over kd).",
        ),
        (
            [method("kd", HELPED), method("dist", HELPED, verdict(-0.02, "HURT"), selected=True)],
            "On these data dist, chosen on validation, helps: +2.00 points (1.00 to 3.00) over the "
            "control; but on the test images it is worse than kd (-2.00 points (-3.00 to -1.00) "
            "over kd). More validation images choose more reliably.",
        ),
        (
            [method("kd", HELPED, selected=True), method("ls", NONE, NONE)],
            "On these data use kd: +2.00 points (1.00 to 3.00) over the control; no other method "
            "was better on validation.",
        ),
        (
            [method("kd", NONE, selected=True), method("ls", HELPED, HELPED)],
            "On these data no method is shown to help: kd, the best on validation, has +0.20 "
            "points (-0.80 to +1.20) over the control. On the test images ls did better, but "
            "validation did not choose it; more validation images choose more reliably.",
        ),
    ],
)
def test_which_method_to_use(build, typed, found, expected):
    results = build().model_copy(update={"methods": found, "verdicts": []})
    assert typed(methods.method_sentence(results)) == expected


def test_the_verdict_of_the_study_is_about_one_comparison_and_the_table_about_all(build, typed):
    results = build()
    (alone,) = results.verdicts
    assert alone.verdict == "HELPED"
    found = [method("kd", NONE, selected=True), method("ls", NONE, NONE)]
    sentence = typed(methods.method_sentence(results.model_copy(update={"methods": found})))
    assert sentence == (
        "On these data kd, chosen on validation, helps: compared with the control alone, as by the "
        f"study's verdict, {100 * alone.difference:+.2f} (0.39 to 0.77). Among all comparisons "
        "here, corrected together, that is not shown: +0.20 points (-0.80 to +1.20) over the "
        "control."
    )


def test_a_table_a_figure_and_how_fair_it_was(build, write):
    found = [
        method("kd", NONE, settings={"distill.temperature": 4}, number=2),
        method("dist", HELPED, verdict(0.018, "HELPED"), selected=True, number=1),
    ]
    html, markdown = write(build().model_copy(update={"methods": found}))
    for text in (html, markdown):
        assert "Which method to use" in text
        assert "1 to 2 settings of each method tried: a method with more settings had more" in text
        assert "corrected for 3 comparisons" in text
    assert "distill.temperature = 4" in html
    section = methods.section(build().model_copy(update={"methods": found}))
    assert [row.selected for row in section.rows] == [False, True]
    assert section.rows[0].cells[3] is None
    assert methods.section(build()) is None
