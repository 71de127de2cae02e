"""`kdtool profile --runtime`: which runtimes, and which files compete to be the fastest."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from kdtool.cli.checks import RESULTS, check_choice, split_list

if TYPE_CHECKING:
    from kdtool.edge.profile import ProfileOptions
    from kdtool.results.profile import Runtime

ALL = "all"
READERS: tuple["Runtime", ...] = ("onnxruntime", "openvino", "opencv", "tract")  # of ONNX files
SHORT_FOR = {
    "ort": "onnxruntime", "onnx": "onnxruntime", "ov": "openvino", "cv2": "opencv",
}  # fmt: skip


def parse_runtimes(text: str) -> tuple["Runtime", ...]:
    """Read "onnxruntime,openvino"; of "all", return those that are installed and list the others.

    Raises:
        BadParameter: There is no such runtime, or it reads no ONNX files.
    """
    parts = split_list(text)
    if ALL in parts:
        if len(parts) > 1:
            raise typer.BadParameter(f"got --runtime {text}; all has the others: give it alone")
        return _installed()
    for part in parts:
        if part not in READERS and (meant := SHORT_FOR.get(part.lower())):
            raise typer.BadParameter(f"got --runtime {text}; did you mean {meant}?")
        _check_reads_onnx(part)
        check_choice("--runtime", part, [*READERS, ALL])
    return tuple(dict.fromkeys(one for part in parts for one in READERS if one == part))


def _check_reads_onnx(name: str) -> None:
    from kdtool.edge.targets.target import TARGETS

    if any(one.name == name and not one.reads_onnx for one in TARGETS):
        raise typer.BadParameter(
            f"got --runtime {name}, which reads no ONNX file; `kdtool export STUDY --for {name}` "
            f"converts one, and `kdtool profile STUDY --runtime all` measures it too"
        )


def _installed() -> tuple["Runtime", ...]:
    from kdtool.edge.targets.pairs import installed_runtimes
    from kdtool.install import install_command

    found, missing = installed_runtimes()
    if missing:
        ways = "; ".join(f"{one.title}: {install_command(one.extra)}" for one in missing)
        typer.echo(f"not measured, as they are not installed: {ways}", err=True)
    return tuple(found)


def target_folders(paths: Sequence[Path], runtime: str) -> tuple[Path, ...]:
    """Return the folders of targets that studies have, for `--runtime all`."""
    if runtime.strip() != ALL:
        return ()
    from kdtool.edge.kit.folder import MANIFEST
    from kdtool.edge.targets.target import TARGETS

    folders = [path / "targets" / one.name for path in paths if _is_study(path) for one in TARGETS]
    return tuple(folder for folder in folders if (folder / MANIFEST).is_file())


def competing(
    paths: Sequence[Path], files: Sequence[Path], options: "ProfileOptions"
) -> dict[str, list[Path]]:
    """Return which files may be exchanged for each other, by what they are called.

    Of a study, these are the accurate files of the model that ships; any other file competes only
    with itself, in other runtimes, as its accuracy is not known.

    Args:
        paths: As they were given.
        files: All ONNX files of these.
        options: Of the profile; with one runtime nothing competes.
    """
    if len(options.runtimes) == 1 and not options.folders:
        return {}
    from kdtool.results.study import load_results

    left = {file.resolve(): file for file in files}
    groups = {}
    for path in paths:
        if not _is_study(path):
            continue
        results = load_results(path / RESULTS)
        ours = [(path / file.path).resolve() for *_, file in results.files]
        shipped = results.models.get(results.shipped or "student")
        accurate = [
            (path / file.path).resolve() for file in (shipped.accurate_files if shipped else [])
        ]
        groups[str(path)] = [left[one] for one in accurate if one in left]
        if not accurate:
            text = f"{path}: none of its files is recommended, so none is called the fastest"
            from kdtool.terminal.progress import Terminal

            Terminal().say(text)
        left = {one: file for one, file in left.items() if one not in ours}
    return groups | {str(file): [file] for file in left.values()}


def _is_study(path: Path) -> bool:
    return (path / RESULTS).is_file()
