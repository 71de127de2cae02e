"""Checks of what a user typed, before anything slow is imported."""

import math
import os
import shlex
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import typer

from kdtool.errors import (
    KdtoolError,
    ModelFileError,
    RecipeError,
    StudyError,
    did_you_mean,
    nearest,
)

RESULTS = "results.json"  # of a finished study, in its folder
BUDGETS = ("max_latency_ms", "max_size_mb", "max_memory_mb")  # of [device], but for max_drop
LOG_TOOLS = ("mlflow", "tensorboard")  # each also the name of its package and extra
DEVICES = ("auto", "cpu", "cuda", "mps")
# "gpu" looks like "cpu"; the others are names by which people know a target
SYNONYMS = {"gpu": "cuda", "onnxruntime": "ort", "onnx": "ort", "cv2": "opencv", "ov": "openvino"}


def split_list(text: str) -> list[str]:
    """Split "a, b" at its commas; spaces around a value do not count."""
    return [part.strip() for part in text.split(",")]


def check_choice(option: str, given: str, known: Iterable[str]) -> None:
    """Check that `given` is one of `known`.

    Raises:
        BadParameter: It is not; suggests the nearest.
    """
    names = list(known)
    if given in names:
        return
    meant = SYNONYMS.get(given.lower(), given.lower())
    meant = meant if meant in names else given.lower()
    hint = did_you_mean(meant, names, "{}")
    raise typer.BadParameter(
        f"got {option} {given or '(nothing)'}; expected {_any_of(names)}{hint}"
    )


def parse_log(text: str | None) -> list[str]:
    """Read "mlflow,tensorboard", and check that their packages are installed.

    Raises:
        BadParameter: There is no such tool.
        KdtoolError: A package is missing; says how to install it.
    """
    tools = list(dict.fromkeys(split_list(text))) if text is not None else []
    for tool in tools:
        check_choice("--log", tool, LOG_TOOLS)
        spec = find_spec(tool)
        if spec is None or spec.origin is None:  # a folder of that name has no origin
            from kdtool.install import install_command

            raise KdtoolError(f"--log {tool} needs {tool}: {install_command(tool)}")
    return tools


def parse_targets(text: str | None) -> list[str]:
    """Read "ort,openvino", and check that their runtimes are installed.

    Raises:
        BadParameter: There is no such target, or one is given twice.
        KdtoolError: A package is missing; says how to install it.
    """
    if text is None:
        return []
    from kdtool.edge.targets.target import TARGET_NAMES, check_installed

    names = split_list(text)
    for name in names:
        check_choice("--for", name, TARGET_NAMES)
        if names.count(name) > 1:
            raise typer.BadParameter(f"got --for {name} twice; give each runtime once")
    check_installed(names)
    return names


def check_device(name: str) -> None:
    """Check the name of a PyTorch device, such as cuda or cuda:1; not whether it exists.

    Raises:
        BadParameter: There is no such name.
    """
    kind, colon, number = name.partition(":")
    if kind != "cuda" or (colon and not number.isdecimal()):
        check_choice("--device", name, DEVICES)


def check_positive(option: str, value: float | None) -> None:
    """Check a duration, which may be absent.

    Raises:
        BadParameter: It is not a positive number.
    """
    if value is not None and not 0 < value < math.inf:
        raise typer.BadParameter(f"got {option} {value:g}; expected a positive number")


def check_probability(option: str, value: float | None) -> None:
    """Check a probability, which may be absent.

    Raises:
        BadParameter: It is not in [0, 1].
    """
    if value is not None and not 0 <= value <= 1:
        raise typer.BadParameter(
            f"got {option} {value:g}; expected a probability from 0 to 1, such as {option} 0.9"
        )


def parse_budgets(texts: list[str]) -> dict[str, float]:
    """Read "max_latency_ms=20,max_size_mb=2.5", given once or several times.

    Returns:
        The limits by key of `[device]`.

    Raises:
        BadParameter: One is not KEY=VALUE, its key is unknown or given twice, or its value is not a
            positive number.
    """
    limits: dict[str, float] = {}
    for part in (part for text in texts for part in split_list(text)):
        key, equals, value = (one.strip() for one in part.partition("="))
        if key == "max_drop":
            raise typer.BadParameter(
                "got --budget max_drop, which needs a study: the accuracy lost against the "
                "teacher is not measured by profile. Set it in [device] of the recipe and run "
                "`kdtool distill` again"
            )
        if key not in BUDGETS or not equals:
            hint = did_you_mean(key, BUDGETS, "{}") if key not in BUDGETS else ""
            raise typer.BadParameter(
                f"got --budget {part or '(nothing)'}; expected KEY=VALUE with the key "
                f"{_any_of(list(BUDGETS))}{hint}"
            )
        if key in limits:
            raise typer.BadParameter(f"got --budget {key} twice; give one value")
        limits[key] = _positive(key, value)
    return limits


def _positive(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        example = f"--budget {key}=20"
        raise typer.BadParameter(
            f"got --budget {key}={text}; expected a positive number, such as {example}"
        )
    return value


def check_recipe_path(path: Path) -> None:
    """Check that a path can be a recipe, and is not a study or a model.

    Raises:
        RecipeError: It is one of these; says which command takes it.
    """
    if (path / RESULTS).is_file() or _is_begun(path):
        raise RecipeError(
            f"{path} is the folder of a study; expected a recipe, a TOML file. The recipe of this "
            f"study is {path / 'recipe.toml'}"
        )
    if path.suffix in {".onnx", ".safetensors", ".pt", ".pth"} and path.is_file():
        raise RecipeError(
            f"{path} is a model; expected a recipe, a TOML file that names it, such as "
            "recipes/folder.toml"
        )


def check_new_recipe(out: Path, *, force: bool) -> None:
    """Check that a recipe may be written.

    Raises:
        RecipeError: It exists and `force` is False, or it is a folder.
        StudyError: Its folder cannot be written.
    """
    if out.is_dir():
        raise RecipeError(
            f"{out} is a folder; give the name of a file, such as {out / 'recipe.toml'}"
        )
    if os.path.lexists(out) and not force:
        raise RecipeError(
            f"{out} exists already; --out FILE writes another one, --force replaces it"
        )
    check_out_folder(out.parent)


def check_study_path(path: Path) -> None:
    """Check that a path is the folder of a finished study.

    Raises:
        StudyError: It is not; says what it is and where a study is.
    """
    if not (path / RESULTS).is_file():
        if _is_begun(path):
            raise _unfinished(path)
        raise _no_study(path, "expected the folder of a finished study")


def check_begun_study(path: Path) -> None:
    """Check that a path is the folder of a study, which may be unfinished.

    Raises:
        StudyError: It is not; says what it is and where a study is.
    """
    if not (path / RESULTS).is_file() and not _is_begun(path):
        raise _no_study(path, "expected the folder of a study")


def _is_begun(path: Path) -> bool:
    """Whether a folder has what a run leaves in it before it is finished."""
    if (path / ".lock").is_file():
        return True
    return (path / "recipe.toml").is_file() and (path / "stages").is_dir()  # copied without lock


def _unfinished(path: Path) -> StudyError:
    """Return that a study is not finished, and what continues it.

    Raises:
        KdtoolError: It contains nothing, or cannot be read.
    """
    from kdtool.study.status import status_of  # slow, and only this error needs it

    found = status_of(path)
    state = "running now" if found.running else "not finished"
    text = f"the study {path} is {state}; `{_typed('status', path)}` shows what is left"
    return StudyError(text + (f", `{found.command}` continues it" if found.command else ""))


def check_out_folder(out: Path, name: str = "", *, writes: bool = True) -> None:
    """Check that a folder for studies can be made, or exists and can be written.

    Args:
        out: Folder of the studies, or a study.
        name: Of the study in it.
        writes: Whether the command writes to it.

    Raises:
        StudyError: A file is in its place, or the user may not write to it.
    """
    folder = out / name
    there = next((one for one in (folder, *folder.parents) if one.exists()), Path())
    if not there.is_dir():
        which = "it" if there == folder else str(there)
        raise StudyError(
            f"cannot write to {folder}: {which} is a file; expected a folder, which is made if it "
            "does not exist, such as --out runs"
        )
    if writes and not os.access(there, os.W_OK | os.X_OK):
        raise StudyError(
            f"cannot write to {folder}: you may not write to {there}; change its permissions, or "
            "use another folder"
        )


def _no_study(path: Path, expected: str) -> StudyError:
    if path.suffix == ".toml" and path.is_file():
        text = f"{path} is a recipe; {expected}, which `{_typed('distill', path)}` makes"
    elif path.is_file():
        own = (path.parent / RESULTS).is_file()
        text = f"{path} is a file; {expected}{f': {path.parent}' if own else ''}"
    else:
        is_empty = path.is_dir() and not any(path.iterdir())
        what = "is not a study" if path.is_dir() else "does not exist"
        text = f"{path} {'is an empty folder' if is_empty else what}; {expected}"
        text += _studies_near(path)
    return StudyError(text)


def check_models(paths: list[Path]) -> None:
    """Check that no path is a file or folder that is easily taken for a model.

    Raises:
        StudyError: One is a recipe, a file of results or a folder without a study.
    """
    for path in paths:
        if path.suffix == ".toml" and path.is_file():
            raise StudyError(
                f"{path} is a recipe; expected ONNX files or the folder of a study, which "
                f"`{_typed('distill', path)}` makes"
            )
        if path.name == RESULTS and path.is_file():
            raise StudyError(f"{path} is not a model; give the folder of the study: {path.parent}")
        if path.is_dir() and not (path / RESULTS).is_file():
            _refuse_folder(path)
        _check_model_file(path)


def check_classifier(command: str, model: Path, images: list[Path]) -> None:
    """Check that the model is given first, as a file.

    Args:
        command: That takes both, for the message.
        model: As given.
        images: As given, at least one.

    Raises:
        StudyError: It is a folder.
        BadParameter: It is among the images.
    """
    if model.is_dir():
        _refuse_folder(model)
    if model.suffix != ".onnx" and images[-1].suffix == ".onnx":
        raise typer.BadParameter(f"the model comes first: {_typed(command, images[-1], model)}")
    _check_model_file(model)


def _check_model_file(path: Path) -> None:
    """Check that a model exists, and that an ONNX file begins as one."""
    if path.is_file():
        if path.suffix != ".safetensors":
            _check_start(path)
    elif not path.exists():
        _refuse_missing(path)


def _check_start(path: Path) -> None:
    from kdtool.edge.model_file import check_file, describe_damage

    check_file(path)
    with path.open("rb") as file:
        start = file.read(2)
    if not start.startswith(b"\x08"):  # what every known writer begins with
        from kdtool.recipe.checks import ONNX_STARTS

        if not start.startswith(ONNX_STARTS):
            raise ModelFileError(f"{path} {describe_damage(path)}")


def _refuse_missing(path: Path) -> NoReturn:
    if not (path.parent / RESULTS).is_file() and _is_begun(path.parent):
        raise _unfinished(path.parent)
    hint = did_you_mean(path.name, [one.name for one in path.parent.glob("*.onnx")], "{}")
    raise StudyError(f"cannot read the model {path}: No such file or directory{hint}")


def _typed(command: str, *paths: Path) -> str:
    """Return a command as it is typed in a shell, whatever is in the paths."""
    return shlex.join(["kdtool", command, *map(str, paths)])


def _refuse_folder(path: Path) -> NoReturn:
    found = sorted(path.glob("*.onnx"))
    student = [one for one in found if one.stem == "student"]
    if found:
        raise StudyError(f"{path} is a folder; give an ONNX file, such as {(student or found)[0]}")
    if _is_begun(path) and not (path / RESULTS).is_file():
        raise _unfinished(path)
    raise StudyError(
        f"{path} is a folder without ONNX files; expected an ONNX file or the folder of a study"
        f"{_studies_near(path)}"
    )


def _any_of(names: list[str]) -> str:
    """Return "a, b or c"."""
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _studies_near(path: Path) -> str:
    """Return which studies a folder contains, or the one that is nearest by name."""
    inside = sorted(str(found.parent) for found in path.glob(f"*/{RESULTS}"))
    if inside:
        return f", such as {inside[0]}"
    siblings = {found.parent.name: found.parent for found in path.parent.glob(f"*/{RESULTS}")}
    if close := nearest(path.name, siblings):
        return f"; did you mean {siblings[close]}?"
    return "; `kdtool distill RECIPE` makes one"
