"""What a person sees who types a command wrongly; nothing here needs torch."""

import inspect
import io
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from typing import get_args

import pytest
from PIL import Image

from kdtool import __version__
from kdtool.cli.app import app, main
from kdtool.cli.shell.usage import NUMBERS
from kdtool.results.base import to_json

RECIPE = """
name = "tiny"
[data]
source = "digits"
[teacher]
model = "mnist-cnn"
[student]
model = "mnist-mlp"
"""

# What is typed, the exit status, and what the message says.
WRONG = [
    # the command
    ("", 2, "distill"),
    ("distil tiny.toml", 2, "No such command 'distil'. Did you mean 'distill'"),
    ("train tiny.toml", 2, "No such command 'train'. kdtool has init, distill, subclass-distill,"),
    ("--set a=b distill tiny.toml", 2, "--set follows the command, as in `kdtool distill ... --s"),
    ("--verison", 2, "No such option: --verison (Possible options: --version)"),
    ("profile", 2, "Missing argument 'MODEL...'"),
    ("distill", 2, "Missing argument 'RECIPE'"),
    ("distill tiny.toml more.toml", 2, "unexpected extra argument(s) (more.toml)"),
    ("distill tiny.toml --device", 2, "requires an argument"),
    ("distill tiny.toml --epochs 3", 2, "No such option: --epochs"),
    # an option of another command, of the recipe, or of none
    ("distill tiny.toml --merge x", 2, "--merge; kdtool profile takes it, kdtool distill does not"),
    ("explain study --jobs 2", 2, "subclass-distill, finetune and doctor take it, kdtool expl"),
    ("doctor --device cpu", 2, "got --device without a recipe: kdtool doctor RECIPE --device"),
    ("profile torn.onnx --set a=b", 2, "doctor and verify take it, kdtool profile does not"),
    ("distill tiny.toml --epochs 3", 2, "it: --set teacher.epochs=VALUE or --set student.epochs="),
    ("check tiny.toml --temprature 4", 2, "the recipe has it: --set distill.temperature=VALUE"),
    ("distill tiny.toml --quite", 2, "No such option: --quite; did you mean --quiet?"),
    ("status study --foo", 2, "No such option: --foo; kdtool status takes --json"),
    ("distill tiny.toml -out runs", 2, "No such option: -o; did you mean --out?"),
    ("distill tiny.toml -o runs", 2, "No such option: -o; did you mean --out?"),
    # recipes
    ("distill mnist.toml", 1, "no recipe mnist.toml; its folder has tiny.toml, wrong.toml"),
    ("distill wrong.toml", 1, "nam: unknown key; did you mean `name`?"),
    ("distill tiny.toml --set epochs=3", 1, "did you mean `teacher.epochs`?"),
    ("distill tiny.toml --set distill.temperature", 1, "expected a key of the recipe and a value"),
    ("distill tiny.toml --set distill.temperature=hot", 1, 'got "hot", expected a'),
    ("distill study", 1, "is the folder of a study; expected a recipe"),
    ("distill torn.onnx", 1, "torn.onnx is a model; expected a recipe"),
    ("distill tiny.toml --sweep distill.temperature=4", 1, "at least two different values"),
    (
        "distill tiny.toml --sweep distill.temperature=1,2 --sweep distill.temperature=3,4",
        1,
        "--sweep twice for one key",
    ),
    ("subclass-distill tiny.toml --set subclass.per_class=1", 1, "got 1, expected 2 or more"),
    # values of options
    ("finetune tiny.toml --role pupil", 2, "got --role pupil; expected teacher or student"),
    ("finetune tiny.toml --role Student", 2, "did you mean student?"),
    ("distill tiny.toml --device gpu", 2, "got --device gpu; expected auto, cpu, cuda or mps"),
    ("export study --device CPU", 2, "did you mean cpu?"),
    ("explain study --device cuda:one", 2, "got --device cuda:one"),
    ("subclass-distill tiny.toml --jobs 0", 2, "got --jobs 0; expected a whole number of 1 or mor"),
    ("distill tiny.toml --jobs=1.5", 2, "got --jobs 1.5; expected a whole number of 1 or more, su"),
    ("distill tiny.toml --cluster", 2, "requires an argument"),
    ("distill tiny.toml --cluster Auto", 2, "got --cluster Auto; expected local, auto or ray://H"),
    ("distill tiny.toml --cluster aut", 2, "such as ray://10.0.0.5:10001; did you mean auto?"),
    ("finetune tiny.toml --cluster ray://head", 2, "got --cluster ray://head; expected local, "),
    ("distill tiny.toml --cluster=", 2, "got --cluster (nothing); expected local, auto or ray:/"),
    ("distill tiny.toml --jobs 2 --cluster local", 2, "got both --jobs 2 and --cluster local; --j"),
    ("profile torn.onnx --seconds x", 2, "got --seconds x; expected a positive number, such as"),
    ("explain study --images 65", 2, "got --images 65; expected a whole number from 1 to 64, such"),
    ("export study --opset latest", 2, "got --opset latest; expected a whole number of 18 or more"),
    ("export study --for ort,tflite", 2, "got --for tflite; expected web, ort, openvino, opencv, "),
    ("export study --for opencvv", 2, "did you mean opencv?"),
    ("export study --for onnxruntime", 2, "did you mean ort?"),
    ("export study --for ort,ort", 2, "got --for ort twice; give each runtime once"),
    ("export study --for ort,", 2, "got --for (nothing); expected web, ort, openvino, opencv, "),
    ("export nowhere --for ort", 1, "nowhere does not exist; expected the folder of a finished"),
    ("export study --opset 17", 2, "got --opset 17; expected a whole number of 18 or more"),
    ("predict torn.onnx photo.png --min-confidence x", 2, "got --min-confidence x; expected a"),
    ("profile torn.onnx --threads 0", 2, "got --threads 0; expected whole numbers from 1 to 256"),
    ("profile torn.onnx --batch 1,,2", 2, "got --batch 1,,2"),
    ("profile torn.onnx --threads 1000000", 2, "expected whole numbers from 1 to 256, such as"),
    ("distill tiny.toml --set profile.threads=1000000", 1, "profile.threads: got 1000000"),
    ("distill tiny.toml --sweep nonsense", 1, "and its values: --sweep distill.temperature=1,2"),
    ("profile torn.onnx --seconds nan", 2, "got --seconds nan; expected a positive number"),
    ("profile torn.onnx --seconds -1", 2, "got --seconds -1; expected a positive number"),
    ("profile torn.onnx --runtime ort", 2, "did you mean onnxruntime?"),
    ("profile torn.onnx --runtime OpenVINO", 2, "did you mean openvino?"),
    ("profile torn.onnx --runtime tvm", 2, "got --runtime tvm; expected onnxruntime, openvino, op"),
    ("profile torn.onnx --runtime All", 2, "did you mean all?"),
    ("profile torn.onnx --runtime cv2", 2, "did you mean opencv?"),
    ("profile torn.onnx --runtime tractt", 2, "did you mean tract?"),
    ("profile torn.onnx --runtime all,tract", 2, "all has the others: give it alone"),
    ("profile torn.onnx --runtime ncnn", 2, "ncnn, which reads no ONNX file; `kdtool export STUDY "
                                            "--for ncnn` converts one"),
    ("profile cut.onnx --provider CPU", 1, "; did you mean cpu?"),
    ("profile cut.onnx --provider gpu", 1, "; did you mean "),
    ("profile cut.onnx --provider CUDAExecutionProvider", 1, "did you mean cuda?"),
    ("profile cut.onnx --shape 3x8x8", 1, "such as --shape 3,224,224"),
    ("profile torn.onnx --json --csv", 2, "got both --json and --csv"),
    ("profile cut.onnx --runtime openvino --provider cuda", 2, "remove --provider"),
    # budgets of files
    ("profile torn.onnx --budget max_latncy_ms=5", 2, "did you mean max_latency_ms?"),
    ("profile torn.onnx --budget 5", 2, "got --budget 5; expected KEY=VALUE with the key "
                                        "max_latency_ms, max_size_mb or max_memory_mb"),
    ("profile torn.onnx --budget max_size_mb", 2, "got --budget max_size_mb; expected KEY=VALUE"),
    ("profile torn.onnx --budget max_size_mb=2,", 2, "got --budget (nothing); expected KEY=VALUE"),
    ("profile torn.onnx --budget max_size_mb=-2", 2, "max_size_mb=-2; expected a positive number"),
    ("profile torn.onnx --budget max_size_mb=nan", 2, "expected a positive number, such as"),
    ("profile torn.onnx --budget max_size_mb=2MB", 2, "expected a positive number, such as"),
    ("profile torn.onnx --budget max_size_mb=0", 2, "expected a positive number, such as"),
    ("profile torn.onnx --budget max_size_mb=2 --budget max_size_mb=3", 2, "max_size_mb twice"),
    ("profile torn.onnx --budget max_drop=0.01", 2, "max_drop, which needs a study"),
    ("profile study --merge x.json --budget max_size_mb=1", 2, "remove --budget"),
    # a path that is something else
    ("export tiny.toml", 1, "is a recipe; expected the folder of a finished study"),
    ("report tiny.toml", 1, "is a recipe; expected the folder of a finished study"),
    ("report empty", 1, "empty is an empty folder; expected the folder of a finished study"),
    ("export mising", 1, "mising does not exist; expected the folder of a finished study"),
    ("export studi", 1, "studi does not exist; expected the folder of a finished study; did you "
                        "mean study?"),
    ("export .", 1, ". is not a study; expected the folder of a finished study, such as study"),
    ("explain study/results.json", 1, "is a file; expected the folder of a finished study: study"),
    ("profile missing.onnx", 1, "cannot read the model missing.onnx: No such file or directory"),
    ("profile torn.onnx", 1, "torn.onnx is not an ONNX file (it begins with 'no model')"),
    ("profile png.onnx", 1, "it begins with bytes 89 50 4e 47 0d 0a 1a 0a"),
    ("profile tiny.toml", 1, "tiny.toml is a recipe; expected ONNX files or the folder of a study"),
    ("profile study/results.json", 1, "is not a model; give the folder of the study: study"),
    ("profile empty", 1, "empty is a folder without ONNX files"),
    ("profile .", 1, ". is a folder; give an ONNX file, such as cut.onnx"),
    ("profile study --merge missing.json", 1, "cannot read missing.json"),
    ("profile study --merge tiny.toml", 1, "tiny.toml is not JSON"),
    ("profile empty --merge tiny.toml", 1, "empty is an empty folder"),
    ("profile study torn.onnx --merge x.json", 2, "got 2 paths with --merge; expected one"),
    ("profile study --merge x.json --threads 2", 2, "--merge measures nothing; remove --threads"),
    ("profile study --merge x.json --csv", 2, "--merge measures nothing; remove --csv"),
    ("status", 2, "Missing argument 'STUDY'"),
    ("status tiny.toml", 1, "is a recipe; expected the folder of a study, which `kdtool distill"),
    ("status empty", 1, "empty is an empty folder; expected the folder of a study"),
    ("status images", 1, "images is not a study; expected the folder of a study"),
    ("status studi", 1, "studi does not exist; expected the folder of a study; did you mean study"),
    ("status study", 1, "study has a results.json, but its recipe.toml is missing"),
    ("status begun", 1, "begun contains no study: a run ended there before it had read its images"),
    ("report study-newer", 1, "was written by a newer kdtool: it has schema 2, and"),
    ("status study-newer", 1, "was written by a newer kdtool: it has schema 2, and"),
    ("check", 2, "Missing argument 'RECIPE'"),
    ("check study", 1, "is the folder of a study; expected a recipe"),
    ("check wrong.toml", 1, "nam: unknown key; did you mean `name`?"),
    ("check tiny.toml --set teacher.model=mnist-cn", 1, 'did you mean "mnist-cnn"?'),
    ("check tiny.toml --device gpu", 2, "got --device gpu; expected auto, cpu, cuda or mps"),
    ("check tiny.toml --set student.weights=w.pth", 1, "there is no file"),
    ("init", 2, "give the folder of the images: kdtool init FOLDER"),
    ("init images --out tiny.toml", 1, "tiny.toml exists already; --out FILE writes another one, "
                                       "--force replaces it"),
    ("init images --out empty", 1, "empty is a folder; give the name of a file, such as empty/"),
    ("init imags", 1, 'four IDX files or those of CIFAR; did you mean "images"?'),
    ("init empty", 1, "empty is empty; expected a folder of images for each class"),
    ("init tiny.toml", 1, "tiny.toml is a file; expected a folder of images for each class"),
    ("init study", 1, "study holds 1 file and no folders; expected a folder of images"),
    ("init images", 1, "has images of one class only, a; a classifier needs at least two"),
    ("predict torn.onnx empty", 1, "torn.onnx is not an ONNX file"),
    ("predict torn.onnx images --min-confidence 1.5", 2, "got --min-confidence 1.5; expected"),
    ("predict torn.onnx images --min-confidence -0.1", 2, "expected a probability from 0 to 1"),
    ("predict torn.onnx images --min-confidence nan", 2, "got --min-confidence nan; expected"),
    ("predict torn.onnx images --csv --json", 2, "got both --json and --csv; give one of them"),
    ("predict torn.onnx images", 1, "torn.onnx is not an ONNX file"),
    ("predict study torn.onnx", 1, "study is a folder"),
    ("predict torn.onnx", 2, "Missing argument 'IMAGE...'"),
    ("predict photo.png torn.onnx", 2, "the model comes first: kdtool predict torn.onnx photo.png"),
    ("predict torn.onnx photo.png --threads 0", 2, "got --threads 0; expected a whole number from"),
    # a folder that cannot be written to
    ("distill tiny.toml --out photo.png", 1, "cannot write to photo.png/tiny: photo.png is a file"),
    ("finetune tiny.toml --out photo.png/runs", 1, "photo.png is a file; expected a folder, which"),
    ("check tiny.toml --out photo.png", 1, "photo.png is a file; expected a folder, which is made"),
    ("init images --out photo.png/a.toml", 1, "cannot write to photo.png: it is a file; expected"),
    # a study that is not finished
    ("report half", 1, "is not finished; `kdtool status half` shows what is left, `kdtool distill "
                       "half/recipe.toml --out .` continues it"),
    ("export half", 1, "the study half is not finished; `kdtool status half`"),
    ("explain half", 1, "the study half is not finished; `kdtool status half`"),
    ("profile half", 1, "the study half is not finished; `kdtool status half`"),
    ("profile half --merge x.json", 1, "the study half is not finished; `kdtool status half`"),
    ("profile half/student.onnx", 1, "the study half is not finished; `kdtool status half`"),
    ("predict half/student.onnx photo.png", 1, "the study half is not finished; `kdtool status"),
    ("predict half photo.png", 1, "the study half is not finished; `kdtool status half` shows"),
    ("distill half", 1, "half is the folder of a study; expected a recipe, a TOML file. The recipe "
                        "of this study is half/recipe.toml"),
    ("report begun", 1, "begun contains no study: a run ended there before it had read its images"),
    ("predict trn.onnx photo.png", 1, "No such file or directory; did you mean torn.onnx?"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder: two recipes, no models, and what looks like a study from outside."""
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "wrong.toml").write_text(RECIPE.replace("name", "nam"))
    (tmp_path / "torn.onnx").write_bytes(b"no model")
    (tmp_path / "cut.onnx").write_bytes(b"\x08\x07")  # begins as an ONNX file does
    (tmp_path / "png.onnx").write_bytes(b"\x89PNG\r\n\x1a\n0000")
    (tmp_path / "empty").mkdir()
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "results.json").write_text("{}")
    (tmp_path / "study-newer").mkdir()
    (tmp_path / "study-newer" / "results.json").write_text('{"schema": 2, "new": []}')
    (tmp_path / "study-newer" / "recipe.toml").write_text(RECIPE)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / ".lock").touch()
    (tmp_path / "half" / "stages").mkdir(parents=True)
    (tmp_path / "half" / "recipe.toml").write_text(RECIPE.replace("tiny", "half"))
    Image.new("L", (8, 8)).save(tmp_path / "photo.png")
    (tmp_path / "images" / "a").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "images" / "a" / "1.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def kdtool(folder):
    """A function that runs a command in a process of its own, in `folder`."""

    def run(*arguments, setup="pass", **environment):
        code = (
            f"import sys; {setup}; sys.argv[0] = 'kdtool'; from kdtool.cli.app import main; main()"
        )
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env={**os.environ, "COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1", **environment},
        )

    return run


def typed(arguments, monkeypatch, capsys):
    """Run a command in this process: exit status, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["kdtool", *arguments.split()])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code, *capsys.readouterr()


@pytest.mark.parametrize(("arguments", "exit_code", "message"), WRONG)
def test_a_wrong_command_gets_one_clear_message(
    folder, monkeypatch, capsys, arguments, exit_code, message
):
    before = sorted(folder.rglob("*"))
    code, output, errors = typed(arguments, monkeypatch, capsys)
    assert message in output + errors
    assert code == exit_code, errors
    if exit_code == 1:
        assert errors.startswith("error: ")
        assert errors.count("error:") == 1
        assert output == ""
    for internal in ("Traceback", "Errno", "<_io", "PosixPath", "b'", "['"):
        assert internal not in errors
    assert not re.search(r"[?!][;:,.]|[;:,][;,.]( |$)", errors)  # two signs where one belongs
    assert sorted(folder.rglob("*")) == before


def test_a_wrong_command_is_reported_before_pytorch_is_loaded(kdtool):
    rows = [arguments.split() for arguments, *_ in WRONG]
    setup = f"""
import contextlib, io
from kdtool.cli.app import main as typed
for row in {rows!r}:
    sys.argv = ["kdtool", *row]
    with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()):
        typed()
print([name for name in ("torch", "torchvision") if name in sys.modules])
sys.argv = ["kdtool", "--version"]"""
    done = kdtool(setup=f"exec({setup!r})")
    assert done.stdout.splitlines()[-2:] == ["[]", f"kdtool {__version__}"], done.stderr


def test_a_message_is_wrapped_in_a_terminal_and_one_line_in_a_file(folder, monkeypatch, capsys):
    message = "is a recipe; expected the folder of a finished study, which `kdtool distill"
    _, _, in_file = typed("export tiny.toml", monkeypatch, capsys)
    assert message in in_file
    assert in_file.count("\n") == 1
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    _, _, in_terminal = typed("export tiny.toml", monkeypatch, capsys)
    shown = re.sub(r"\x1b\[[\d;]*m", "", in_terminal)
    assert max(map(len, shown.splitlines())) <= 30
    assert message in " ".join(shown.split())


def test_names_in_other_letters_are_escaped_where_the_terminal_lacks_them(kdtool, folder):
    done = kdtool("distill", "größe.toml", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(r"error: there is no recipe gr\xf6\xdfe.toml")


def test_a_closed_pipe_ends_the_command_without_a_traceback(kdtool, tiny_onnx):
    code = f"import sys; sys.argv = ['kdtool', 'profile', {str(tiny_onnx)!r}, '--seconds', '0.05']"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-c", f"{code}; from kdtool.cli.app import main; main()"],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.returncode == 1


def test_results_are_complete_without_standard_input(tiny_onnx):
    code = "from kdtool.cli.app import main; main()"
    arguments = ["profile", str(tiny_onnx), "--seconds", "0.05", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    assert json.load(io.BytesIO(done.stdout))["models"][0]["path"] == str(tiny_onnx)


def test_version(kdtool):
    assert kdtool("--version").stdout == f"kdtool {__version__}\n"


@pytest.mark.parametrize("command", ["distill tiny.toml", "finetune tiny.toml"])
def test_without_torch_a_training_command_lists_the_packages_to_install(kdtool, command, tmp_path):
    absent = "raise ModuleNotFoundError('No module named torch', name='torch')"
    (tmp_path / "torch.py").write_text(absent)  # the working folder is the first to be searched
    done = kdtool(*command.split())
    assert done.returncode == 1
    assert re.search("this command needs (torch|scipy): ", done.stderr)  # the first that is missing
    assert 'pip install "captum>=' in done.stderr
    assert '"torch>=' in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_word_is_an_error_and_not_the_working_folder(kdtool):
    for words in (
        ["distill", ""],
        ["distill", "tiny.toml", "--out", ""],
        ["predict", "a.onnx", ""],
    ):
        done = kdtool(*words)
        assert done.returncode == 2
        assert "a word of this command is empty; is a variable of the shell not set?" in done.stderr


def test_every_option_that_takes_a_number_says_which():
    for command in app.registered_commands:
        for name, parameter in inspect.signature(
            command.callback, eval_str=True
        ).parameters.items():
            kind = next(iter(get_args(parameter.annotation)), str)
            if {int, float} & {kind, *get_args(kind)}:
                assert f"--{name.replace('_', '-')}" in NUMBERS, command.callback


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--precisions fp32,int4", '--precisions: got "int4", expected one of fp32, fp16, int8'),
        ("--target gpu", '--target: got "gpu", expected one of x86, arm, portable'),
        ("--operating-point f1", '--operating-point: got "f1", which is for two classes, but the'),
        ("--kit --wheel none.whl", "there is no wheel none.whl"),
        ("--for web --web-package none.tgz", "cannot read none.tgz: No such file or directory; "),
    ],
)
def test_a_wrong_setting_of_an_export_is_named_as_it_was_typed(
    folder, monkeypatch, capsys, build, options, message
):
    (folder / "done").mkdir()
    (folder / "done" / "results.json").write_text(to_json(build()))
    (folder / "done" / "recipe.toml").write_text(RECIPE)
    code, output, errors = typed(f"export done {options}", monkeypatch, capsys)
    assert (code, output) == (1, "")
    assert errors.startswith(f"error: {message}")  # and no "loading PyTorch" before it


def test_a_usage_error_is_wrapped_between_words_in_a_terminal(folder, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    _, _, errors = typed("distill tiny.toml --merge x", monkeypatch, capsys)
    assert max(map(len, errors.splitlines())) <= 40
    assert "Error: No such option: --merge; kdtool profile takes it," in " ".join(errors.split())


def test_ctrl_c_while_the_command_line_is_imported_is_one_message(tmp_path):
    (tmp_path / "typer.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)")
    done = subprocess.run(
        [sys.executable, "-m", "kdtool"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    message = "error: interrupted; nothing is lost: run the same command again\n"
    assert (done.returncode, done.stderr) == (130, message)


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_a_cluster_without_ray_is_an_error_with_the_command_that_installs_it(
    folder, monkeypatch, capsys
):
    status, _, errors = typed("distill tiny.toml --cluster local", monkeypatch, capsys)
    assert status == 1
    assert "error: --cluster needs Ray: " in errors
    assert 'pip install "ray[client]' in errors


def test_a_wheel_without_a_kit_is_a_usage_error(kdtool):
    done = kdtool("export", "runs/mnist", "--wheel", "kdtool.whl")
    assert done.returncode == 2
    assert "--wheel kdtool.whl goes into the kit; add --kit" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
