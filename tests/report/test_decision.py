"""What is decided about ten studies, in the words that a person reads."""

import numpy as np
import pytest

from kdtool.report.budget import budget_sentences
from kdtool.report.decision import decide
from kdtool.report.parts.measured import measured
from kdtool.results.evidence import PairedDifference
from kdtool.results.profile import Agreement


def with_student(results, **changes):
    student = results.models["student"].model_copy(update=changes)
    return results.model_copy(update={"models": results.models | {"student": student}})


def answering(results, confusion):
    """The study with a student of this confusion matrix, the same for each seed."""
    total = int(np.sum(confusion))
    accuracy = int(np.trace(confusion)) / total
    seeds = [
        one.model_copy(
            update={
                "test": one.test.model_copy(
                    update={"confusion": confusion, "accuracy": accuracy, "num_images": total}
                )
            }
        )
        for one in results.models["student"].seeds
    ]
    return with_student(results, seeds=seeds)


def with_noise(results, noise="other programs kept 0.8 cores busy"):
    def noisy(file):
        return file.model_copy(update={"latency": file.latency.model_copy(update={"noise": noise})})

    files = {key: noisy(file) for key, file in results.models["student"].files.items()}
    return with_student(results, files=files, recommended="fp32")


def at_chance(build):
    results = build(classes=("cat", "dog", "owl"))
    return answering(results, [[40, 30, 30], [35, 30, 35], [30, 35, 35]])


def one_class_never_called(build):
    return answering(build(classes=("cat", "dog", "owl")), [[99, 1, 0], [1, 99, 0], [50, 50, 0]])


def no_better_than_the_largest_class(build):
    return answering(build(classes=("cat", "dog")), [[860, 40], [60, 40]])


def weak_teacher(build):
    return build(accuracy={"teacher": 0.90, "control": 0.95, "student": 0.96})


def tiny_test_set(build):
    return build(num_test=50)


def helped(build):
    return build()


def hurt(build):
    return build(accuracy={"teacher": 0.99, "control": 0.98, "student": 0.97})


def int8_refused(build):
    gate = {"recommended": False, "reason": "it is not measurably faster"}
    return build(int8=gate)


def busy_machine(build):
    return with_noise(build(int8=True))


def over_budget(build):
    results = build(int8=True)
    return results.model_copy(update={"recipe": {"device": {"max_size_mb": 1.0}}})


def all_well(build):
    results = build(int8=True)
    int8 = (
        results.models["student"]
        .files["int8"]
        .model_copy(
            update={
                "against_teacher": PairedDifference(difference=-0.0062, ci95=(-0.0084, -0.0040))
            }
        )
    )
    return with_student(results, files=results.models["student"].files | {"int8": int8})


SAME_NETWORK = "the same network trained without a teacher"


@pytest.mark.parametrize(
    ("study", "ship", "because", "also"),
    [
        (
            at_chance,
            None,
            "The student is not shown to be better than chance: it recognizes 35.00 % of 300 test "
            "images, mean over the classes; chance is 33.33 %.",
            "train longer (student.epochs)",
        ),
        (one_class_never_called, None, "The student never answers owl.", "train longer"),
        (
            no_better_than_the_largest_class,
            None,
            "The student is right on 90.00 % of the test images, which is not shown to be better "
            "than always answering cat (90.00 %).",
            'student.class_weights = "balanced"',
        ),
        (
            weak_teacher,
            None,
            "The teacher is no better than the control on validation images: accuracy 90.",
            "train the teacher longer",
        ),
        (
            tiny_test_set,
            "student.onnx",
            f"It is better than {SAME_NETWORK}; the recipe asks for no smaller file.",
            "Fewer than 20 test images of 0, 1, 2, 3, 4 and 5 more: hardly tested.",
        ),
        (
            helped,
            "student.onnx",
            f"It is better than {SAME_NETWORK}; the recipe asks for no smaller file.",
            "No time was measured on the device",
        ),
        (
            hurt,
            None,
            f"The student is worse than {SAME_NETWORK} (",
            "try another distill.temperature",
        ),
        (
            int8_refused,
            "student.onnx",
            f"It is better than {SAME_NETWORK}; no smaller file is both faster and accurate",
            "kdtool profile student.onnx student.int8.onnx --json > device.json",
        ),
        (
            busy_machine,
            "student.onnx",
            f"It is better than {SAME_NETWORK}; whether a smaller file is faster could not be "
            "measured on a busy machine.",
            "Times were measured on a busy machine (other programs kept 0.8 cores busy): do not "
            "rely on them.",
        ),
        (
            over_budget,
            None,
            "student.int8.onnx is over the budget, and no other file keeps to it: 1.25 MB, at most "
            "1.00 MB.",
            "take a smaller student (student.model)",
        ),
        (
            all_well,
            "student.int8.onnx",
            "It takes 0.62 of the time of fp32 (0.60 to 0.64).",
            "It loses at most 0.84 points of accuracy against the teacher: -0.62 (-0.84 to -0.40) "
            "on the test images.",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_decision(build, typed, study, ship, because, also):
    decision = decide(study(build))
    assert decision.ship == ship
    assert typed(decision.because).startswith(because)
    steps = [f"{step.purpose}: {step.command}" for step in decision.next]
    assert any(also in typed(text) for text in [*decision.risks, *steps])
    assert decision.alarms == [] if ship else decision.alarms[0] == decision.because
    assert steps


def test_a_study_without_a_student_ships_nothing_yet(build):
    decision = decide(build(roles=("teacher",)))
    assert (decision.ship, decision.because) == (None, "No student has a file yet.")
    assert decision.next[0].command == "kdtool distill RECIPE"


def test_every_reason_is_an_alarm(build):
    """A student of a weak teacher that names one class for all images."""
    results = weak_teacher(build)
    confusion = np.zeros((10, 10), int)
    confusion[:, 3] = 100
    decision = decide(answering(results, confusion.tolist()))
    assert len(decision.alarms) == 3  # chance, classes never answered, the teacher
    assert "never answers 0, 1, 2, 4, 5 and 4 more" in decision.alarms[1]


def test_a_threshold_decides_what_is_called(build):
    """With a threshold the confusion matrix, by the larger probability, is not the file's."""
    results = build(classes=("SSA", "HP"), num_test=977, scores={"metric": "weighted_f1"})
    student = results.models["student"]
    assert student.operating_point is not None
    point = student.operating_point.model_copy(update={"rule": "youden"})
    results = answering(with_student(results, operating_point=point), [[600, 0], [377, 0]])
    assert decide(results).ship == "student.onnx"
    rates = point.test.model_copy(update={"sensitivity": 0.0, "specificity": 1.0})
    useless = with_student(results, operating_point=point.model_copy(update={"test": rates}))
    assert decide(useless).because == "The student is at chance at its threshold."


def budgets(results, **limits):
    return results.model_copy(update={"recipe": {"device": limits}})


def fits(results):
    return {(one.file, one.budget): one.fit for one in decide(results).budgets}


def test_a_budget_is_kept_or_broken_by_the_whole_interval(build):
    """The student takes 0.133 ms, 0.130 to 0.137; int8 62 % of that."""
    results = build(int8=True)
    for limit, fp32, int8 in (
        (0.2, "within budget", "within budget"),
        (0.135, "not known to be within budget", "within budget"),
        (0.12, "over budget", "within budget"),
        (0.05, "over budget", "over budget"),
    ):
        assert fits(budgets(results, max_latency_ms=limit)) == {
            ("student.onnx", "max_latency_ms"): fp32,
            ("student.int8.onnx", "max_latency_ms"): int8,
        }


def test_the_next_best_file_ships_if_it_keeps_to_the_budget(build, typed):
    results = all_well(build)
    fp32 = (
        results.models["student"]
        .files["fp32"]
        .model_copy(
            update={"against_teacher": PairedDifference(difference=-0.001, ci95=(-0.003, 0.001))}
        )
    )
    files = results.models["student"].files | {"fp32": fp32}
    decision = decide(budgets(with_student(results, files=files), max_drop=0.005))
    assert decision.ship == "student.onnx"
    assert typed(decision.because) == (
        "It keeps to the budget; student.int8.onnx does not: 0.62 points lost (0.40 to 0.84), at "
        "most 0.50 points lost."
    )


def test_devices_count_where_there_are_some(build):
    """The Pi takes 6 times as long as the machine that made the study."""
    results = budgets(build(int8=True, devices=(("Pi", 6.0, 1.1),)), max_latency_ms=0.2)
    decision = decide(results)
    assert {one.machine for one in decision.budgets} == {"Pi, 4 cores"}
    assert decision.ship is None
    assert decide(budgets(results, max_latency_ms=1)).ship == "student.int8.onnx"


def test_what_was_not_measured_is_not_within(build):
    results = budgets(build(latency=False), max_latency_ms=100, max_memory_mb=100, max_drop=0.5)
    assert set(fits(results).values()) == {"not known to be within budget"}
    assert "not measured, at most" in decide(results).because


def test_files_of_which_the_same_is_said_share_a_sentence(build, typed):
    results = budgets(build(int8=True, latency=False), max_latency_ms=100, max_size_mb=2)
    assert [typed(one) for one in budget_sentences(decide(results).budgets)] == [
        "student.onnx is over budget: 4.96 MB, at most 2.00 MB.",
        "student.onnx and student.int8.onnx are not known to be within budget: not measured, at "
        "most 100 ms.",
        "student.int8.onnx is within budget: 1.25 MB, at most 2.00 MB.",
    ]


def test_times_of_a_runtime_with_other_answers_keep_to_no_budget(build):
    results = build(int8=True, devices=(("Pi", 6.0, 0.2),))
    (device,) = results.devices
    other = Agreement(
        num_golden=16,
        num_patterns=0,
        num_flipped=3,
        num_ties=0,
        max_difference=0.4,
        problem="3 images of 16 get another class",
    )
    files = [
        file.model_copy(
            update={
                "timings": [
                    timing.model_copy(
                        update={
                            "latency": timing.latency.model_copy(update={"runtime": "openvino"}),
                            "agreement": other,
                        }
                    )
                    for timing in file.timings
                ]
            }
        )
        for file in device.files
    ]
    results = results.model_copy(
        update={"devices": [device.model_copy(update={"files": files})], "decision": None}
    )
    assert all(row.other_answers for row in measured(results) if not row.here)
    found = fits(budgets(results, max_latency_ms=100))
    assert set(found.values()) == {"not known to be within budget"}
    assert decide(budgets(results, max_latency_ms=100)).ship is None


def test_times_of_a_busy_machine_keep_to_no_budget(build):
    results = budgets(busy_machine(build), max_latency_ms=100)
    assert set(fits(results).values()) == {"not known to be within budget"}


def test_report_and_terminal_show_the_budgets(build, write, typed):
    html, markdown = map(typed, write(budgets(build(int8=True), max_size_mb=2.0)))
    assert "student.onnx is over budget: 4.96 MB, at most 2.00 MB." in html
    assert "- student.int8.onnx is within budget: 1.25 MB, at most 2.00 MB." in markdown


@pytest.mark.parametrize(("num_last", "suggested"), [(0, False), (1, False), (2, True), (3, True)])
def test_more_epochs_are_suggested_if_most_students_kept_their_last(build, num_last, suggested):
    results = build()
    seeds = [
        one.model_copy(update={"best_epoch": 12 if place < num_last else 7})
        for place, one in enumerate(results.models["student"].seeds)
    ]
    steps = decide(with_student(results, seeds=seeds)).next
    found = [step for step in steps if "more epochs" in step.purpose]
    assert len(found) == suggested
    longer = results.recipe | {"student": {"phase": [{"epochs": 6}]}}
    phases = decide(with_student(results, seeds=seeds).model_copy(update={"recipe": longer})).next
    found_phases = [step for step in phases if "longer phases (student.phase)" in step.purpose]
    assert [step.command for step in found_phases] == [None] * suggested
    if suggested:
        assert f"{num_last} of 3 students kept their last" in found[0].purpose
        assert "--set student.epochs=24 " in found[0].command
