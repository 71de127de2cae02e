"""Read a recipe and change it: TOML, `--set` and `--sweep`."""

import itertools
import tomllib
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from kdtool.errors import RecipeError, did_you_mean, nearest, reason
from kdtool.recipe.data import IdxFiles
from kdtool.recipe.distill import DistillTable, method_of
from kdtool.recipe.problems import keys_of_source, problems_of, shown
from kdtool.recipe.schema import Recipe, SubclassTable
from kdtool.recipe.table import Table

# Keys with values that are, or may be, paths.
PATHS = {"data.root", "teacher.model", "teacher.weights", "student.weights"}
MOST_LEVELS = 20  # of tables and lists inside each other; a recipe has at most 4


def load_recipe(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read the recipe at `path`; report all its problems at once.

    Args:
        path: A TOML file. Paths in it, those of `PATHS`, are relative to its folder.
        overrides: `KEY=VALUE` each, as given to `--set`; paths in these are relative to the working
            folder, as a path typed in a shell is. Epochs set so are exact: they overrule the
            `min_steps` of the file.

    Raises:
        RecipeError: The file cannot be read, is not TOML, or is not a recipe.
    """
    return make_recipe(read_recipe(path, overrides), str(path))


def read_recipe(path: Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """Return the content of the recipe at `path`, not yet checked; see `load_recipe`.

    Raises:
        RecipeError: The file cannot be read or is not TOML, or an override is not `KEY=VALUE`.
    """
    try:
        content = _parsed(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise RecipeError(f"there is no recipe {path}{_other_recipes(path)}") from error
    except IsADirectoryError as error:
        raise RecipeError(
            f"{path} is a folder, expected a recipe, a TOML file; if it has one folder of pictures "
            f"for each class, use recipes/folder.toml --set data.root={path}"
        ) from error
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{path} is not text in UTF-8, expected a TOML file: {reason(error)}"
        ) from error
    except ValueError as error:
        raise RecipeError(f"{path} is not valid TOML: {error}") from error
    if faults := list(_unusable(content)):
        raise recipe_error(str(path), faults)
    _resolve_paths(content, PATHS, path.parent)
    settings = dict(parse_setting(override) for override in overrides or [])
    _drop_min_steps(content, settings)
    for key, value in settings.items():
        _put(content, key, value)
        given = {known for known in PATHS if known == key or known.startswith(f"{key}.")}
        _resolve_paths(content, given, Path.cwd())
    return content


def make_recipe(content: dict[str, Any], source: str) -> Recipe:
    """Check `content` as a recipe; `source` names it in the message, unless it is empty.

    Raises:
        RecipeError: It is not one; lists every problem with its key.
    """
    if problems := problems_in(content):
        raise recipe_error(source, problems)
    return parse_recipe(content)


def parse_recipe(content: dict[str, Any]) -> Recipe:
    """Return `content`, which has no problems, as a recipe."""
    return Recipe.model_validate(_without_old_defaults(content))


def problems_in(content: dict[str, Any]) -> list[str]:
    """Return what is wrong with `content` as a recipe; nothing if it is one."""
    try:
        parse_recipe(content)
    except ValidationError as error:
        return problems_of(error, content)
    return []


def recipe_error(source: str, problems: list[str]) -> RecipeError:
    """Return one error that lists all problems of the recipe `source`, which may be empty."""
    if not source:
        return RecipeError("\n".join(problems))
    number = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return RecipeError("\n  ".join([f"{source}: {number}", *problems]))


def recipe_toml(recipe: Recipe) -> str:
    """Return `recipe` as TOML, with every default in it."""
    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))


def with_settings(recipe: Recipe, settings: dict[str, Any]) -> Recipe:
    """Return `recipe` with other values at some keys, checked again."""
    content = recipe.model_dump(exclude_unset=True)
    for key, value in settings.items():
        _put(content, key, value)
    return make_recipe(content, "")


def parse_setting(text: str) -> tuple[str, Any]:
    """Split `KEY=VALUE`; VALUE is TOML, or else text without quotes.

    Raises:
        RecipeError: There is no `=`.
    """
    key, equals, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not equals or not key or not value:
        raise RecipeError(
            f'got "{text}", expected a key of the recipe and a value: --set distill.temperature=4'
        )
    if "\0" in key or key.count(".") >= MOST_LEVELS:
        raise RecipeError(f"got {shown(key)}, expected a key of the recipe, such as teacher.epochs")
    parsed = _parse_value(value)
    if faults := list(_unusable(parsed, key)):
        raise RecipeError("\n".join(faults))
    return key, parsed


def parse_sweep(text: str) -> tuple[str, list[Any]]:
    """Split `KEY=VALUE,VALUE,...` into the key and its values.

    Raises:
        RecipeError: There are fewer than two values, or one is repeated.
    """
    if "=" not in text:
        raise RecipeError(
            f'got "{text}", expected a key of the recipe and its values: --sweep '
            "distill.temperature=1,2,4,8"
        )
    key, first = parse_setting(text)
    values = first
    if not isinstance(first, list):
        values = [_parse_value(part.strip()) for part in text.partition("=")[2].split(",")]
    if len(values) < 2 or any(value in values[:i] for i, value in enumerate(values)):
        raise RecipeError(
            f"got --sweep {text}, expected at least two different values, "
            f"such as {key}=1,2,4,8,16,32"
        )
    return key, values


SWEPT_TABLES = ("distill", "subclass")
NOT_SWEPT = {"distill.exclude_classes"}  # it changes the controls as well


def check_sweep(recipe: Recipe, sweep: dict[str, list[Any]], *, subclasses: bool) -> None:
    """Check that the keys of a sweep can be swept, and every combination of their values.

    Args:
        recipe: The study's.
        sweep: Keys and their values.
        subclasses: Whether the study has subclass students.

    Raises:
        RecipeError: A key cannot be swept, or a value is not allowed for it.
    """
    if len(sweep) > 2:
        raise RecipeError(f"got --sweep of {len(sweep)} keys, expected one or two")
    for key in sweep:
        table = key.partition(".")[0]
        if table not in SWEPT_TABLES or key in NOT_SWEPT:
            raise RecipeError(
                f"got --sweep {key}, expected a key of [distill] or [subclass] that changes how "
                "students learn: any other would be tuned for the student and not for its control"
                f"{did_you_mean(key, _sweepable(), '{}')}"
            )
        if table == "subclass" and not subclasses:
            raise RecipeError(f"got --sweep {key}, which needs `kdtool subclass-distill`")
    if len({key.partition(".")[0] for key in sweep}) > 1:
        raise RecipeError(
            f"got --sweep {' and '.join(sweep)}, expected keys of one table, as the tables are for "
            "different students; sweep one after the other"
        )
    tried = [
        with_settings(recipe, dict(zip(sweep, values, strict=True)))
        for values in itertools.product(*sweep.values())
    ]
    methods = {one.distill.method for one in tried}
    for key in sweep:
        if (owner := method_of(key)) and owner not in methods:
            raise RecipeError(
                f"got --sweep {key}, which is of method {owner}, but the students learn by "
                f"{', '.join(sorted(methods))}; set distill.method, or sweep distill.options.OPTION"
            )


def _sweepable() -> list[str]:
    tables: dict[str, type[Table]] = {"distill": DistillTable, "subclass": SubclassTable}
    keys = [f"{name}.{key}" for name, table in tables.items() for key in table.model_fields]
    return [key for key in keys if key not in NOT_SWEPT]


def _drop_min_steps(content: dict[str, Any], settings: dict[str, Any]) -> None:
    """Drop the `min_steps` of a file if epochs are set on the command line: these are exact."""
    for table in ("teacher", "student"):
        if {f"{table}.epochs", f"{table}.phase"} & settings.keys():
            keys = content.get(table)
            if isinstance(keys, dict):
                keys.pop("min_steps", None)


def _parse_value(value: str) -> Any:
    try:
        return _parsed(f"value = {value}")["value"]
    except ValueError:
        return value


def _parsed(text: str) -> dict[str, Any]:
    """Return TOML as Python values.

    Raises:
        ValueError: The text is not TOML, or is more than Python reads; says why.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:  # Python refuses to read so long a number
        raise ValueError("a number in it has thousands of digits") from error
    except RecursionError as error:
        raise ValueError("tables or lists in it are nested thousands of levels deep") from error


def _unusable(value: object, key: str = "") -> Iterator[str]:
    """Yield what no key of a recipe can have: a character NUL, or values nested too deeply."""
    waiting = deque([(key, value, 0)])  # not by recursion, which has a limit of its own
    while waiting:
        place, one, level = waiting.popleft()
        if level > MOST_LEVELS:
            top = ".".join(place.split(".")[:2])
            yield f"{top}: got values nested more than {MOST_LEVELS} levels deep, expected a value"
            return
        if isinstance(one, dict):
            named = [(f"{place}.{name}".lstrip("."), inner) for name, inner in one.items()]
            waiting += [(name, inner, level + 1) for name, inner in named]
        elif isinstance(one, list):
            waiting += [(f"{place}.{i}", inner, level + 1) for i, inner in enumerate(one)]
        if "\0" in place or (isinstance(one, str) and "\0" in one):
            text = one if isinstance(one, str) else place
            yield f"{place}: got {shown(text)} with the character NUL, which no name or path has"


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    *tables, last = key.split(".")
    for table in tables:
        content = content.setdefault(table, {})
        if not isinstance(content, dict):
            raise RecipeError(f"got --set {key}, but {table} is a value, not a table")
    content[last] = value


def _resolve_paths(content: dict[str, Any], keys: Iterable[str], folder: Path) -> None:
    """Make the paths at some keys absolute, if the recipe has them."""
    for key in keys:
        table, _, last = key.partition(".")
        values = content.get(table)
        if not isinstance(values, dict) or not _is_path(key, values.get(last)):
            continue
        try:
            values[last] = str((folder / Path(values[last]).expanduser()).resolve())
        except RuntimeError as error:  # ~ and no home
            raise RecipeError(f"{key}: got {shown(values[last])}; {error}") from error


def _is_path(key: str, value: Any) -> bool:
    if not isinstance(value, str):
        return False
    if key.endswith(".model"):
        return value.lower().endswith(".onnx")
    return value not in {"imagenet", "none"}


def _other_recipes(path: Path) -> str:
    if not path.parent.is_dir():
        return f", and no folder {path.parent}"
    found = sorted(other.name for other in path.parent.glob("*.toml"))
    if close := nearest(path.stem, [name.removesuffix(".toml") for name in found]):
        return f"; did you mean {path.parent / close}.toml?"
    return f"; its folder has {', '.join(found)}" if found else ""


# What kdtool up to 0.1 wrote into the recipe.toml of every study, whatever its source was.
OLD_DEFAULTS = to_jsonable_python(
    {"test": 0.2, "files": IdxFiles(), "images": Path(), "skip_broken": False}
)


def _without_old_defaults(content: dict[str, Any]) -> dict[str, Any]:
    """Drop the defaults of other sources, which an older kdtool wrote, from `[data]`."""
    data = content.get("data")
    if not isinstance(data, dict) or not OLD_DEFAULTS.keys() <= data.keys():
        return content
    own = keys_of_source(data)
    kept = {
        key: value
        for key, value in data.items()
        if key in own or key not in OLD_DEFAULTS or value != OLD_DEFAULTS[key]
    }
    return content | {"data": kept}
