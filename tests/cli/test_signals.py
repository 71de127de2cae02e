"""Ctrl-C, SIGTERM, full outputs and missing resources, in processes as a shell starts them."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from classifiers import HEIGHT, WIDTH, write_classifier
from PIL import Image

from kdtool.errors import OF_SYSTEM, of_machine

LOST = "error: interrupted; nothing is lost: run the same command again\n"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temporary").mkdir()
    write_classifier(tmp_path / "m.onnx")
    Image.new("L", (WIDTH, HEIGHT), 100).save(tmp_path / "a.png")
    return tmp_path


def started(here, *arguments, python=(), **options):
    return subprocess.Popen(
        [sys.executable, *python, "-m", "kdtool", *arguments],
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=options.pop("stderr", subprocess.PIPE),
        text=True,
        env=os.environ | {"TMPDIR": str(here / "temporary")},
        start_new_session=True,
        **options,
    )


def run(here, *arguments, **options):
    process = started(here, *arguments, **options)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


# -v writes to standard error which module has been imported.
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("module", ["typer", "numpy"])
def test_a_signal_during_the_imports_is_one_message(here, number, module):
    process = started(here, "profile", "m.onnx", "--seconds", "60", python=["-v"])
    while not process.stderr.readline().startswith(f"import '{module}'"):
        assert process.poll() is None
    os.killpg(process.pid, number)
    rest = process.stderr.read()
    assert process.wait(60) == 128 + number
    assert rest.count(LOST) == 1
    assert "Traceback" not in rest


def workers_of(process):
    text = subprocess.run(
        ["ps", "-eo", "ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    lines = [line.split(None, 1) for line in text.splitlines()]
    return [args for parent, args in lines if parent == str(process.pid) and "worker" in args]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_processes_that_measure_and_leaves_nothing(here, number):
    write_classifier(here / "b.onnx")
    process = started(here, "profile", "m.onnx", "b.onnx", "--seconds", "60")
    end = time.monotonic() + 60
    while len(workers_of(process)) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    assert len(workers_of(process)) == 2
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + number, LOST)
    assert [*(here / "temporary").iterdir()] == []
    assert workers_of(process) == []


def test_a_signal_that_is_ignored_stays_so(here):
    script = "trap '' TERM; kill -TERM $$; exec \"$0\" -m kdtool predict m.onnx a.png"
    command = ["sh", "-c", script, sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(
    "typed", ["predict m.onnx a.png", "predict m.onnx a.png --json", "--help", "--version"]
)
def test_a_full_standard_output_is_one_message(here, typed):
    with Path("/dev/full").open("w") as full:
        status, _, err = run(here, *typed.split(), stdout=full)
        assert (status, len(err.splitlines())) == (1, 1)
        assert "No space left on device; free some space and run the same command again" in err
        assert run(here, *typed.split(), stdout=full, stderr=full)[0] == 1


def limited(kind, most):
    return lambda: resource.setrlimit(kind, (most, most))


def test_too_few_descriptors_are_one_message(here):
    status, _, err = run(here, "profile", "m.onnx", preexec_fn=limited(resource.RLIMIT_NOFILE, 8))
    assert status == 1
    assert "the limit of open files is too low; raise it with `ulimit -n 1024`" in err
    assert "Traceback" not in err


def test_no_folder_for_temporary_files_is_one_message(here):
    # A file of no size can be written nowhere
    status, _, err = run(here, "profile", "m.onnx", preexec_fn=limited(resource.RLIMIT_FSIZE, 0))
    assert (status, err) == (
        1,
        "error: there is no folder for temporary files; set the environment variable TMPDIR to "
        "one that can be written\n",
    )


@pytest.mark.parametrize("number", OF_SYSTEM)
def test_what_the_system_lacks_is_named_with_the_cure(number):
    text = of_machine(OSError(number, os.strerror(number), "runs/a"))
    assert text == f"runs/a: {os.strerror(number)}; {OF_SYSTEM[number]}"


@pytest.mark.parametrize(
    ("error", "begin"),
    [
        (MemoryError(), "out of memory; "),
        (ImportError("libx.so: Too many open files"), "too many open files; the limit of open"),
        (RuntimeError("can't start new thread"), "no further thread can be started; the limit"),
        (OSError(36, "File name too long", "a" * 5000), f"{'a' * 80}...: File name too long; give"),
    ],
)
def test_so_is_what_libraries_say_in_other_words(error, begin):
    assert of_machine(error).startswith(begin)


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), FileNotFoundError(2, "x", "y")])
def test_a_bug_is_not_taken_for_the_machine(error):
    assert of_machine(error) is None
