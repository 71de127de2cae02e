"""The recipe: one TOML file as strict frozen models; every default lives here."""

import difflib
import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from kdtool.errors import RecipeError

TomlPath = Annotated[Path, Field(strict=False)]  # TOML has no paths, only strings
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Table(BaseModel):
    """A table of the recipe: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class IdxFiles(Table):
    """Four files of the MNIST format, plain or .gz, relative to `data.root`."""

    train_images: TomlPath = Path("train-images-idx3-ubyte")
    train_labels: TomlPath = Path("train-labels-idx1-ubyte")
    test_images: TomlPath = Path("t10k-images-idx3-ubyte")
    test_labels: TomlPath = Path("t10k-labels-idx1-ubyte")


class DataTable(Table):
    """Where the images come from and how they are split."""

    source: Literal["mnist", "fashion-mnist", "kmnist", "idx", "digits"]
    root: TomlPath | None = (
        None  # relative to the recipe; None: the user's cache, filled by download
    )
    offline: Literal["mnist-5k"] | None = None  # what stands in when the download fails
    validation: Positive = 0.1  # share of the train images below 1, number of images from 1 on
    files: IdxFiles = IdxFiles()  # of source "idx"
    classes: list[str] | None = None  # names of the classes, of source "idx"

    @field_validator("validation")
    @classmethod
    def _share_below_one(cls, value: float) -> float:
        if value >= 1 and value != int(value):
            raise ValueError(f"got {value}, expected a share below 1 or a whole number of images")
        return value

    @model_validator(mode="after")
    def _keys_fit_source(self) -> Self:
        if self.source == "idx":
            if self.root is None:
                raise ValueError('source "idx" needs `root`, the folder of the four files')
        elif self.source == "digits" and self.root is not None:
            raise ValueError('`root` is not for source "digits", which scikit-learn carries')
        elif self.classes is not None or self.files != IdxFiles():
            raise ValueError('`files` and `classes` are only for source "idx"')
        if self.offline is not None and self.source != "mnist":
            raise ValueError(f'offline "{self.offline}" can only stand in for source "mnist"')
        return self


class TrainTable(Table):
    """A model and how it is trained."""

    model: str  # built in | torchvision:NAME | package.module:function
    epochs: int = Field(default=12, ge=1)
    min_steps: int = Field(default=400, ge=0)  # more epochs where the set is too small for so many
    batch_size: int = Field(default=256, ge=1)
    learning_rate: Positive = 1e-3
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: float = Field(default=0.9, ge=0, lt=1)  # of "sgd"
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    schedule: Literal["constant", "cosine"] = "constant"
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of the training arithmetic


class DistillTable(Table):
    """How the student learns from the teacher.

    Defaults: the CIFAR-100 setting of RepDistiller and mdistiller, temperature 4 and weights
    0.9 and 0.1.
    """

    temperature: Positive = 4.0
    soft_weight: float = Field(default=0.9, ge=0, le=1)


class ExportTable(Table):
    """The ONNX files."""

    precisions: list[Literal["fp32"]] = Field(default=["fp32"], min_length=1)
    opset: int = Field(default=18, ge=18)  # the exporter writes none below 18


class ProfileTable(Table):
    """How latency is measured on this machine."""

    threads: int = Field(default=1, ge=1)
    seconds: Positive = 3.0  # for each model


class ExplainTable(Table):
    """The saliency maps."""

    images: int = Field(default=8, ge=1, le=64)  # shown in the report


class Recipe(Table):
    """One study: data, teacher, student, and how the one teaches the other."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")  # the study's folder
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default=[0, 1, 2], min_length=1)
    data: DataTable
    teacher: TrainTable
    student: TrainTable
    distill: DistillTable = DistillTable()
    export: ExportTable = ExportTable()
    profile: ProfileTable = ProfileTable()
    explain: ExplainTable = ExplainTable()

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, value: list[int]) -> list[int]:
        if len(set(value)) != len(value):
            raise ValueError("the same seed twice: each seed must differ")
        return value


def load_recipe(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read the recipe at `path`; report all its problems at once.

    Args:
        path: A TOML file. `data.root` in it is relative to its folder.
        overrides: `KEY=VALUE` each, as given to `--set`; `data.root` in these is relative to the
            working folder, as a path typed in a shell is.

    Raises:
        RecipeError: The file cannot be read, is not TOML, or is not a recipe.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"there is no recipe {path}{_other_recipes(path)}") from error
    except IsADirectoryError as error:
        raise RecipeError(f"{path} is a folder; a recipe is a TOML file") from error
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not a text file in UTF-8: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not valid TOML: {error}") from error
    _resolve_root(content, path.parent)
    for override in overrides or []:
        key, value = parse_setting(override)
        _put(content, key, value)
        if key == "data.root":
            _resolve_root(content, Path.cwd())
    return make_recipe(content, str(path))


def make_recipe(content: dict[str, Any], source: str) -> Recipe:
    """Check `content` as a recipe; `source` names it in the message.

    Raises:
        RecipeError: It is not one; lists every problem with its key.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        problems = [f"  {_describe(problem)}" for problem in error.errors()]
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise RecipeError("\n".join([f"{source}: {count}", *problems])) from error


def with_settings(recipe: Recipe, settings: dict[str, Any]) -> Recipe:
    """Return `recipe` with other values at some keys, checked again."""
    content = recipe.model_dump(exclude_unset=True)
    for key, value in settings.items():
        _put(content, key, value)
    return make_recipe(content, ", ".join(f"{key}={value}" for key, value in settings.items()))


def parse_setting(text: str) -> tuple[str, Any]:
    """Split `KEY=VALUE`; VALUE is read as TOML, and as plain text where it is no TOML.

    Raises:
        RecipeError: There is no `=`.
    """
    key, equals, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not equals or not key or not value:
        raise RecipeError(f"got {text!r}, expected KEY=VALUE, such as distill.temperature=4")
    return key, _parse_value(value)


def parse_sweep(text: str) -> tuple[str, list[Any]]:
    """Split `KEY=VALUE,VALUE,...` into the key and its values.

    Raises:
        RecipeError: Fewer than two values, or a value stands twice.
    """
    key, first = parse_setting(text)
    values = first
    if not isinstance(first, list):
        values = [_parse_value(part.strip()) for part in text.partition("=")[2].split(",")]
    if len(values) < 2 or len(values) != len({json.dumps(value) for value in values}):
        raise RecipeError(
            f"got --sweep {text}, expected at least two different values, "
            f"such as {key}=1,2,4,8,16,32"
        )
    return key, values


def _parse_value(value: str) -> Any:
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    *tables, last = key.split(".")
    for table in tables:
        content = content.setdefault(table, {})
        if not isinstance(content, dict):
            raise RecipeError(f"cannot set {key}: {table} is a value, not a table")
    content[last] = value


def _resolve_root(content: dict[str, Any], folder: Path) -> None:
    data = content.get("data")
    if isinstance(data, dict) and isinstance(data.get("root"), str):
        data["root"] = str((folder / Path(data["root"]).expanduser()).resolve())


def _other_recipes(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (nor a folder {path.parent})"
    found = sorted(other.name for other in path.parent.glob("*.toml"))
    close = difflib.get_close_matches(path.name, found, n=1)
    if close:
        return f"; did you mean {path.parent / close[0]}?"
    return f"; that folder holds {', '.join(found)}" if found else ""


def _describe(problem: ErrorDetails) -> str:
    key = ".".join(map(str, problem["loc"])) or "the recipe"
    kind, given = problem["type"], problem["input"]
    context = problem.get("ctx", {})
    if kind == "missing":
        return f"{key}: is missing"
    if kind == "extra_forbidden":
        return f"{key}: unknown key{_suggest_key(key)}"
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        close = difflib.get_close_matches(str(given), allowed, n=1)
        hint = f'; did you mean "{close[0]}"?' if close else ""
        return f"{key}: got {_shown(given)}, expected one of {', '.join(allowed)}{hint}"
    if kind == "value_error":
        return f"{key}: {context['error']}"
    if kind == "string_pattern_mismatch":
        return f"{key}: got {_shown(given)}, expected letters, digits, '.', '_' and '-' only"
    expected = problem["msg"].replace("Input should be ", "").replace("a valid i", "an i")
    expected = expected.replace("a valid ", "a ")
    expected = re.sub("^(greater|less)", r"a value \1", expected)
    return f"{key}: got {_shown(given)}, expected {expected}"


def _shown(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        kinds = [field.annotation, *get_args(field.annotation)]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                keys += _known_keys(kind, f"{prefix}{name}.")
    return keys


def _suggest_key(key: str) -> str:
    known = _known_keys(Recipe)
    folder, _, last = key.rpartition(".")
    siblings = [k for k in known if k.rpartition(".")[0] == folder]
    close = difflib.get_close_matches(key, siblings, n=1, cutoff=0.7)
    elsewhere = [k for k in known if k.rpartition(".")[2] == last]
    if close or elsewhere:
        return f"; did you mean `{(close or elsewhere)[0]}`?"
    return f"; known here: {', '.join(k.rpartition('.')[2] for k in siblings)}" if siblings else ""
