"""Which files `kdtool profile` runs in which runtimes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from kdtool.edge.kit.folder import MANIFEST, changed_files
from kdtool.edge.latency.runners import FACTS
from kdtool.edge.model_file import external_files, read_model
from kdtool.edge.targets.classifier import facts_of
from kdtool.edge.targets.target import TARGETS, Target, is_installed, target_of
from kdtool.errors import KdtoolError, StudyError
from kdtool.files import sha256_of
from kdtool.install import install_command
from kdtool.results.profile import Agreement, FailedRun, Runtime


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A file in a runtime."""

    path: Path  # of the file that the runtime opens
    runtime: Runtime
    source: Path  # ONNX file that is counted, and gives the answers in ONNX Runtime
    size_bytes: int
    facts: dict[str, Any] | None  # as in `model.json`; None: not a classifier of kdtool's form

    @property
    def name(self) -> str:
        """How it is called: the path, and the runtime where it is not ONNX Runtime."""
        where = "" if self.runtime == "onnxruntime" else f" ({self.runtime})"
        return f"{self.path}{where}"

    @property
    def is_reference(self) -> bool:
        """Whether its answers are those that the others are compared with."""
        return self.runtime == "onnxruntime" and self.path == self.source


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What became of a pair before it is timed."""

    agreement: Agreement | None = None  # with ONNX Runtime; None: not compared
    failure: str | None = None  # why it cannot run; None: it can


def check_runtimes(runtimes: Sequence[Runtime]) -> None:
    """Check that runtimes other than ONNX Runtime are installed, without importing them.

    Raises:
        KdtoolError: One is not; says how to install it.
    """
    for name in runtimes:
        if name != "onnxruntime" and not is_installed(target := target_of(name)):
            install = install_command(target.extra)
            text = f"timing a model in {target.title} needs {target.package}: {install}"
            raise KdtoolError(text)


def runtime_of(target: str) -> Runtime:
    """Return what runs the file of a target; the .ort file is one of ONNX Runtime's.

    Args:
        target: Its name.
    """
    return next((one for one in get_args(Runtime) if one == target), "onnxruntime")


def installed_runtimes() -> tuple[list[Runtime], list[Target]]:
    """Return the installed runtimes that read ONNX files, and the others that do."""
    readers = [one for one in TARGETS if one.reads_onnx]
    missing = [one for one in readers if not is_installed(one)]
    return [
        "onnxruntime",
        *(runtime_of(one.name) for one in readers if one not in missing),
    ], missing


def pairs_of(paths: Sequence[Path], runtimes: Sequence[Runtime]) -> list[Pair]:
    """Return every ONNX file in every runtime.

    Raises:
        ModelFileError: A file is missing or damaged.
    """
    return [
        Pair(path=path, runtime=runtime, source=path, size_bytes=size, facts=facts)
        for path in paths
        for size, facts in [(_size(path), facts_of(path))]
        for runtime in runtimes
    ]


def _size(path: Path) -> int:
    files = (path, *external_files(path, read_model(path)))
    return sum(file.stat().st_size for file in files)


def pairs_of_folders(
    folders: Sequence[Path], paths: Sequence[Path]
) -> tuple[list[Pair], list[FailedRun]]:
    """Return the files that were converted for a runtime, and those that cannot be run.

    A file that a runtime reads as the study has it is left out: it is a pair already.

    Args:
        folders: Of targets.
        paths: ONNX files, of which the sources are.
    """
    sources = {sha256_of(path): path for path in paths}
    pairs, failed = [], []
    for folder in folders:
        try:
            pair = _pair_of_folder(folder, sources)
        except StudyError as error:
            runtime = runtime_of(folder.name)
            name = f"{folder} ({runtime})" if runtime != "onnxruntime" else str(folder)
            failed.append(
                FailedRun(name=name, path=str(folder), runtime=runtime, reason=str(error))
            )
        else:
            pairs += [pair] if sha256_of(pair.path) not in sources else []
    return pairs, failed


def _pair_of_folder(folder: Path, sources: dict[str, Path]) -> Pair:
    """Return the file of a target.

    Raises:
        StudyError: It was changed, its source was, or its runtime is not installed.
    """
    again = f"`kdtool export STUDY --for {folder.name}` writes it again"
    if changes := changed_files(folder):
        raise StudyError(f"it was changed ({'; '.join(changes[:3])}); {again}")
    manifest = json.loads((folder / MANIFEST).read_bytes())
    target = target_of(manifest["target"])
    if manifest["source"] not in sources:
        raise StudyError(f"the file that it was made from has changed; {again}")
    if not is_installed(target):
        raise StudyError(f"{target.package} is not installed: {install_command(target.extra)}")
    return Pair(
        path=folder / target.file,
        runtime=runtime_of(target.name),
        source=sources[manifest["source"]],
        size_bytes=sum((folder / name).stat().st_size for name in target.files),
        facts=json.loads((folder / FACTS).read_text(encoding="utf-8")),
    )
