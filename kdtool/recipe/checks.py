"""Whether the files and models of a recipe exist, checked before PyTorch is imported."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdtool.errors import RecipeError, did_you_mean
from kdtool.recipe.cifar import FORMS, find_cifar, missing_cifar
from kdtool.recipe.data import IdxFiles
from kdtool.recipe.distill import two_classes_fault
from kdtool.recipe.load import parse_recipe, problems_in, read_recipe, recipe_error
from kdtool.recipe.names import WEIGHTS_SUFFIXES, model_problem
from kdtool.recipe.schema import Recipe, check_operating_point

# How files of weights begin. Source: the formats of zip, pickle, tar (at byte 257) and safetensors.
ZIP, PICKLE, TAR = b"PK\x03\x04", b"\x80", b"ustar"
# How an ONNX file can begin: the field numbers and wire types of ModelProto.
# Source: onnx.proto of onnx, message ModelProto, fields 1 to 8, 14, 20, 25 and 26.
ONNX_STARTS = (b"\x08", b"\x12", b"\x1a", b"\x22", b"\x28", b"\x32", b"\x3a", b"\x42", b"\x72",
               b"\xa2\x01", b"\xca\x01", b"\xd2\x01")  # fmt: skip
TORCHVISION_FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}
NUM_CLASSES = {**dict.fromkeys((*TORCHVISION_FOLDERS, "digits", "cifar10"), 10), "cifar100": 100}


def load_checked(path: Path, overrides: list[str] | None, out: Path) -> Recipe:
    """Read a recipe to train by; report all its problems at once, those of its files included.

    Args:
        path: A TOML file.
        overrides: `KEY=VALUE` each, as given to `--set`.
        out: Folder of the studies.

    Raises:
        RecipeError: It is not a recipe, or a file or model that it names does not exist.
    """
    content = read_recipe(path, overrides)
    name = _text(content, "name") or ""
    problems = problems_in(content)
    try:
        problems += [
            *model_problems(content, "teacher", out / name),
            *model_problems(content, "student", out / name),
            *data_problems(content),
            *_two_class_problems(content),
        ]
    except OSError as error:  # of a folder that may not be entered, or a name that is too long
        problems.append(f"cannot read {error.filename}: {error.strerror}")
    if problems:
        raise recipe_error(str(path), problems)
    return parse_recipe(content)


def check_again(recipe: Recipe, study: Path, classes: Sequence[str]) -> None:
    """Check the data and the ONNX teacher that a finished study needs to be exported again.

    Args:
        recipe: Of the study.
        study: Its folder.
        classes: Of the study.

    Raises:
        RecipeError: They do not exist any more, or the operating point does not fit the classes.
    """
    content = recipe.model_dump(mode="json")
    problems = data_problems(content)
    if recipe.teacher.is_onnx and (reason := onnx_problem(Path(recipe.teacher.model), study)):
        problems.append(f"teacher.model: {reason}")
    if problems:
        raise recipe_error(recipe.name, problems)
    check_operating_point(recipe.export.operating_point, classes)


def _text(content: dict[str, Any], *keys: str) -> str | None:
    """Return the text at a key, if there is text."""
    value: Any = content
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None


def model_problems(content: dict[str, Any], role: str, study: Path) -> list[str]:
    """Return what is wrong with the model and the weights of `[teacher]` or `[student]`.

    Args:
        content: Of the recipe.
        role: teacher or student.
        study: Folder of the study, which need not exist.
    """
    model, weights = _text(content, role, "model"), _text(content, role, "weights")
    problems = []
    if model is not None and model.lower().endswith(".onnx"):
        reason = onnx_problem(Path(model), study) if role == "teacher" else None
        problems += [f"{role}.model: {reason}"] if reason else []
    elif model is not None:
        reason = model_problem(model)
        problems += [f"{role}.model: {reason}"] if reason else []
        if not reason and weights == "imagenet" and not model.startswith(("torchvision:", "timm:")):
            problems.append(
                f'{role}.weights: got "imagenet", but {model} has no ImageNet weights, only '
                "torchvision:NAME and timm:NAME have; set a file, or remove `weights`"
            )
    # A study that was trained from a file before can do without it.
    known = any((study / "checkpoints").glob("*"))
    if weights is None or weights in {"imagenet", "none"} or (known and not Path(weights).exists()):
        return problems
    reason = weights_problem(Path(weights))
    return problems + ([f"{role}.weights: {reason}"] if reason else [])


def onnx_problem(path: Path, study: Path) -> str | None:
    """Return why `path` cannot be an ONNX teacher of the study in the folder `study`."""
    if reason := _no_file(path, {".onnx"}):
        return reason
    if path.resolve().parent == study.resolve():
        return (
            f"{path} is in {study}, which this study writes its own files to; set another name "
            "with --set name=NAME, or copy the teacher to another folder"
        )
    start = _start(path)
    if not start.startswith(ONNX_STARTS):
        return f"{path} is not an ONNX file{_kind(start)}"
    return None


def weights_problem(path: Path) -> str | None:
    """Return why `path` cannot be a file of weights."""
    if not path.exists():
        hint = did_you_mean(path.name.lower(), ["imagenet", "none"])
        return _no_file(path, WEIGHTS_SUFFIXES - {".onnx"}, hint)
    if path.suffix.lower() == ".onnx":
        return f'{path} is an ONNX file, which can be a teacher: model = "{path.name}"'
    if reason := _no_file(path, set()):
        return reason
    return _not_weights(path, _start(path))


def _not_weights(path: Path, start: bytes) -> str | None:
    """Return that a file which begins with `start` holds no weights."""
    is_safetensors = start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**40
    if path.suffix.lower() == ".safetensors":
        return None if is_safetensors else f"{path} is not a .safetensors file{_kind(start)}"
    if is_safetensors:
        return f"{path} is a safetensors file; rename it to {path.stem}.safetensors"
    if start.startswith((ZIP, PICKLE)) or start[257:262] == TAR:
        return None
    return f"{path} is not a file of weights{_kind(start)}; expected one written by torch.save"


def _no_file(path: Path, suffixes: set[str], hint: str = "") -> str | None:
    """Return why there is no file to read at `path`."""
    if path.is_dir():
        return f"{path} is a folder, expected a file"
    if path.is_file():
        try:
            path.open("rb").close()
        except OSError as error:
            return f"cannot read {path}: {error.strerror}"
        return None
    near = [one.name for one in _entries(path.parent) if one.suffix.lower() in suffixes]
    return f"there is no file {path}{hint or did_you_mean(path.name, near)}"


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)


def _kind(start: bytes) -> str:
    """Return what a file is instead, from how it begins."""
    if not start:
        return ": it is empty"
    if start.startswith(b"version https://git-lfs"):
        return ": it is a pointer of Git LFS; run git lfs pull"
    if re.match(rb"\s*<(!doctype|html|\?xml)", start, re.IGNORECASE):
        return ": it is a web page; download the file itself"
    return f": it begins with {start[:4].hex(' ')}"


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def data_problems(content: dict[str, Any]) -> list[str]:
    """Return which folders and files of `[data]` do not exist."""
    root, source = _text(content, "data", "root"), _text(content, "data", "source")
    if root is None or source in {None, "digits"}:  # digits come with a package
        return []
    home = _text(content, "data", "home")
    page = f"; download the data from {home}" if home else ""
    folder = Path(root)
    if not folder.is_dir():
        near = [one.name for one in _entries(folder.parent) if one.is_dir()]
        what = (
            f"{folder} is a file, expected a folder"
            if folder.exists()
            else f"there is no folder {folder}"
        )
        hint = did_you_mean(folder.name, near)
        return [f"data.root: {what}{page}; set the folder with --set data.root=DIR{hint}"]
    if source in {*TORCHVISION_FOLDERS, *FORMS, "idx"}:
        return _incomplete_sets(content, str(source), folder)
    if source == "folder" and not any(one.is_dir() for one in _entries(folder)):
        return [f"data.root: {folder} has no folders, expected one for each class"]
    problems = []
    for key in ("file", "csv", "images"):
        value = _text(content, "data", key)
        if value is None or (folder / value).exists():
            continue
        near = [one.name for one in _entries((folder / value).parent)]
        hint = did_you_mean(Path(value).name, near)
        problems.append(f"data.{key}: there is no {folder / value}{page}{hint}")
    return problems


def _incomplete_sets(content: dict[str, Any], source: str, folder: Path) -> list[str]:
    """Return what a folder lacks of a set of which the names of the files are known."""
    if source in TORCHVISION_FOLDERS:
        return _missing_idx(content, [folder, folder / TORCHVISION_FOLDERS[source] / "raw"])
    for name in FORMS:
        if name == source:
            complete = find_cifar(name, folder) is not None
            return [] if complete else [f"data.root: {missing_cifar(name, folder)}"]
    return _missing_idx(content, [folder])


def _missing_idx(content: dict[str, Any], folders: list[Path]) -> list[str]:
    """Return what the folders lack if none has all four files of the MNIST format."""
    names = [_text(content, "data", "files", key) or str(name) for key, name in IdxFiles()]
    lines = []
    for folder in folders:
        missing = [name for name in names if not _is_there(folder / name)]
        if not missing:
            return []
        what = f"lacks {', '.join(missing)}" if folder.is_dir() else "does not exist"
        lines.append(f"{folder} {what}")
    return [f"data.root: expected four files, plain or .gz, but {', and '.join(lines)}"]


def _is_there(file: Path) -> bool:
    """Whether a file exists, plain or .gz, whichever its name says."""
    plain = file.with_suffix("") if file.suffix == ".gz" else file
    return plain.is_file() or plain.with_name(f"{plain.name}.gz").is_file()


def _two_class_problems(content: dict[str, Any]) -> list[str]:
    """Return which keys do not fit the number of classes, if the recipe alone shows it."""
    data = content.get("data")
    if not isinstance(data, dict):
        return []
    classes = data.get("group") or data.get("classes")
    count = len(classes) if isinstance(classes, list) else NUM_CLASSES.get(str(data.get("source")))
    if count is None:
        return []
    problems = []
    if "positive" in data and count != 2:
        problems.append(f"data.positive: is for two classes, but the data have {count}; remove it")
    try:
        check_operating_point(_text(content, "export", "operating_point") or "argmax", range(count))
    except RecipeError as error:
        problems.append(str(error))
    method = _text(content, "distill", "method") or "kd"
    if count == 2 and (fault := two_classes_fault(method)):
        problems.append(fault)
    return problems
