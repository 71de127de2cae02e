"""`kdtool profile` as its users call it: one line for what is wrong, any letters, any terminal."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
from classifiers import write_classifier
from onnx import TensorProto, helper
from target_sources import with_output_shapes

from kdtool.cli.runtimes import READERS, competing, parse_runtimes
from kdtool.edge.profile import ProfileOptions
from kdtool.edge.targets.target import TARGETS
from kdtool.results.base import to_json
from kdtool.study.device_profiles import READS_ONNX


def profile(*args, **env):
    return subprocess.run(
        [sys.executable, "-m", "kdtool", "profile", *map(str, args), "--seconds", "0.1"],
        capture_output=True,
        env=os.environ | env,
        check=False,
    )


@pytest.fixture
def bad_files(make_onnx, tmp_path):
    """Files by what is wrong with them."""
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    cast = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)]
    circle = [
        helper.make_node("Identity", ["a"], ["w"]),
        helper.make_node("Relu", ["w"], ["a"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    (tmp_path / "page.onnx").write_text("<!DOCTYPE html>")
    return {
        "no ONNX": tmp_path / "page.onnx",
        "folder": tmp_path,
        "open": make_onnx(relu, {"x": (TensorProto.FLOAT, ["n", 3, "h", "w"])}, name="open.onnx"),
        "text": make_onnx(cast, {"x": (TensorProto.STRING, ["n", 3])}, name="text.onnx"),
        "circle": make_onnx(circle, {"x": (TensorProto.FLOAT, ["n", 3])}, name="circle.onnx"),
        "good": make_onnx(relu, {"x": (TensorProto.FLOAT, ["n", 3])}, name="good.onnx"),
    }


def test_the_command_that_saves_the_figures_measures_the_same(bad_files):
    options = ["--shape", "3,4,4", "--threads", "2", "--batch", "1,2", "--ops"]
    done = profile(bad_files["open"], *options)
    assert done.returncode == 0
    shown = " ".join(done.stdout.decode().split())
    typed = "--seconds 0.1 --threads 2 --batch 1,2 --shape 3,4,4 --ops --json"
    (command,) = re.findall(r"kdtool profile \S+ (--.*?) > profile", shown)
    assert sorted(command.split()) == sorted(typed.split())


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("no ONNX", [], "page.onnx is not an ONNX file (it begins with '<!DOCTYP')"),
        ("folder", [], "is a folder; give an ONNX file, such as "),
        ("open", [], "input 'x' has the shape (n, 3, h, w); give numbers, without the batch: "
                     "--shape 3,h,w"),
        ("open", ["--shape", "3,h,w"], "such as --shape 3,224,224 or --shape NAME=3,224,224"),
        ("text", [], "kdtool times models with inputs of integers, bool"),
        ("circle", [], "its operators form a circle (Identity <- Relu <- Identity)"),
        ("good", ["--provider", "tpu"], "unknown provider 'tpu'; onnxruntime"),
    ],
)  # fmt: skip
def test_what_cannot_be_profiled_gets_one_line(bad_files, kind, options, message):
    done = profile(bad_files[kind], *options)
    assert done.returncode == 1
    assert done.stdout == b""
    error = done.stderr.decode().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert b"Traceback" not in done.stderr


def test_any_letters_on_any_terminal(make_onnx, tmp_path):
    (tmp_path / "modèle").mkdir()
    relu = helper.make_node("Relu", ["x"], ["y"])
    path = make_onnx([relu], {"x": (TensorProto.FLOAT, ["n", 3])}, name="modèle/猫.onnx")
    table = profile(path, PYTHONIOENCODING="ascii")
    assert (table.returncode, rb"\u732b.onnx" in table.stdout) == (0, True)
    report = json.loads(profile(path, "--json", PYTHONIOENCODING="ascii").stdout)
    assert report["models"][0]["path"] == str(path)


def test_budgets_decide_the_exit_status(tiny_onnx):
    """A file of some kB takes less than a minute and 1 MB; none is of 1 byte."""
    kept = profile(tiny_onnx, "--budget", "max_size_mb=1", "--csv")
    assert (kept.returncode, kept.stderr) == (0, b"")
    broken = profile(tiny_onnx, "--budget", "max_size_mb=1e-6,max_memory_mb=100000", "--json")
    assert broken.returncode == 1
    size, memory = json.loads(broken.stdout)["budgets"]
    assert size["fit"] == "over budget"
    assert size["value"] == tiny_onnx.stat().st_size / 1e6
    assert memory["budget"] == "max_memory_mb"
    error = broken.stderr.decode()
    assert error.startswith("error: 1 of 1 file failed --budget: ")
    assert "tiny.onnx is over budget: " in error
    assert error.count("\n") == 1


def test_all_measures_what_is_installed_and_lists_what_is_not(tmp_path):
    path = with_output_shapes(write_classifier(tmp_path / "model.onnx").path)
    done = profile(path, "--runtime", "all", "--json")
    assert done.returncode == 0
    modules = {"openvino": "openvino", "opencv": "cv2", "tract": "tract"}
    here = [name for name, module in modules.items() if find_spec(module)]
    report = json.loads(done.stdout)
    runtimes = [one["latency"]["runtime"] for one in report["models"]]
    assert (runtimes, report["failed"]) == (["onnxruntime", *here], [])
    assert [one["agreement"]["problem"] for one in report["models"][1:]] == [None] * len(here)
    notes = done.stderr.decode()
    for name in modules:
        assert (f'pip install "{name}' in notes) == (name not in here)
    assert notes.count("\n") == (len(here) < len(modules))
    assert [one["among"] for one in report["fastest"]] == ([str(path)] if here else [])


def test_the_runtimes_that_read_onnx_files_are_the_same_everywhere():
    assert READERS == READS_ONNX
    assert set(READERS) == {"onnxruntime", *(one.name for one in TARGETS if one.reads_onnx)}


def test_with_onnxruntime_alone_all_is_onnxruntime_and_one_line(monkeypatch, capsys):
    for module in ("openvino", "cv2", "tract"):
        monkeypatch.setitem(sys.modules, module, None)  # Python finds none of them
    assert parse_runtimes("all") == ("onnxruntime",)
    line = capsys.readouterr().err
    assert line.startswith("not measured, as they are not installed: OpenVINO: ")
    assert line.count("pip install") == 3
    assert line.count("\n") == 1


def test_accurate_files_of_a_study_compete_and_other_files_only_with_themselves(build, tmp_path):
    results = build(int8=True, roles=("control", "student"))
    (tmp_path / "results.json").write_text(to_json(results))
    files = [tmp_path / file.path for *_, file in results.files]
    other = tmp_path / "mine.onnx"
    options = ProfileOptions(runtimes=("onnxruntime", "tract"))
    given = [other, tmp_path]
    ours = [tmp_path / "student.int8.onnx", tmp_path / "student.onnx"]
    found = competing(given, [other, *files], options)
    assert found == {str(tmp_path): ours, str(other): [other]}
    assert competing(given, [other, *files], ProfileOptions()) == {}
    inaccurate = build(int8={"ci95": (-0.02, 0.0), "recommended": False}, roles=("student",))
    (tmp_path / "results.json").write_text(to_json(inaccurate))
    assert competing([tmp_path], ours, options) == {str(tmp_path): ours[1:]}


def test_without_a_recommended_file_none_is_the_fastest(build, tmp_path, capsys):
    results = build(int8=True, roles=("student",))
    student = results.models["student"].model_copy(update={"recommended": None})
    none = results.model_copy(update={"models": {"student": student}})
    (tmp_path / "results.json").write_text(to_json(none))
    files = [tmp_path / file.path for *_, file in none.files]
    options = ProfileOptions(runtimes=("onnxruntime", "tract"))
    assert competing([tmp_path], files, options) == {str(tmp_path): []}
    said = f"{tmp_path}: none of its files is recommended, so none is called the fastest\n"
    assert capsys.readouterr().err == said


def test_a_file_given_twice_is_measured_once(tiny_onnx):
    twice = tiny_onnx.parent / ".." / tiny_onnx.parent.name / tiny_onnx.name
    done = profile(tiny_onnx, twice, tiny_onnx, "--json")
    assert done.returncode == 0
    (model,) = json.loads(done.stdout)["models"]
    assert model["path"] == str(tiny_onnx)
    assert done.stderr.decode().count("was given more than once; it is measured once") == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_prints_one_line(tiny_onnx):
    command = [sys.executable, "-m", "kdtool", "profile", str(tiny_onnx), "--seconds", "60"]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    time.sleep(2)
    os.killpg(started.pid, signal.SIGINT)
    output, errors = started.communicate(timeout=30)
    assert (started.returncode, output) == (130, b"")
    assert errors == b"error: interrupted; nothing is lost: run the same command again\n"
