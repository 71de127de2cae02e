"""Environments of converters: made whole by uv or by venv and pip, used again, or an error."""

import os
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from kdtool.errors import KdtoolError
from kdtool.train.export.targets.venv import Venv, make

TINY = Venv(packages=("tiny-converter==1.5",), gigabytes=3)
CLOSED = "http://127.0.0.1:1/simple"  # a port on which nothing listens


@pytest.fixture
def wheels(tmp_path):
    """A folder with a wheel of one module; its version has a label, as builds of PyTorch have."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    about = "tiny_converter-1.5+cpu.dist-info"
    wheel = folder / "tiny_converter-1.5+cpu-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_converter.py", "ANSWER = 42\n")
        head = "Metadata-Version: 2.1\nName: tiny-converter\nVersion: 1.5+cpu\n"
        archive.writestr(f"{about}/METADATA", head)
        tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{about}/WHEEL", tags)
        archive.writestr(f"{about}/RECORD", "")
    return folder


@pytest.fixture
def settings(monkeypatch, wheels):
    """A function that sets what uv and pip install from, and whether uv is on PATH."""
    uv = shutil.which("uv")

    def change(tool, **variables):
        if tool == "uv" and uv is None:
            pytest.skip("uv is not on PATH")
        if tool == "venv":
            monkeypatch.setenv("PATH", "")
        for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
            monkeypatch.delenv(name)
        local = {"NO_INDEX": "1", "FIND_LINKS": str(wheels)}
        for name, value in (variables or local).items():
            for prefix in ("UV", "PIP"):
                monkeypatch.setenv(f"{prefix}_{name}", value)
        monkeypatch.setenv("UV_NO_CONFIG", "1")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)

    return change


def made(venv):
    """Make an environment; return what was said, and what its folder holds afterwards."""
    said = []
    make(venv, said.append)
    parent = venv.folder.parent
    return SimpleNamespace(said=said, names=sorted(one.name for one in parent.iterdir()))


@pytest.mark.parametrize("tool", ["uv", "venv"])
def test_an_environment_is_announced_made_and_used_again(tool, settings, user_cache):
    settings(tool)
    assert not TINY.is_made()
    found = made(TINY)
    name = TINY.folder.name
    assert found.names == [name, f"{name}.lock"]
    assert TINY.folder.parent == user_cache / "kdtool" / "environments"
    assert name.startswith(
        f"tiny-converter-1.5_python-{sys.version_info.major}.{sys.version_info.minor}_"
    )
    (text,) = found.said
    for words in ("tiny-converter==1.5", str(TINY.folder), "up to 3 GB"):
        assert words in text
    script = "import importlib.util, tiny_converter; print(tiny_converter.ANSWER, "
    script += "importlib.util.find_spec('kdtool'))"
    done = subprocess.run([TINY.python, "-I", "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("42 None\n", "")
    assert TINY.is_made()
    assert made(TINY).said == []


def test_what_is_damaged_or_was_left_by_a_killed_run_is_replaced(settings):
    settings("uv")
    made(TINY)
    TINY.python.unlink()  # as when the Python that it was made from is removed
    TINY.python.symlink_to("gone")
    (TINY.folder.parent / f".{TINY.folder.name}.abc.unfinished").mkdir()
    assert not TINY.is_made()
    found = made(TINY)
    assert len(found.said) == 1
    assert found.names == [TINY.folder.name, f"{TINY.folder.name}.lock"]
    assert TINY.is_made()


def test_two_runs_at_once_make_one(settings):
    settings("uv")
    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(made, TINY) for _ in range(2)]
    assert runs[0].result().names == runs[1].result().names
    assert TINY.is_made()


def test_another_version_is_another_environment(settings):
    settings("uv")
    made(TINY)
    with pytest.raises(KdtoolError, match=r"tiny-converter==1\.6"):
        made(Venv(packages=("tiny-converter==1.6",), gigabytes=3))
    assert TINY.is_made()


ERRORS = [
    # (what makes it, settings of uv and pip, words of the message)
    ("uv", {"INDEX_URL": CLOSED, "HTTP_RETRIES": "0"}, CLOSED),
    ("uv", {"OFFLINE": "1"}, "network was disabled"),
    ("venv", {"INDEX_URL": CLOSED, "RETRIES": "0"}, "No matching distribution found for tiny"),
]


@pytest.mark.parametrize(("tool", "variables", "words"), ERRORS)
def test_an_environment_that_cannot_be_filled_is_an_error(tool, variables, words, settings):
    settings(tool, **variables)
    with pytest.raises(KdtoolError) as caught:
        made(TINY)
    start = f"tiny-converter==1.5 needs an environment of its own, {TINY.folder}, which cannot be "
    assert str(caught.value).startswith(start)
    for part in (words, "a package index", "up to 3 GB", "XDG_CACHE_HOME"):
        assert part in str(caught.value)
    assert [one.name for one in TINY.folder.parent.iterdir()] == [f"{TINY.folder.name}.lock"]


def test_packages_that_land_elsewhere_are_an_error(settings, tmp_path, monkeypatch):
    settings("venv")
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))
    with pytest.raises(KdtoolError, match="installed the packages somewhere else"):
        made(TINY)
    assert not TINY.folder.exists()


def test_without_uv_and_venv_the_message_names_both(settings, tmp_path, monkeypatch):
    settings("venv")
    python = tmp_path / "python"  # as Debian's without its package python3-venv
    python.write_text("#!/bin/sh\necho 'ensurepip is not available'\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(KdtoolError, match=r"ensurepip is not available\. It needs uv, or Python's"):
        made(TINY)


def test_a_cache_that_cannot_be_written_is_an_error(settings, user_cache):
    settings("uv")
    user_cache.write_text("a file")
    with pytest.raises(KdtoolError, match="cannot be made: Not a directory"):
        made(TINY)
