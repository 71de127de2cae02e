"""What a person sees who types a command wrongly; nothing here needs torch."""

import os
import subprocess
import sys

import pytest

from kdtool import __version__

RECIPE = """
name = "tiny"
[data]
source = "digits"
[teacher]
model = "mnist-cnn"
[student]
model = "mnist-mlp"
"""


@pytest.fixture
def kdtool(tmp_path):
    """A function that runs a command in `tmp_path`, where `tiny.toml` lies."""
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "wrong.toml").write_text(RECIPE.replace("name", "nam"))
    (tmp_path / "torn.onnx").write_bytes(b"no model")

    def run(*arguments, setup="pass"):
        code = (
            f"import sys; {setup}; sys.argv[0] = 'kdtool'; from kdtool.cli.app import main; main()"
        )
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"},
        )

    return run


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        ("", 2, "distill"),
        ("distil tiny.toml", 2, "No such command 'distil'"),
        ("distill", 2, "Missing argument 'RECIPE'"),
        ("distill tiny.toml --device", 2, "requires an argument"),
        ("distill mnist.toml", 1, "no recipe mnist.toml; that folder holds tiny.toml, wrong.toml"),
        ("distill wrong.toml", 1, "nam: unknown key; did you mean `name`?"),
        ("distill tiny.toml --set epochs=3", 1, "did you mean `teacher.epochs`?"),
        ("distill tiny.toml --set distill.temperature", 1, "expected KEY=VALUE"),
        ("distill tiny.toml --set distill.temperature=hot", 1, 'got "hot", expected a'),
        ("distill tiny.toml --sweep distill.temperature=4", 1, "at least two different values"),
        (
            "distill tiny.toml --sweep distill.temperature=1,2 --sweep distill.temperature=3,4",
            1,
            "--sweep twice for one key",
        ),
        ("finetune tiny.toml --role pupil", 2, "'pupil' is not one of"),
        ("profile missing.onnx", 1, "missing.onnx"),
        ("profile torn.onnx", 1, "torn.onnx"),
        ("profile torn.onnx --threads 0", 2, "--threads"),
        ("profile", 2, "Missing argument"),
        ("subclass-distill tiny.toml --set subclass.per_class=1", 1, "got 1, expected 2 or more"),
        ("subclass-distill tiny.toml --jobs 0", 2, "--jobs"),
    ],
)
def test_a_wrong_command_gets_one_clear_message(kdtool, arguments, exit_code, message):
    done = kdtool(*arguments.split())
    assert done.returncode == exit_code, done.stderr
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if exit_code == 1:
        assert done.stderr.startswith("error: ")
        assert done.stdout == ""


def test_help_names_every_command_and_imports_nothing_heavy(kdtool):
    heavy = "('torch', 'torchvision', 'onnx', 'onnxruntime', 'pydantic', 'numpy', 'matplotlib')"
    setup = (
        f"import atexit; atexit.register(lambda: print([m for m in {heavy} if m in sys.modules]))"
    )
    done = kdtool("--help", setup=setup)
    assert done.returncode == 0
    for command in ("finetune", "distill", "subclass-distill", "export", "profile", "explain"):
        assert f"  {command} " in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_version(kdtool):
    assert kdtool("--version").stdout == f"kdtool {__version__}\n"


@pytest.mark.parametrize("command", ["distill tiny.toml", "finetune tiny.toml"])
def test_without_torch_a_training_command_lists_the_packages_to_install(kdtool, command, tmp_path):
    absent = "raise ModuleNotFoundError('No module named torch', name='torch')"
    (tmp_path / "torch.py").write_text(absent)  # the working folder is the first to be searched
    done = kdtool(*command.split())
    assert done.returncode == 1
    assert "this command needs torch: " in done.stderr
    assert 'pip install "jinja2>=' in done.stderr
    assert '"torch>=' in done.stderr
    assert "Traceback" not in done.stderr
