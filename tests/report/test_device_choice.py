"""Which file is the one for a device, in the words that a person reads."""

import io
import re
from pathlib import Path
from typing import get_args

import pytest

pytest.importorskip("jinja2")

from rich.console import Console
from sample_files import device

from kdtool.report.decision import decide
from kdtool.report.parts.measured import RUNTIMES, measured
from kdtool.report.sections.cost.devices import (
    answer_sentences,
    choice_sentences,
    machine_descriptions,
    noise_sentences,
)
from kdtool.report.write import write_report
from kdtool.results.profile import Agreement, Runtime
from kdtool.terminal.devices import show_devices

PI = "Pi, 4 cores"


def with_devices(results, *devices):
    found = results.model_copy(update={"devices": list(devices)})
    return found.model_copy(update={"decision": decide(found)})


def timed(results, ratio, ends, **changes):
    """The files on a Pi in one setting; int8 takes `ratio` of the time of fp32, if not None."""
    whole = device(results, "Pi", 6.0, ratio)
    files = []
    for file in whole.files:
        first = file.timings[0]
        latency = first.latency.model_copy(update=changes)
        update = {"latency": latency}
        if file.precision == "int8":
            update["time_ratio_ci95"] = ends
        files.append(file.model_copy(update={"timings": [first.model_copy(update=update)]}))
    return whole.model_copy(update={"files": files})


def only(profile, precision):
    files = [file for file in profile.files if file.precision == precision]
    return profile.model_copy(update={"files": files})


def choice(results, profile):
    (found,) = with_devices(results, profile).decision.devices
    assert found.machine == PI
    return found


@pytest.mark.parametrize(
    ("ratio", "ends", "ship", "because"),
    [
        (0.55, (0.53, 0.58), "student.int8.onnx",
         "It takes 0.55x the time of student.onnx (0.53 to 0.58) there and keeps its accuracy: "
         "-0.03 points (-0.11 to +0.05) on the test images."),
        (0.98, (0.95, 0.995), "student.onnx",
         "No smaller file is measurably faster there: student.int8.onnx takes 0.98x the time of "
         "student.onnx (0.95 to 0.99)."),
        (1.1, (1.08, 1.13), "student.onnx",
         "No smaller file is measurably faster there: student.int8.onnx takes 1.10x the time of "
         "student.onnx (1.08 to 1.13)."),
    ],
)  # fmt: skip
def test_the_file_for_a_device_is_faster_there(build, typed, ratio, ends, ship, because):
    results = build(int8=True)
    found = choice(results, timed(results, ratio, ends))
    assert (found.is_known, found.ship, typed(found.because)) == (True, ship, because)


def test_files_that_were_not_timed_in_turn_are_compared_by_their_intervals(build, typed):
    """0.98 to 1.03 of each median: of half the time the ratio is from 0.476 to 0.526."""
    results = build(int8=True)
    profile = timed(results, 0.5, (0.4, 0.6))
    files = [
        file.model_copy(
            update={"timings": [file.timings[0].model_copy(update={"time_ratio": None})]}
        )
        for file in profile.files
    ]
    found = choice(results, profile.model_copy(update={"files": files}))
    assert found.ship == "student.int8.onnx"
    assert "0.50x the time of student.onnx (0.48 to 0.53)" in typed(found.because)


def in_openvino(results, problem, times=0.5):
    """The files on a Pi in both runtimes; OpenVINO takes a part of the time, int8 with a problem.

    On the Pi int8 takes half of the time of fp32.
    """
    whole = timed(results, 0.5, (0.48, 0.52))
    files = []
    for file in whole.files:
        (first,) = file.timings
        p50 = first.latency.p50_ms * times
        other = first.latency.model_copy(update={"runtime": "openvino", "p50_ms": p50})
        found = Agreement(
            num_golden=16,
            num_patterns=64,
            num_flipped=0,
            num_ties=0,
            max_difference=1e-6,
            problem=problem if file.precision == "int8" else None,
        )
        changes = {"latency": other, "agreement": found}
        files.append(file.model_copy(update={"timings": [first, first.model_copy(update=changes)]}))
    return whole.model_copy(update={"files": files})


PROBLEM = "12 of 80 images get another class"


@pytest.mark.parametrize(
    ("problem", "times", "ship", "because"),
    [
        (None, 0.5, "student.int8.onnx",
         "It takes 0.50x the time of student.onnx (0.48 to 0.52) there in OpenVINO and keeps"),
        # fp32 in OpenVINO takes less time than int8 in ONNX Runtime, and int8 may not be used there
        (PROBLEM, 0.4, "student.onnx",
         "It is the only file to choose from in OpenVINO. OpenVINO does not give ONNX Runtime's "
         "answers with student.int8.onnx."),
        # and here more
        (PROBLEM, 0.6, "student.int8.onnx",
         "It takes 0.50x the time of student.onnx (0.48 to 0.52) there and keeps its accuracy"),
    ],
)  # fmt: skip
def test_a_runtime_with_other_answers_is_not_chosen(build, typed, problem, times, ship, because):
    results = build(int8=True)
    found = choice(results, in_openvino(results, problem, times))
    assert (found.is_known, found.ship) == (True, ship)
    assert typed(found.because).startswith(because)


def test_other_answers_are_marked_wherever_times_are_shown(build, tmp_path):
    results = build(int8=True)
    found = with_devices(results, in_openvino(results, PROBLEM))
    sentence = (
        "In OpenVINO on Pi, 4 cores student.int8.onnx gives other answers than in ONNX Runtime: "
        "12 of 80 images get another class."
    )
    assert answer_sentences(measured(found)) == [sentence]
    write_report(found, tmp_path)
    html, markdown = ((tmp_path / f"report.{end}").read_text() for end in ("html", "md"))
    assert html.count("other answers</span>") == 1
    assert re.search(r"student.int8.onnx \(other answers\) \| OpenVINO, CPU", markdown)
    for text in (html, markdown):
        assert sentence in text
    printed = io.StringIO()
    show_devices(Console(file=printed, width=80), found, Path("runs/mnist"))
    assert "other answers" in printed.getvalue()
    assert sentence in " ".join(printed.getvalue().split())


def test_every_runtime_has_a_name_in_the_report():
    assert set(get_args(Runtime)) <= set(RUNTIMES)


def test_a_busy_machine_decides_nothing(build):
    results = build(int8=True)
    found = choice(results, timed(results, 0.5, (0.4, 0.6), noise="the clock fell by 30 %"))
    assert (found.is_known, found.ship) == (False, None)
    assert "from a busy machine (the clock fell by 30 %): measure again" in found.because


def test_one_file_alone_decides_nothing(build):
    results = build(int8=True)
    profile = timed(results, 0.5, (0.4, 0.6))
    found = choice(results, only(profile, "int8"))
    assert (found.is_known, found.ship) == (False, None)
    assert "timed student.int8.onnx and not student.onnx" in found.because
    batches = choice(results, timed(results, 0.5, (0.4, 0.6), batch_size=8))
    assert (batches.is_known, batches.ship) == (False, None)
    assert "with single images" in batches.because


def test_a_fast_file_that_lost_too_much_accuracy_is_not_for_a_device(build):
    results = build(int8={"ci95": (-0.02, 0.0), "recommended": False})
    found = choice(results, timed(results, 0.5, (0.4, 0.6)))
    assert found.ship == "student.onnx"
    assert "student.int8.onnx is not accurate enough." in found.because


@pytest.mark.parametrize(
    ("limit", "ship", "says"),
    [
        (2.0, "student.int8.onnx", "It keeps to the budget."),
        (0.5, "student.int8.onnx", "student.onnx is not known to keep to the budget there."),
        (0.1, None, "No file is known to keep to the budget: student.int8.onnx: 0.399 ms"),
    ],
)
def test_a_budget_is_one_of_the_device(build, typed, limit, ship, says):
    """On the Pi the student takes 0.798 ms (6 * 0.133), int8 half of that."""
    results = build(int8=True)
    results = results.model_copy(update={"recipe": {"device": {"max_latency_ms": limit}}})
    found = choice(results, timed(results, 0.5, (0.48, 0.52)))
    assert (found.is_known, found.ship) == (True, ship)
    assert says in typed(found.because)


def test_what_speaks_against_a_study_speaks_against_it_everywhere(build):
    results = build(int8=True, accuracy={"teacher": 0.90, "control": 0.95, "student": 0.96})
    found = choice(results, timed(results, 0.5, (0.48, 0.52)))
    assert (found.is_known, found.ship) == (True, None)
    assert "The teacher is no better than the control" in found.because


def test_another_file_for_a_device_is_a_risk_of_the_one_that_ships(build):
    results = build(int8=True)
    decision = with_devices(results, timed(results, 1.1, (1.08, 1.13))).decision
    assert decision.ship == "student.int8.onnx"
    assert f"On {PI} ship student.onnx instead." in decision.risks[-1]


def test_equal_machines_share_a_sentence(build, write):
    results = build(int8=True)
    pi = timed(results, 1.1, (1.08, 1.13))
    zero = pi.model_copy(
        update={"environment": pi.environment.model_copy(update={"cpu": "Zero", "num_cores": 1})}
    )
    results = with_devices(results, pi, zero)
    assert (
        decide(results)
        .risks[-1]
        .startswith("On Pi, 4 cores and Zero, 1 core ship student.onnx instead.")
    )
    (sentence,) = choice_sentences(results)
    assert sentence.startswith("On Pi, 4 cores and Zero, 1 core ship student.onnx.")
    html, markdown = write(results)
    assert html.count("On Pi, 4 cores and Zero, 1 core ship student.onnx. ") == 1
    assert "On Pi, 4 cores and Zero, 1 core ship student.onnx." in markdown


def test_the_machine_of_the_study_is_listed_once(build, write):
    results = build(int8=True)
    profile = timed(results, 0.5, (0.48, 0.52))
    own = profile.model_copy(update={"environment": results.environment})
    results = with_devices(results, own)
    places = [(row.machine, row.file.path) for row in measured(results)]
    assert len(places) == len(set(places)) == 4
    newest = [row for row in measured(results) if row.file.path == "student.onnx"]
    assert [row.latency for row in newest] == [own.files[0].timings[0].latency]
    assert len(machine_descriptions(results)) == 1
    for page in write(results):
        assert page.count("made this study: what it measured again replaces") == 1


def test_a_board_of_the_same_model_with_other_memory_is_another_machine(build):
    results = build(int8=True)
    board = results.environment.model_copy(update={"memory_bytes": 4_000_000_000})
    profile = timed(results, 0.5, (0.48, 0.52)).model_copy(update={"environment": board})
    results = with_devices(results, profile)
    machines = list(dict.fromkeys(row.machine for row in measured(results)))
    assert machines == ["Intel Xeon, 2.9 GHz, 2 cores", "Intel Xeon, 2.9 GHz, 2 cores (2)"]
    assert len(measured(results)) == 6


def test_equal_noise_is_one_sentence_for_each_machine(build, typed):
    results = build(int8=True, devices=(("Pi", 6.0, 1.1), ("Jetson", 3.0, 0.9)))
    assert [typed(one) for one in noise_sentences(measured(results))] == [
        f"*: on {machine}, 4 cores: student.onnx and student.int8.onnx (ONNX Runtime, CPU, "
        "4 threads, batch 1): the clock fell by 30 %."
        for machine in ("Pi", "Jetson")
    ]


def shown(results, newest):
    stream = io.StringIO()
    show_devices(Console(file=stream, width=80), results, Path("runs/mnist"), newest)
    return stream.getvalue()


def test_merging_prints_the_table_and_the_file_of_the_merged_machine(build):
    results = build(int8=True)
    profile = timed(results, 0.98, (0.95, 1.01))
    jetson = profile.model_copy(
        update={"environment": profile.environment.model_copy(update={"cpu": "Jetson"})}
    )
    text = shown(with_devices(results, jetson, profile), 1)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "student.onnx 0.798 (0.782 to 0.822) 4.96 MB 8.30 MB -" in lines
    assert "student.int8.onnx 0.782 (0.766 to 0.806) 1.25 MB 8.30 MB no measurable" in lines
    assert "SHIP student.onnx on Pi, 4 cores: No smaller file is measurably faster" in text
    assert "on Jetson" not in text
    assert "measurements of Jetson, 4 cores and Pi, 4 cores." in " ".join(text.split())
    assert "NOT KNOWN WHAT TO SHIP on Pi, 4 cores: It has timed" in " ".join(
        shown(with_devices(results, only(profile, "fp32")), 1).split()
    )
