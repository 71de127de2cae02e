"""kdtool doctor on real digits: what is found, what is not written, and what fails with its fix."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import nullcontext

import pytest
from jsonschema import validate
from safetensors.torch import load_file, save_file
from shell import RECIPE
from typer.testing import CliRunner

from kdtool.cli.app import app
from kdtool.results.commands.doctor import DoctorReport
from kdtool.results.study import load_results
from kdtool.study.folder import Study
from kdtool.train.pipeline.steps import THOROUGH

TEACHER = RECIPE.index("[teacher]")
# Steps of few images: 20 of them are timed in each role.
LIGHT = RECIPE.replace("min_steps = 0", "min_steps = 0\nbatch_size = 16")
SCHEMA = DoctorReport.model_json_schema(by_alias=True)


def doctor(*arguments):
    """Return exit status and report."""
    done = CliRunner().invoke(app, ["doctor", *map(str, arguments), "--json"])
    report = json.loads(done.stdout)
    validate(report, SCHEMA)
    DoctorReport.model_validate(report)
    return done.exit_code, report


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    path = tmp_path_factory.mktemp("light") / "tiny.toml"
    path.write_text(LIGHT)
    return path


def found(report, mark):
    return {one["topic"]: one for one in report["findings"] if one["mark"] == mark}


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_recipe_that_can_be_trained_passes_and_nothing_is_written(light, tmp_path):
    before = contents(light.parent)
    code, report = doctor(light, "--out", tmp_path / "runs", "--jobs", 2)
    assert code == 0, found(report, "fails")
    assert {"packages", "memory", "open files", "clock"} <= found(report, "ok").keys()
    assert {"arithmetic", "data", "classes", "models", "teacher", "time", "disk of the study"} <= (
        found(report, "ok").keys()
    )
    assert (report["recipe"], report["num_test"], report["num_seeds"]) == ("tiny", 359, 2)
    assert [one["role"] for one in report["forecast"]["models"]] == [
        "teacher",
        "control",
        "student",
    ]
    assert report["forecast"]["jobs"] == 2
    assert report["detectable"][0]["visible"] < report["detectable"][1]["visible"]
    assert contents(light.parent) == before
    assert not (tmp_path / "runs").exists()
    cache = tmp_path / "user-cache"  # matplotlib keeps its list of fonts there
    assert {path.name for path in cache.iterdir()} <= {"matplotlib"} if cache.exists() else True


def test_models_of_subclass_distill_are_counted_and_checked(light, tmp_path):
    code, report = doctor(light, "--out", tmp_path / "runs", "--subclasses")
    assert code == 0, found(report, "fails")
    models = {one["role"]: one["num_models"] for one in report["forecast"]["models"]}
    of_distill = {"teacher": 1, "control": 2, "student": 2}
    assert models == of_distill | {"subclass-teacher": 1, "subclass-student": 2}
    assert all(one["num_timed"] == THOROUGH.num_steps for one in report["forecast"]["models"])
    setting = ("--subclasses", "--set", "subclass.per_class=1000000")
    code, report = doctor(light, "--out", tmp_path / "runs", *setting)
    assert (code, report["forecast"]) == (1, None)
    assert "2 to 10 are usual" in found(report, "fails")["models"]["found"]


def test_a_person_reads_a_line_for_each_finding(light, tmp_path):
    done = CliRunner().invoke(app, ["doctor", str(light), "--out", str(tmp_path), "--quiet"])
    assert done.exit_code == 0
    text = " ".join(done.stdout.split())
    assert "ok data: handwritten digits of 8 x 8 pixels" in text
    assert "Expected: " in text
    assert "359 test images and 2 seeds can show differences of accuracy from" in text
    assert "Nothing was found that would stop the recipe later" in text
    long = [line for line in done.stdout.splitlines() if len(line) > 80]
    assert all(str(tmp_path) in line for line in long)  # a path is not cut


def test_steps_and_disk_are_those_of_the_finished_study(recipe, finished, tmp_path):
    _, report = doctor(recipe, "--out", tmp_path / "runs", "--jobs", 1)
    expected = report["forecast"]
    results = load_results(finished / "results.json")
    for one in expected["models"]:
        assert one["num_steps"] == results.models[one["role"]].seeds[0].num_steps
        assert (one["num_timed"], one["num_trained"]) == (THOROUGH.num_steps, 0)
        assert one["seconds"] >= one["num_steps"] * one["step_seconds"] * 0.9 > 0
    by_role = {one["role"]: one["num_models"] for one in expected["models"]}
    assert by_role == {"teacher": 1, "control": 2, "student": 2}
    total = sum(one["num_models"] * one["seconds"] for one in expected["models"])
    assert total <= expected["seconds"] <= 1.5 * total  # and the teacher's answers
    used = sum(path.stat().st_size for path in finished.rglob("*") if path.is_file())
    assert used < expected["disk_bytes"] < 2 * used
    assert expected["memory_bytes"] > 10**8


def test_what_is_trained_already_takes_no_time(finished, recipe):
    before = contents(finished)
    code, report = doctor(recipe, "--out", finished.parent, "--jobs", 2)
    assert code == 0, found(report, "fails")
    expected = report["forecast"]
    assert (expected["seconds"], expected["jobs"], expected["threads"]) == (0, 2, 1)
    assert [one["num_trained"] for one in expected["models"]] == [1, 2, 2]
    assert contents(finished) == before


WRONG = [
    ("data.validation=1437", "data", "data.validation = 1437 splits off"),
    ("student.model=torchvision:alexnet", "models", "cannot be used for images of 8x8"),
    ("teacher.train=hed", "models", "[teacher]: "),
    ("export.opset=99", "models", "got export.opset = 99, but the highest that PyTorch writes"),
    ("student.learning_rate=1e30", "training steps", "the loss of the control is "),
    ("student.model=mnist-mpl", "recipe", "did you mean"),
    ("seeds=[1, 1]", "recipe", "got 1 more than once"),
]


@pytest.mark.parametrize(("setting", "topic", "message"), WRONG)
def test_what_would_stop_a_study_is_found(light, tmp_path, setting, topic, message):
    code, report = doctor(light, "--out", tmp_path / "runs", "--set", setting)
    assert code == 1
    fails = found(report, "fails")
    assert fails.keys() == {topic}
    assert message in fails[topic]["found"]
    assert report["environment"]["kdtool"]


def test_data_that_is_missing_is_found_with_its_folder(tmp_path):
    text = RECIPE.replace('source = "digits"', 'source = "folder"\nroot = "photos"')
    (tmp_path / "mine.toml").write_text(text)
    code, report = doctor(tmp_path / "mine.toml", "--out", tmp_path / "runs")
    assert code == 1
    (fault,) = found(report, "fails").values()
    assert f"there is no folder {tmp_path / 'photos'}" in fault["found"]
    assert "--set data.root=DIR" in fault["found"]


def test_a_device_that_is_not_there_is_found(light, tmp_path):
    code, report = doctor(light, "--out", tmp_path, "--device", "mps")
    if code == 0:
        pytest.skip("this machine has one")
    assert "got --device mps, but PyTorch finds only" in found(report, "fails")["device"]["found"]


@pytest.fixture(scope="module")
def weights(finished):
    """The weights of a teacher that knows the digits."""
    (path,) = (finished / "checkpoints").glob("teacher-seed3-*.safetensors")
    return path


def pretrained(folder, weights, extra=""):
    lines = f'[teacher]\nmodel = "mnist-cnn"\nepochs = 0\nweights = "{weights}"\n{extra}'
    student = LIGHT[LIGHT.index("[student]") :]
    (folder / "taught.toml").write_text(RECIPE[:TEACHER] + lines + student)
    return folder / "taught.toml"


def test_a_pretrained_teacher_is_asked(weights, tmp_path):
    code, report = doctor(pretrained(tmp_path, weights), "--out", tmp_path / "runs")
    assert code == 0, found(report, "fails")
    assert "on 144 validation images" in found(report, "ok")["teacher"]["found"]
    teacher, *_ = report["forecast"]["models"]
    assert (teacher["num_steps"], teacher["step_seconds"]) == (0, None)


def test_a_teacher_with_its_classes_in_another_order_is_found(weights, tmp_path):
    extra = f"classes = {json.dumps([*'0132456789'])}\n"
    code, report = doctor(pretrained(tmp_path, weights, extra), "--out", tmp_path / "runs")
    assert code == 1
    text = found(report, "fails")["teacher"]["found"]
    assert "teacher outputs are in a different class order" in text
    assert f"set teacher.classes = {json.dumps([*'0123456789'])}" in text


def test_a_teacher_at_chance_is_found(weights, tmp_path):
    dead = {name: 0 * value for name, value in load_file(weights).items()}
    save_file(dead, tmp_path / "dead.safetensors")
    recipe = pretrained(tmp_path, tmp_path / "dead.safetensors")
    code, report = doctor(recipe, "--out", tmp_path / "runs")
    assert code == 1
    assert "is not shown to be above chance" in found(report, "fails")["teacher"]["found"]


@pytest.mark.parametrize("is_running", [True, False])
def test_a_study_that_runs_now_is_in_use(light, tmp_path, is_running):
    study = Study(tmp_path / "runs" / "tiny")
    with study.locked() if is_running else nullcontext():
        code, report = doctor(light, "--out", tmp_path / "runs")
    assert code == (1 if is_running else 0)
    texts = [one["found"] for one in found(report, "fails").values()]
    assert [text for text in texts if "is in use by another kdtool run" in text] == texts
    assert len(texts) == is_running


def test_a_finished_study_with_other_settings_is_not_overwritten(finished, recipe):
    out = ["--out", finished.parent, "--set", "distill.temperature=5"]
    code, report = doctor(recipe, *out)
    assert code == 1
    assert "distill.temperature: was 3.0, now 5" in found(report, "fails")["models"]["found"]


def test_a_set_of_few_test_images_and_one_seed_is_a_warning(light, tmp_path):
    code, report = doctor(light, "--out", tmp_path, "--set", "seeds=[3]")
    assert code == 0
    warning = found(report, "warning")["evidence"]
    assert "with one seed, the verdict is about that seed only" in warning["means"]
    assert warning["fix"] == "seeds = [0, 1, 2, 3, 4]"


READ_ONLY = "mount -t tmpfs -o ro none /dev/shm && "  # in a name space of its own


@pytest.mark.skipif(
    subprocess.run(
        ["unshare", "-rm", "sh", "-c", f"{READ_ONLY} true"], capture_output=True, check=False
    ).returncode
    if shutil.which("unshare")
    else True,
    reason="needs unshare of util-linux, and the right to use it",
)
def test_without_shared_memory_several_processes_cannot_train(light, tmp_path):
    command = [sys.executable, "-m", "kdtool", "doctor", light, "--out", tmp_path, "--jobs", "2"]
    script = READ_ONLY + shlex.join([*map(str, command), "--json"])
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert found(report, "warning")["/dev/shm"]["found"] == "it cannot be written"
    (fault,) = found(report, "fails").values()
    assert fault["found"].endswith("which cannot be made: Read-only file system")
    assert fault["fix"].startswith("--jobs 1")


MACHINE = """
import sys
sys.argv = ['kdtool', 'doctor', '--json']
{}
from kdtool.cli.app import main
main()
"""


def machine(before, path=None, **variables):
    """Examine this machine in a process of its own, after some code."""
    environment = os.environ | variables | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run(
        [sys.executable, "-c", MACHINE.format(before)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    validate(report, SCHEMA)
    return done.returncode, report


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_a_process_with_few_open_files_is_told():
    code, report = machine("import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (28, 28))")
    assert code == 1
    fault = found(report, "fails")["open files"]
    assert (fault["found"], fault["fix"]) == ("at most 28 at a time", "ulimit -n 1024")


def test_two_runtimes_that_overwrite_each_other_are_found(tmp_path):
    info = tmp_path / "onnxruntime_gpu-1.31.1.dist-info"
    info.mkdir()
    text = "Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.31.1\n"
    (info / "METADATA").write_text(text)
    code, report = machine("pass", tmp_path)
    assert code == 1
    assert "are both installed" in found(report, "fails")["ONNX Runtime"]["found"]


@pytest.mark.parametrize("package", ["onnxruntime", "onnx", "numpy"])
def test_a_package_that_cannot_be_loaded_is_found(tmp_path, package):
    (tmp_path / f"{package}.py").write_text("raise ImportError('libonnx.so.1: no such file')")
    code, report = machine("pass", tmp_path)
    assert code == 1
    fault = found(report, "fails")["ONNX Runtime"]
    assert fault["found"] == "it cannot be loaded: libonnx.so.1: no such file"
    assert "--force-reinstall numpy onnx onnxruntime" in fault["fix"]


def test_more_threads_than_cores_are_a_warning():
    code, report = machine("pass", OMP_NUM_THREADS="4096")
    assert code == 0, found(report, "fails")
    assert "4,096 threads" in found(report, "warning")["cores"]["found"]


def test_without_a_recipe_torch_is_not_loaded(tmp_path):
    for package in ("torch", "torchvision", "thop"):
        (tmp_path / f"{package}.py").write_text(f"raise ImportError('{package} is blocked')")
    code, report = machine("pass", tmp_path)
    assert code == 0, found(report, "fails")
    assert report["forecast"] is None
    assert report["detectable"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "seeds=[1]"], "got --set without a recipe: kdtool doctor RECIPE --set"),
        (["--jobs", "2"], "got --jobs without a recipe"),
        (["--subclasses"], "got --subclasses without a recipe"),
        (["--device", "gpu"], "did you mean cuda?"),
    ],
)
def test_options_that_make_no_sense_are_wrong_usage(arguments, message):
    done = CliRunner().invoke(app, ["doctor", *arguments])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())


def test_a_recipe_that_does_not_exist_is_an_error(tmp_path):
    done = CliRunner().invoke(app, ["doctor", str(tmp_path / "absent.toml")])
    assert done.exit_code == 1
    text = " ".join(done.stdout.split())
    assert f"FAILS recipe: there is no recipe {tmp_path / 'absent.toml'}" in text
