"""An environment of its own, for a converter that cannot be installed next to kdtool's PyTorch."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kdtool.edge.targets.verify import cause
from kdtool.errors import KdtoolError, reason
from kdtool.files import UNFINISHED, cache_folder, new_folder

# Of a "NAME==VERSION", also with a label of the build, such as "+cpu".
IS_INSTALLED = """
import sys
from importlib.metadata import version
for package in sys.argv[1:]:
    name, _, wanted = package.partition("==")
    assert version(name).partition("+")[0] == wanted
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Venv:
    """An environment for the Python that runs kdtool, in the folder for downloads."""

    packages: tuple[str, ...]  # each "NAME==VERSION"; the first one says what it is for
    gigabytes: int  # that it takes at most, with the libraries of CUDA, as PyTorch is on Linux

    @property
    def folder(self) -> Path:
        """Where it is, or will be.

        Raises:
            DataError: The user has no home.
        """
        words = [one.replace("==", "-") for one in self.packages]
        words += [f"python-{sys.version_info.major}.{sys.version_info.minor}"]
        return cache_folder() / "environments" / "_".join([*words, sysconfig.get_platform()])

    @property
    def python(self) -> Path:
        """Its Python."""
        return _python_in(self.folder)

    def is_made(self) -> bool:
        """Return whether it exists, its Python still runs, and it has its packages."""
        return _has(self.folder, self.packages)


def make(venv: Venv, say: Callable[[str], None]) -> None:
    """Make an environment unless it exists; another run that makes it is waited for.

    Args:
        venv: It is made with uv if that is on PATH, else with Python's venv and pip. Their
            settings, such as an index of the user's, are respected.
        say: Is told before gigabytes are downloaded.

    Raises:
        KdtoolError: It cannot be made; nothing of it is left.
    """
    from filelock import FileLock

    if venv.is_made():
        return
    folder = venv.folder
    say(
        f"{', '.join(venv.packages)} cannot be installed next to kdtool: they are downloaded, once,"
        f" into an environment of their own, {folder} (up to {venv.gigabytes} GB; it takes minutes)"
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            if venv.is_made():
                return
            shutil.rmtree(folder, ignore_errors=True)  # its Python was removed
            for orphan in folder.parent.glob(f".{folder.name}.*{UNFINISHED}"):  # of a killed run
                shutil.rmtree(orphan, ignore_errors=True)
            with new_folder(folder) as new:
                _install(venv, new)
    except OSError as error:
        raise _cannot_make(venv, reason(error)) from error


def _install(venv: Venv, new: Path) -> None:
    """Install into an empty folder.

    Raises:
        KdtoolError: It fails.
        OSError: A program cannot be started.
    """
    python, uv = str(_python_in(new)), shutil.which("uv")
    if uv is not None:
        commands = [
            [uv, "venv", "--quiet", "--python", sys.executable, str(new)],
            [uv, "pip", "install", "--quiet", "--python", python, *venv.packages],
        ]
    else:
        commands = [
            [sys.executable, "-I", "-m", "venv", str(new)],
            [python, "-I", "-m", "pip", "install", *venv.packages],
        ]
    for command in commands:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            said = cause(done.stderr) or cause(done.stdout)
            raise _cannot_make(venv, said or f"{command[0]} ended with status {done.returncode}")
    if not _has(new, venv.packages):
        raise _cannot_make(venv, f"{command[0]} installed the packages somewhere else")


def _cannot_make(venv: Venv, why: str) -> KdtoolError:
    return KdtoolError(
        f"{venv.packages[0]} needs an environment of its own, {venv.folder}, which cannot be made: "
        f"{why.rstrip('.')}. It needs uv, or Python's venv with pip; a package index (uv's and "
        f"pip's own settings say which); and up to {venv.gigabytes} GB there, or in another folder "
        "that the environment variable XDG_CACHE_HOME names"
    )


def _has(folder: Path, packages: tuple[str, ...]) -> bool:
    """Return whether an environment runs, and has packages."""
    command = [str(_python_in(folder)), "-I", "-c", IS_INSTALLED, *packages]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _python_in(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
