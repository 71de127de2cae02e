"""Check that a kit is complete and runs without kdtool installed."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import (
    Distribution,
    PackageNotFoundError,
    distribution,
    packages_distributions,
)
from pathlib import Path

from kdtool.edge.kit import isolated
from kdtool.errors import GateError
from kdtool.install import normalized

PACKAGES = ("numpy", "onnxruntime", "PIL")  # imported by a kit


def check_kit(folder: Path) -> str:
    """Run both scripts of a kit on its golden images.

    They run in a Python that finds only the standard library, numpy, onnxruntime, Pillow and the
    dependencies of these three: not kdtool, not torch, not onnx.

    Returns:
        The output of the kit's own check.

    Raises:
        GateError: The kit does not run there, or gives other results.
    """
    folder = folder.resolve()
    output = _checked(folder, "check.py")
    first = min(folder.glob("golden/*.png"))
    _checked(folder, "predict.py", str(first))
    return output


def run_isolated(
    script: Path, arguments: Sequence[str], packages: tuple[str, ...] = PACKAGES
) -> subprocess.CompletedProcess[str]:
    """Run a script that finds only the standard library, some packages and their dependencies.

    Args:
        script: Absolute path.
        arguments: Of the script.
        packages: Names by which it imports them.
    """
    modules, folders = importable(packages)
    command = [sys.executable, "-I", "-S", "-B", "-X", "utf8", isolated.__file__]
    command += [str(script), json.dumps(modules), json.dumps(folders)]
    return subprocess.run(
        [*command, *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def _checked(folder: Path, script: str, *arguments: str) -> str:
    done = run_isolated(folder / script, arguments)
    if done.returncode != 0:
        output = (done.stdout + done.stderr).strip()
        raise GateError(
            f"the kit in {folder} failed: {script} with only numpy, onnxruntime and Pillow:\n"
            f"{output or f'it exited with status {done.returncode}'}"
        )
    return done.stdout.strip()


def importable(packages: tuple[str, ...] = PACKAGES) -> tuple[list[str], list[str]]:
    """Return the modules of packages and dependencies, and the folders where they are installed."""
    providers = _providers()
    waiting = [name for package in packages for name in providers.get(package, [])]
    found: dict[str, Distribution] = {}
    while waiting:
        name = normalized(waiting.pop())
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # a dependency on other systems only
            continue
        requirements = (text for text in found[name].requires or [] if "extra ==" not in text)
        waiting += [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in requirements]
    modules = [
        module
        for module, names in providers.items()
        if any(normalized(name) in found for name in names)
    ]
    folders = {str(Path(str(entry.locate_file(""))).resolve()) for entry in found.values()}
    return sorted(modules), sorted(folders)


@cache  # it reads the metadata of all installed packages
def _providers() -> Mapping[str, list[str]]:
    """Return the distributions that have each module."""
    return packages_distributions()
