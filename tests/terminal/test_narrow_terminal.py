"""Every ending of a command in a narrow terminal: no line too long, no figure and no name cut."""

import io
import re
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text
from sample_files import sample_targets
from sample_study import build_results

from kdtool.report.studies import studies_report
from kdtool.results.base import ROLES
from kdtool.results.commands.check import CheckReport, ModelsToTrain, NetworkCheck
from kdtool.results.commands.doctor import (
    Detectable,
    DoctorReport,
    Finding,
    Forecast,
    ModelForecast,
)
from kdtool.results.commands.status import RoleStatus, StudyStatus
from kdtool.terminal.commands.check import show_check
from kdtool.terminal.commands.doctor import show_doctor
from kdtool.terminal.commands.status import show_status
from kdtool.terminal.devices import show_devices
from kdtool.terminal.stages import show_explained, show_kit, show_trained
from kdtool.terminal.studies import show_studies
from kdtool.terminal.study import next_steps, show_results
from kdtool.terminal.text import new_table, print_table, print_text, show_next

FOLDER = Path("runs/mnist")
UNIT = re.compile(r"(?<![\w.])[-+]?\d[\d,.]* (?:%|points?|ms|[kM]B|[kM])(?!\w)")
COPIED = re.compile(r"(To [^:]+|Files|Report|Kit|Saliency maps|Study): ")  # a path or command


@pytest.fixture(scope="module")
def endings():
    """What prints each ending, by its name."""
    results = build_results(int8=True, explain=True, devices=(("Pi", 6.0, 1.1),))
    results = results.model_copy(update={"targets": sample_targets()})
    two = build_results(roles=ROLES, int8=True, classes=("adenoma", "hyperplastic"), num_test=977)
    long = build_results(roles=ROLES, int8=True)
    status = StudyStatus(
        folder=str(FOLDER),
        name="mnist",
        running=False,
        roles=[
            RoleStatus(role=one, asked=[0, 1], done=[0], begun=[1], num_models=4) for one in ROLES
        ],
        results="outdated",
        report=True,
        decision=None,
        left=["train 2 of 3 student models (seed 1, 2)", "evaluate all models, export and report"],
        command="kdtool distill runs/mnist/recipe.toml",
        problems=["stages/teacher-seed0.json is damaged and runs again"],
    )
    check = CheckReport(
        name="mnist",
        folder=str(FOLDER),
        device="cpu",
        data=results.data,
        networks=[
            NetworkCheck(role="teacher", model="torchvision:convnext_large", weights="imagenet",
                         num_params=197_767_336, num_macs=34_361_000_000, num_epochs=30),
            NetworkCheck(role="student", model="mnist-mlp", weights=None, num_params=1_237_000,
                         num_macs=1_236_000, num_epochs=30),
        ],
        models=[ModelsToTrain(role=one, num_models=5, num_trained=2) for one in ROLES],
        warnings=["few images"],
    )  # fmt: skip
    doctor = DoctorReport(
        environment=results.environment,
        recipe="mnist",
        findings=[
            Finding(topic="cores", mark="ok", found="2 cores, PyTorch uses 2 threads",
                    means="all of them are used"),
            Finding(topic="disk, temporary files", mark="fails", found="/tmp: 1.20 MB are free",
                    means="50 MB are needed", fix="make room, or set TMPDIR to another folder"),
        ],
        forecast=Forecast(
            models=[
                ModelForecast(role=one, num_models=5, num_trained=0, num_steps=12_000,
                              num_timed=20, step_seconds=0.0123, seconds=147.6)
                for one in ROLES
            ],
            jobs=2, threads=1, seconds=1476.0, memory_bytes=1_234_000_000, disk_bytes=64_000_000,
            assumptions=["all epochs at the mean speed of 20 steps"],
        ),
        num_test=1000,
        num_seeds=5,
        detectable=[Detectable(share=0.02, visible=0.011), Detectable(share=0.2, visible=1.0)],
    )  # fmt: skip
    studies = studies_report([(FOLDER, results), (Path("runs/mnist-small"), long)])
    return {
        "results": lambda console: show_results(console, results, FOLDER),
        "two classes": lambda console: show_results(console, two, FOLDER),
        "subclasses": lambda console: show_results(console, long, FOLDER),
        "export": lambda console: show_kit(console, long, FOLDER),
        "explain": lambda console: show_explained(console, results, FOLDER),
        "finetune": lambda console: show_trained(console, results, FOLDER, "control"),
        "devices": lambda console: show_devices(console, results, FOLDER),
        "status": lambda console: show_status(console, status),
        "check": lambda console: show_check(console, check),
        "doctor": lambda console: show_doctor(console, doctor),
        "studies": lambda console: show_studies(console, studies, [FOLDER / "studies.html"]),
        "next": lambda console: show_next(console, next_steps(results, FOLDER, kit=False)),
    }


ENDINGS = (
    "results", "two classes", "subclasses", "export", "explain", "finetune", "devices", "status",
    "check", "doctor", "studies", "next",
)  # fmt: skip


def printed(show, width):
    stream = io.StringIO()
    show(Console(file=stream, width=width))
    return stream.getvalue()


def test_every_ending_is_listed(endings):
    assert tuple(endings) == ENDINGS


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("ending", ENDINGS)
def test_no_line_is_too_long_and_nothing_is_cut(endings, ending, width):
    narrow, wide = printed(endings[ending], width), printed(endings[ending], 300)
    for line in narrow.splitlines():
        assert len(line) <= width or COPIED.match(line) or " " not in line.strip(), line
    assert "\N{HORIZONTAL ELLIPSIS}" not in narrow
    words = {word for word in wide.split() if set(word) != {"\N{BOX DRAWINGS LIGHT HORIZONTAL}"}}
    assert words <= set(narrow.split())
    # A number and its unit are on one line.
    assert not Counter(UNIT.findall(wide)) - Counter(UNIT.findall(narrow))


@pytest.mark.parametrize("ending", ["results", "subclasses"])
def test_the_decision_its_file_and_its_accuracy_are_whole(endings, ending):
    narrow = printed(endings[ending], 40)
    (file,) = re.findall(r"^SHIP (\S+)", narrow, re.MULTILINE)
    assert file.endswith(".int8.onnx")
    assert re.search(r"^Accuracy$", narrow, re.MULTILINE)
    assert re.search(r"^  student +\d\d\.\d\d %$", narrow, re.MULTILINE)


def test_where_a_long_name_has_no_room_it_gets_a_line_of_its_own():
    table = new_table()
    table.add_column("file", overflow="fold")
    for head in ("size", "accuracy"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_row(Text("subclass-student.int8.onnx"), Text("1.25 MB"), Text("98.73 %"))
    table.add_row(Text("teacher.onnx"), Text("14 MB"), Text("8.00 %"))

    def lines(width):
        return [
            line.rstrip()
            for line in printed(lambda out: print_table(out, table), width).splitlines()
        ]

    assert lines(46)[2] == "subclass-student.int8.onnx  1.25 MB   98.73 %"
    head, figures, _, *rows = lines(30)
    assert (head, figures) == ("file", "     size  accuracy")
    assert rows == [
        "subclass-student.int8.onnx",
        "  1.25 MB   98.73 %",
        "teacher.onnx",
        "    14 MB    8.00 %",
    ]
    assert lines(12)[:3] == ["file subclass-student.int8.onnx", "  size", "    1.25 MB"]


def test_a_line_ends_between_words_but_not_within_a_command_or_before_a_unit():
    text = Text(
        "error: see a/very/long/path/of-some.file; run `kdtool status x` now: 12 % of 3.5 MB"
    )
    lines = printed(lambda out: print_text(out, text), 20).splitlines()
    assert lines == [
        "error: see",
        "a/very/long/path/of-some.file;",
        "run",
        "`kdtool status x`",
        "now: 12 % of 3.5 MB",
    ]
    assert " ".join(lines) == text.plain
    indented = printed(lambda out: print_text(out, Text("  time ratio 0.982 of 1")), 12)
    assert indented.splitlines() == ["  time ratio", "  0.982 of 1"]


def test_in_a_terminal_a_next_command_that_does_not_fit_has_a_line_of_its_own():
    steps = [("check it", "kdtool check a"), ("classify images", "kdtool predict a/model.onnx b")]
    stream = io.StringIO()
    show_next(Console(file=stream, width=30, force_terminal=True, color_system=None), steps)
    assert stream.getvalue().splitlines() == [
        "To check it: kdtool check a",
        "To classify images:",
        "  kdtool predict a/model.onnx b",
    ]
