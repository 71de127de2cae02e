import pytest

from kdtool.format import printable
from kdtool.report.sections import verdict as verdicts
from kdtool.report.sections.cost.comparison import cost_sentence, latency_sentence, parity_sentence
from kdtool.report.sections.duplicates import duplicates_sentence
from kdtool.results.study import Parity


def with_verdict(results, **changes):
    verdict = results.verdicts[0].model_copy(update=changes)
    return results.model_copy(update={"verdicts": [verdict]})


@pytest.mark.parametrize(
    ("word", "difference", "ci95", "expected"),
    [
        (
            "HELPED",
            0.0073,
            (0.006, 0.009),
            "Distillation helped: the student is 0.73 points more accurate than the same student "
            "trained without a teacher (95 % interval 0.60 to 0.90, 3 seeds).",
        ),
        (
            "NO EVIDENCE",
            -0.0012,
            (-0.004, 0.0016),
            "No evidence that distillation helped: the student is 0.12 points less accurate than "
            "the same student trained without a teacher (95 % interval -0.40 to +0.16, "
            "3 seeds; the interval includes zero).",
        ),
        (
            "NO EVIDENCE",
            0.00001,
            (-0.004, 0.004),
            "No evidence that distillation helped: the student is as accurate as the same student "
            "trained without a teacher (95 % interval -0.40 to +0.40, 3 seeds; the "
            "interval includes zero).",
        ),
        (
            "HURT",
            -0.0041,
            (-0.0062, -0.0011),
            "Distillation hurt: the student is 0.41 points less accurate than the same student "
            "trained without a teacher (95 % interval -0.62 to -0.11, 3 seeds).",
        ),
    ],
)
def test_a_verdict_is_one_sentence(build, typed, word, difference, ci95, expected):
    results = with_verdict(build(), verdict=word, difference=difference, ci95=ci95)
    assert typed(verdicts.headline(results)) == expected


def test_a_single_seed_says_nothing_about_others(build):
    (verdict,) = build(seeds=(7,)).verdicts
    assert "1 seed, so nothing is known about other seeds)" in verdicts.verdict_sentence(verdict)
    assert "one seed (7)" in verdicts.caveat([verdict], 1000)
    assert "not the choice of seeds" in verdicts.caveat([verdict], 1000)


def test_the_label_of_a_verdict_says_when_it_rests_on_one_seed(build):
    assert verdicts.verdict_label(build(seeds=(7,)).verdicts[0]) == "HELPED (ONE SEED)"
    assert verdicts.verdict_label(build().verdicts[0]) == "HELPED"


def test_p_values_of_single_seeds_may_disagree_with_the_interval_over_seeds(build):
    scope = "so the two may disagree"
    assert scope in verdicts.mcnemar_sentence(build().verdicts)
    assert scope not in verdicts.mcnemar_sentence(build(seeds=(7,)).verdicts)


def test_several_seeds_need_no_caveat(build):
    assert verdicts.caveat(build().verdicts, 1000) is None


def test_no_evidence_says_what_could_have_been_detected(build):
    results = with_verdict(build(), verdict="NO EVIDENCE", difference=0.004, ci95=(-0.008, 0.016))
    sentence = verdicts.caveat(results.verdicts, 1000)
    assert "3 seeds and 1,000 test images detects differences of about 0.27 points" in sentence
    (verdict,) = results.verdicts
    nothing = verdict.uncertainty.model_copy(update={"visible": 1.0})
    verdict = verdict.model_copy(update={"uncertainty": nothing})
    assert "even large differences cannot be distinguished from chance" in verdicts.caveat(
        [verdict], 1000
    )


def test_mcnemar_gives_one_p_a_seed(build, typed):
    sentence = typed(verdicts.mcnemar_sentence(build().verdicts))
    assert "p < 0.001 (seed 0), p = 0.012 (seed 1) and p < 0.001 (seed 2)" in sentence


def mean_accuracies(results, **means):
    models = dict(results.models)
    for role, mean in means.items():
        summary = models[role].test["accuracy"].model_copy(update={"mean": mean})
        test = {**models[role].test, "accuracy": summary}
        models[role] = models[role].model_copy(update={"test": test})
    return results.model_copy(update={"models": models})


@pytest.mark.parametrize(
    ("teacher", "control", "student", "expected"),
    [
        (0.99, 0.98, 0.985, "Distillation closed 50 % of the gap between control (98.00 %)"),
        (
            0.99,
            0.98,
            0.975,
            "Distillation widened the gap between control (98.00 %) and teacher (99.00 %)",
        ),
        (0.99, 0.98, 0.995, "the student scored higher than its teacher on the test images."),
        (0.97, 0.98, 0.985, "There was no gap to close: teacher 97.00 %, control 98.00 %."),
    ],
)
def test_every_order_of_the_models_has_a_sentence_on_the_gap(
    build, typed, teacher, control, student, expected
):
    results = mean_accuracies(build(), teacher=teacher, control=control, student=student)
    sentence = verdicts.gap_sentence(results, results.verdicts[0])
    assert expected in typed(sentence)


def test_gap_is_not_called_closed_without_evidence(build):
    results = with_verdict(build(), verdict="NO EVIDENCE", ci95=(-0.001, 0.01))
    assert verdicts.gap_sentence(results, results.verdicts[0]).startswith("For scale: the gap")


def test_costs_name_what_is_better_and_what_is_worse(build, typed):
    assert typed(cost_sentence(build())) == (
        "Compared with the teacher, the student has 8.8x fewer FLOPs and "
        "3.1x lower latency, but 1.22x more parameters and 1.22x larger file size."
    )


def test_costs_need_both_models(build):
    assert cost_sentence(build(roles=("teacher",))) is None


def test_parity_counts_the_images(build):
    file = build(num_test=1000).models["student"].files["fp32"]
    assert parity_sentence(file) == (
        "same class as PyTorch on all 1,000 test images, largest difference of a logit 3.1e-6"
    )
    int8 = parity_sentence(build(int8=True).models["student"].files["int8"])
    assert int8.startswith("same class as PyTorch on 9,980 of 10,000 test images")
    flipped = Parity(
        num_images=1000, agreement=0.998, max_abs_error=0.02, flipped=[3, 8], passed=False
    )
    sentence = parity_sentence(file.model_copy(update={"parity": flipped}))
    assert sentence.startswith(
        "FAILED the check: same class as PyTorch on 998 of 1,000 test images"
    )


def test_latency_says_how_it_was_measured(build):
    assert latency_sentence(build()) == (
        "Latency of the fp32 files in ONNX Runtime: batch size 1, 1 thread, CPUExecutionProvider, "
        "files measured in turn, 1,000, 1,000 and 1,000 runs."
    )
    assert latency_sentence(build(latency=False)) is None


def test_latency_of_a_noisy_machine_says_so(build):
    results = build()
    model = results.models["student"]
    file = model.files["fp32"]
    noisy = file.latency.model_copy(update={"noise": "other processes kept 1.3 cores busy"})
    files = {"fp32": file.model_copy(update={"latency": noisy})}
    models = results.models | {"student": model.model_copy(update={"files": files})}
    sentence = latency_sentence(results.model_copy(update={"models": models}))
    assert sentence.endswith(
        "runs. *: measured on a busy machine: other processes kept 1.3 cores busy."
    )


def test_without_a_verdict_the_opening_names_the_scores(build):
    assert verdicts.headline(build(roles=())) == "No model has been trained in this study yet."
    opening = verdicts.headline(build(roles=("teacher",)))
    assert opening.startswith("No verdict yet: the teacher reaches 99.")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a\n\tb", "a b"), ("\x1b[31mred", "\N{REPLACEMENT CHARACTER}[31mred"), ("日本語", "日本語")],
)
def test_printable_names_are_one_line_without_control_characters(name, expected):
    assert printable(name) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"num_duplicates": 0, "duplicates": []}, "No image is in two splits."),
        ({}, "1 image is in two splits, bit for bit, such as train 1204 and test 88."),
        (
            {
                "num_duplicates": 0,
                "num_near_duplicates": 2,
                "near_duplicates": [("test", 3, "train", 5), ("test", 4, "train", 9)],
            },
            "2 images are nearly identical to an image of another split, such as test 3 and train "
            "5; test 4 and train 9.",
        ),
    ],
)
def test_the_sentence_on_duplicates(build, changes, expected):
    assert duplicates_sentence(build().data.model_copy(update=changes)) == expected
