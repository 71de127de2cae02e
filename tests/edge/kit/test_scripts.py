"""What the scripts of a kit report where something is missing: one line, exit status 1."""

import ast
import json
import subprocess
import sys
from importlib.resources import files

import pytest

from kdtool.edge.kit import isolated
from kdtool.edge.kit.check import importable

SCRIPTS = ("predict.py", "check.py")


def run_without(package, script, *arguments):
    """Run a script in a Python that does not find `package`."""
    modules, folders = importable()
    modules.remove(package)
    command = [sys.executable, "-I", "-S", "-B", isolated.__file__, str(script)]
    command += [json.dumps(modules), json.dumps(folders), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("package", ["numpy", "onnxruntime", "PIL"])
def test_without_a_package_a_script_prints_the_install_command(make_kit, package):
    folder, _ = make_kit("a kit")
    for script in SCRIPTS:
        done = run_without(package, folder / script, folder / "golden/00.png")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"error: No module named '{package}'; install what the kit needs: {sys.executable} "
            f"-m pip install -r '{folder.resolve() / 'requirements.txt'}'\n"
        )


def test_an_old_python_is_reported_by_scripts_that_still_compile_there(make_kit):
    folder, _ = make_kit()
    code = (
        "import runpy, sys; sys.version_info = (3, 9, 2); sys.version = '3.9.2 (main)'; "
        "runpy.run_path(sys.argv[1], run_name='__main__')"
    )
    for name in SCRIPTS:
        text = files("kdtool.edge.portable").joinpath(name).read_text(encoding="utf-8")
        ast.parse(text, feature_version=(3, 6))
        command = [sys.executable, "-c", code, str(folder / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "error: this kit needs Python 3.10 or newer, and this is Python 3.9.2; run it as "
            f"python3.10 {name}, or install a newer Python\n"
        )


@pytest.mark.parametrize("name", ["classifier.py", "picture.py"])
def test_a_renamed_module_is_named(make_kit, run, name):
    folder, _ = make_kit()
    (folder / name).rename(folder / f"old_{name}")
    for script in SCRIPTS:
        done = run(folder / script, folder / "golden/00.png")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"error: {folder.resolve() / name} is missing; copy the kit again\n"


def test_predict_reports_a_missing_and_a_damaged_model(make_kit, run):
    folder, _ = make_kit()
    model, image = folder / "model.onnx", folder / "golden/00.png"
    content = model.read_bytes()
    model.write_bytes(content[: len(content) // 2])
    done = run(folder / "predict.py", image)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: cannot load {model.resolve()}: it is damaged (copy the")
    assert done.stderr.count("\n") == 1
    model.unlink()
    done = run(folder / "predict.py", image)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {model.resolve()} is missing; copy the kit again\n"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "cannot read {path}: No such file or directory; copy the kit again"),
        (b"a\nb\n", "{path} has 2 lines, but the model has 3 classes; write one class name per"),
        (b"a\n\xff\nc\n", "cannot read {path}: it is not text in UTF-8; copy the kit again"),
    ],
)
def test_predict_reports_labels_that_do_not_fit_the_model(make_kit, run, labels, message):
    folder, _ = make_kit()
    path = folder / "labels.txt"
    path.unlink()
    if labels is not None:
        path.write_bytes(labels)
    done = run(folder / "predict.py", folder / "golden/00.png")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {message.format(path=path.resolve())}")
    assert done.stderr.count("\n") == 1


def test_predict_reports_every_image_that_it_cannot_read(tmp_path, make_kit, run):
    folder, _ = make_kit()
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    bad = {
        tmp_path / "missing.png": "No such file or directory",
        tmp_path / "text.png": "it is not an image, or in a format that Pillow does not read",
        tmp_path / "empty.jpg": "it is an empty file, of 0 bytes",
        folder: "Is a directory; give image files, not a folder",
        tmp_path / ("a" * 300): "File name too long",
    }
    done = run(folder / "predict.py", *bad, folder / "golden/00.png")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: cannot read {path}: {reason}" for path, reason in bad.items()
    ]
    assert len(done.stdout.splitlines()) == 1


def test_predict_explains_wrong_arguments(make_kit, run):
    folder, _ = make_kit()
    for arguments, message in (
        ([], "the following arguments are required: IMAGE"),
        (["--threads", "0", "a.png"], "--threads: must be a whole number of at least 1, not 0"),
        (["--threads", "two", "a.png"], "--threads: must be a whole number of at least 1, not two"),
    ):
        done = run(folder / "predict.py", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
        assert "Traceback" not in done.stderr
