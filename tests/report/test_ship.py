import pytest
from sample_files import int8_ladder

from kdtool.format import keyboard_text
from kdtool.report.card import card
from kdtool.report.decision import decide, precision_to_ship
from kdtool.report.sections.cost.files import (
    quantization_phrase,
    section,
    ship_details,
    ship_rows,
    ship_sentence,
)
from kdtool.report.sections.cost.rungs import reason, rung_tables, tuning_sentence
from kdtool.results.quantization import Ladder, Quantization, Rung, SensitiveLayer

SLOWER = {
    "recommended": False,
    "time_ratio": 1.04,
    "time_ratio_ci95": (1.01, 1.07),
    "reason": "it is not faster",
}


@pytest.mark.parametrize(
    ("int8", "expected"),
    [
        (
            False,
            "Ship student.onnx. It is better than the same network trained without a teacher; the "
            "recipe asks for no smaller file.",
        ),
        (
            True,
            "Ship student.int8.onnx. It takes 0.62 of the time of fp32 (0.60 to 0.64).",
        ),
        (
            SLOWER,
            "Ship student.onnx. It is better than the same network trained without a teacher; no "
            "smaller file is both faster and accurate enough.",
        ),
    ],
    ids=str,
)
def test_the_file_to_ship_comes_first(build, int8, expected):
    assert ship_sentence(build(int8=int8)) == expected


def test_a_study_without_files_ships_nothing(build):
    results = build(roles=("teacher",))
    assert ship_sentence(results) is None
    assert ship_details(results) == ship_rows(results) == []


def test_with_fp32_alone_it_says_how_to_get_int8(build):
    (sentence,) = ship_details(build())
    assert ship_rows(build()) == []
    assert 'precisions = ["fp32", "int8"] under [export]' in sentence


def test_files_that_are_not_shipped_say_why(build):
    details = ship_details(build(int8=SLOWER))
    assert details[0] == "student.int8.onnx: do not ship; it is not faster."
    assert "calibrated on 300 training images" in details[1]
    assert details[1].endswith("accuracy was lost otherwise: /0/Gemm and /4/Gemm.")
    assert details[2].startswith("student.fp16.onnx is not kept: it loses 4.20 points")


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ([], "nothing was left in fp32"),
        (["a"], "otherwise: a"),
        (list("abcdefgh"), "otherwise: a, b, c, d, e, f and 2 more"),
    ],
)
def test_quantization_names_what_was_left_in_fp32(kept, expected):
    made = Quantization(target="portable", num_calibration=300, kept_fp32=kept)
    phrase = quantization_phrase(made)
    assert phrase.startswith("made for any processor, calibrated on 300 training images; ")
    assert phrase.endswith(expected)


def test_how_an_int8_file_was_made_names_ranges_and_biases():
    made = Quantization(
        target="arm",
        num_calibration=300,
        calibration="percentile 99.99",
        bias_corrected=True,
        kept_fp32=[],
    )
    assert quantization_phrase(made) == (
        "made for arm processors, calibrated on 300 training images, ranges by percentile 99.99, "
        "biases corrected; nothing was left in fp32"
    )


def test_rows_compare_int8_with_fp32(build, typed):
    results = build(int8=True)
    fp32, int8 = results.models["student"].files.values()
    rows = {row.key: row.cells for row in ship_rows(results)}
    assert rows["validation"][0] is rows["difference"][0] is None
    assert typed(rows["validation"][1].value) == "-0.10"
    assert typed(rows["validation"][1].interval) == "-0.25 to +0.05"
    assert typed(rows["difference"][1].value) == "-0.03"
    assert typed(rows["difference"][1].interval) == "-0.11 to +0.05"
    assert typed(rows["ratio"][1].value) == "0.62x"
    assert (rows["ratio"][1].interval, rows["ratio"][1].relative) == ("0.60 to 0.64", "faster")
    times = fp32.size_bytes / int8.size_bytes
    assert typed(rows["size"][1].relative) == f"{times:.1f}x smaller"
    assert typed(rows["agreement"][1].value) == "99.80 %"


@pytest.mark.parametrize(
    ("interval", "speed"),
    [
        ((0.8, 0.9899), "faster"),
        ((0.8, 0.99), "no measurable difference"),
        ((0.97, 0.995), "no measurable difference"),
        ((1.005, 1.03), "no measurable difference"),
        ((1.01, 1.2), "no measurable difference"),
        ((1.0101, 1.2), "slower"),
    ],
)
def test_the_file_table_and_the_device_sentence_use_the_same_rule(build, interval, speed):
    ratio = sum(interval) / 2
    results = build(int8={"time_ratio": ratio, "time_ratio_ci95": interval})
    (cells,) = [row.cells for row in ship_rows(results) if row.key == "ratio"]
    assert (cells[1].relative, cells[1].worse) == (speed, speed == "slower")

    results = build(int8=True, devices=(("Pi", 6.0, ratio),))
    (device,) = results.devices
    files = [
        file.model_copy(
            update={
                "timings": [
                    timing.model_copy(update={"time_ratio_ci95": interval})
                    if timing.time_ratio
                    else timing
                    for timing in file.timings
                ]
            }
        )
        for file in device.files
    ]
    device = device.model_copy(update={"files": files})
    results = results.model_copy(update={"devices": [device]})
    (sentence,) = [text for text in ship_details(results) if text.startswith("On Pi")]
    words = "not measurably faster or slower" if speed.startswith("no") else speed
    assert f"student.int8.onnx is {words} than fp32" in sentence
    (choice,) = decide(results).devices
    assert choice.ship == ("student.int8.onnx" if speed == "faster" else "student.onnx")


@pytest.mark.parametrize(
    ("int8", "ratio", "ship"),
    [
        (True, 0.5, "student.int8.onnx"),
        (True, 1.5, "student.onnx"),
        (True, 1.0, "student.onnx"),
        (SLOWER, 0.5, "student.int8.onnx"),
        (SLOWER, 1.5, "student.onnx"),
        (SLOWER | {"ci95": (-0.04, 0.01)}, 0.5, "student.onnx"),
    ],
)
def test_each_device_gets_its_own_file(build, typed, int8, ratio, ship):
    results = build(int8=int8, devices=(("Pi", 6.0, ratio),))
    (sentence,) = [text for text in ship_details(results) if text.startswith("On Pi, 4 cores, ")]
    assert typed(sentence).endswith("1 thread, batch 1).")
    (choice,) = decide(results).devices
    assert choice.ship == ship


def with_fp16(results, ratio):
    """`results` with an fp16 file that takes `ratio` of the time of fp32 on the only device."""
    student, (device,) = results.models["student"], results.devices
    fp16 = student.files["int8"].model_copy(
        update={"path": "student.fp16.onnx", "sha256": "16" * 32, "quantization": None}
    )
    files = {**student.files, "fp16": fp16}
    timings = []
    for timing in device.files[1].timings:
        update = {"time_ratio": ratio}
        update["time_ratio_ci95"] = (ratio - 0.01, ratio + 0.01)
        timings.append(timing.model_copy(update=update))
    measured_there = device.files[1].model_copy(
        update={"precision": "fp16", "sha256": fp16.sha256, "timings": timings}
    )
    device = device.model_copy(update={"files": [*device.files, measured_there]})
    models = {**results.models, "student": student.model_copy(update={"files": files})}
    return results.model_copy(update={"models": models, "devices": [device]})


@pytest.mark.parametrize(
    ("int8", "fp16"),
    [(0.6, 0.4), (0.4, 0.6), (1.4, 1.2)],
)
def test_a_device_has_one_sentence_on_all_files(build, typed, int8, fp16):
    results = with_fp16(build(int8=True, devices=(("Pi", 6.0, int8),)), fp16)
    (sentence,) = [typed(text) for text in ship_details(results) if text.startswith("On Pi, ")]
    assert f": {int8:.2f}x its time" in sentence
    assert f"; student.fp16.onnx is {'faster' if fp16 < 1 else 'slower'} than fp32" in sentence
    assert "Ship" not in sentence  # which one is decided once, with alarms and budgets


def test_what_ships_for_the_budget_is_not_called_unfit(build):
    """fp32 is over the budget; int8 is not measurably faster, and ships all the same."""
    results = build(int8=SLOWER)
    recipe = results.recipe | {"device": {"max_size_mb": 2.0}}
    results = results.model_copy(update={"recipe": recipe, "decision": None})
    assert decide(results).ship == "student.int8.onnx"
    assert not [text for text in ship_details(results) if "do not ship" in text]
    assert precision_to_ship(results, "student") == "int8"
    assert precision_to_ship(build(int8=SLOWER), "student") == "fp32"
    card_of = {file.name: file.is_shipped for file in card(results, "student").files}
    assert [name for name, ships in card_of.items() if ships] == ["onnx/model_int8.onnx"]


def test_what_fp16_is_for_is_said_where_there_is_such_a_file(build):
    results = build(int8=True, devices=(("Pi", 6.0, 0.6),))
    text = "student.fp16.onnx: fp16 halves the size; on processors without fp16 arithmetic it is"
    assert not [said for said in ship_details(results) if said.startswith(text)]
    (said,) = [said for said in ship_details(with_fp16(results, 0.5)) if said.startswith(text)]
    assert said.endswith("it is meant for GPUs.")


def test_nothing_is_said_of_a_device_that_did_not_compare(build):
    results = build(int8=True, devices=(("Pi", 6.0, None),))
    assert not [text for text in ship_details(results) if text.startswith("On Pi")]


def test_attempts_for_int8_are_listed_where_the_first_failed(build, typed):
    results = build(int8=True)
    (table,) = rung_tables(results)
    assert (
        table.title == "student.int8.onnx: the last of 4 attempts keeps its accuracy on validation"
    )
    rows = {row.name: row for row in table.rows}
    assert list(rows) == ["min-max", "percentile 99.99", "bias correction", "2 layers in fp32"]
    assert [row.passed for row in table.rows] == [False, False, False, True]
    first, last = table.rows[0], table.rows[-1]
    assert (typed(first.difference), typed(first.interval)) == ("-4.12", "-4.32 to -3.92")
    assert (typed(first.time), first.kept_fp32) == ("0.55x", "")
    # measured with the file that is kept, which has the same layers in fp32
    assert (typed(last.time), last.time_interval) == ("0.62x", "0.60 to 0.64")
    assert (typed(last.size), last.kept_fp32) == ("1.33 MB", "/0/Gemm and /4/Gemm")


def with_ladder(results, ladder):
    student = results.models["student"].model_copy(update={"int8_ladder": ladder})
    return results.model_copy(update={"models": {**results.models, "student": student}})


def test_one_attempt_that_passed_is_no_table(build):
    results = build(int8=True)
    ladder = results.models["student"].int8_ladder
    one = ladder.model_copy(update={"rungs": ladder.rungs[-1:], "worst_layers": []})
    assert rung_tables(with_ladder(results, one)) == []
    assert rung_tables(with_ladder(results, None)) == []


def test_attempts_of_a_refused_file_are_listed_with_their_own_times(build, typed):
    results = with_ladder(build(), int8_ladder(passed=False))
    (table,) = rung_tables(results)
    assert "none of 4 attempts keeps its accuracy" in table.title
    assert [typed(row.time) for row in table.rows] == ["0.55x"] * 4
    assert section(results).rungs == [table]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "not known"),
        ({"input_outliers": 1.99, "output_outliers": 1.99, "weight_spread": 7.9}, "not known"),
        (
            {"input_outliers": 7.94},
            "outliers in its input, 7.9x the range of 99.99 % of the values",
        ),
        (
            {"output_outliers": 300, "weight_spread": 12},
            "outliers in its output, 300x the range of 99.99 % of the values; "
            "weights of one channel 12x those of the median channel",
        ),
    ],
)
def test_the_reason_of_a_layers_noise_is_given_where_it_is_known(changes, expected):
    usual = {"input_outliers": 1.0, "output_outliers": 1.0, "weight_spread": 1.0}
    layer = SensitiveLayer(name="a", operator="Conv", snr_db=9.0, **usual | changes)
    assert reason(layer) == expected


def rung(difference, name="min-max", kept_fp32=(), fine_tuned=None):
    return Rung(
        name=name,
        calibration="min-max",
        bias_corrected=False,
        kept_fp32=list(kept_fp32),
        fine_tuned=fine_tuned,
        difference=difference,
        ci95=(difference, difference),
        num_validation=400,
        size_bytes=1,
        time_ratio=None,
        time_ratio_ci95=None,
        passed=False,
    )


BEFORE = [rung(-0.05), rung(-0.03, "bias correction"), rung(-0.02, "1 layer in fp32", ["a"])]
CONTROL, AWARE = rung(-0.028, fine_tuned="fp32"), rung(-0.004, fine_tuned="int8")


@pytest.mark.parametrize(
    ("ladder", "expected"),
    [
        (Ladder(rungs=BEFORE), None),
        (
            Ladder(rungs=[*BEFORE, CONTROL, AWARE]),
            "Fine-tuning in int8 changed the accuracy by +2.60 points (bias correction before); "
            "its control, the same epochs in fp32, by +0.20.",
        ),
        (
            Ladder(rungs=[*BEFORE, CONTROL]),
            "Fine-tuning in fp32 changed the accuracy of the int8 file by +0.20 points (bias "
            "correction before): enough without learning in int8, of which it is the control.",
        ),
        (
            Ladder(rungs=BEFORE, left_out="no form of its nodes Abs (a)"),
            "No fine-tuning in int8: no form of its nodes Abs (a).",
        ),
    ],
)
def test_the_gain_of_fine_tuning_in_int8_is_shown_with_that_of_its_control(ladder, expected):
    sentence = tuning_sentence(ladder)
    assert sentence is expected or keyboard_text(sentence) == expected


def test_quantization_says_that_weights_were_fine_tuned():
    made = Quantization(target="x86", num_calibration=9, kept_fp32=[], fine_tuned="int8")
    phrase = quantization_phrase(made)
    assert "9 training images, weights fine-tuned to compute in int8 by the fp32 student;" in phrase
