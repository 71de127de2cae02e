"""Check that a kit is complete and runs without kdtool installed."""

import json
import re
import subprocess
import sys
from importlib.metadata import (
    Distribution,
    PackageNotFoundError,
    distribution,
    packages_distributions,
)
from pathlib import Path

from kdtool.edge.kit import isolated
from kdtool.errors import GateError, StudyError
from kdtool.files import sha256_of
from kdtool.install import normalized

MANIFEST = "manifest.json"
PACKAGES = ("numpy", "onnxruntime", "PIL")  # imported by a kit
FOLDERS = ("golden", "site", "site/golden")  # of a kit; the last two where it is for browsers


def check_kit(folder: Path) -> str:
    """Run both scripts of a kit on its golden images.

    They run in a Python that finds only the standard library, numpy, onnxruntime, Pillow and the
    dependencies of these three: not kdtool, not torch, not onnx.

    Returns:
        The output of the kit's own check.

    Raises:
        GateError: The kit does not run there, or gives other results.
    """
    output = _run_isolated(folder.resolve(), "check.py")
    first = min(folder.glob("golden/*.png")).relative_to(folder)
    _run_isolated(folder.resolve(), "predict.py", str(first))
    return output


def _run_isolated(folder: Path, script: str, *images: str) -> str:
    modules, folders = importable()
    command = [sys.executable, "-I", "-S", "-B", "-X", "utf8", isolated.__file__]
    command += [str(folder / script), json.dumps(modules), json.dumps(folders)]
    done = subprocess.run(
        [*command, *(str(folder / image) for image in images)],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        output = (done.stdout + done.stderr).strip()
        raise GateError(
            f"the kit in {folder} failed: {script} with only numpy, onnxruntime and Pillow:\n"
            f"{output or f'it exited with status {done.returncode}'}"
        )
    return done.stdout.strip()


def changed_files(folder: Path) -> list[str]:
    """List how a folder differs from the manifest of its kit; empty if it does not.

    Raises:
        StudyError: It has no manifest of a kit.
    """
    try:
        wanted = json.loads((folder / MANIFEST).read_bytes())["files"]
        hashes = {str(name): str(sha256) for name, sha256 in wanted.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(f"{folder} is not a kit: it has no readable {MANIFEST}") from error
    present = kit_files(folder)
    return [
        *(f"{name} is missing" for name in hashes if name not in present),
        *(f"{name} does not belong to the kit" for name in present if name not in hashes),
        *(
            f"{name} was changed"
            for name in present
            if name in hashes and not _holds(folder / name, hashes[name])
        ),
    ]


def kit_files(folder: Path) -> list[str]:
    """Return the files of a kit, without its manifest and compiled Python.

    Any other folder is one name, whatever it contains.
    """
    paths = [*folder.glob("*"), *(path for name in FOLDERS for path in folder.glob(f"{name}/*"))]
    names = {path.relative_to(folder).as_posix() for path in paths}
    return sorted(names - {MANIFEST, "__pycache__", *FOLDERS})


def _holds(file: Path, sha256: str) -> bool:
    return file.is_file() and sha256_of(file) == sha256


def importable() -> tuple[list[str], list[str]]:
    """Return the modules that a kit may import, and the folders where they are installed."""
    providers = packages_distributions()
    waiting = [name for package in PACKAGES for name in providers.get(package, [])]
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
