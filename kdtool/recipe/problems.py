"""What is wrong with a recipe, in words: what was given, what was expected, what was meant."""

import re
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from kdtool.errors import did_you_mean, nearest
from kdtool.recipe.data import MEMBER, TABLES
from kdtool.recipe.schema import STUDY_NAME, Recipe

Location = tuple[int | str, ...]
PATTERNS = {
    STUDY_NAME: "letters, digits, '.', '_' and '-' only, the first a letter or a digit",
    MEMBER: "the ending of a member in small letters, such as cls, or json:KEY",
}
KINDS = {"int", "str", "Normalization"}  # of keys that may be of several


def keys_of_source(data: object) -> dict[str, FieldInfo]:
    """Return the keys that the source of `[data]` has; none if there is no such source."""
    source = data.get("source") if isinstance(data, dict) else None
    table = TABLES.get(source) if isinstance(source, str) else None
    return table.model_fields if table else {}


def problems_of(error: ValidationError, content: dict[str, Any]) -> list[str]:
    """Return what is wrong with a recipe, a line for each problem.

    Args:
        error: Of the validation.
        content: What was validated.
    """
    problems: list[str] = []
    plain: list[ErrorDetails] = []
    for problem in error.errors():
        if problem["type"] in {"union_tag_invalid", "union_tag_not_found"}:
            problems += _without_source(content["data"])
        else:
            plain.append(problem)
    return problems + _describe_all(plain, content)


def _describe_all(found: list[ErrorDetails], content: dict[str, Any]) -> list[str]:
    """Return what is wrong: of a value that may be of several kinds in one line."""
    problems: list[str] = []
    choices: dict[Location, list[ErrorDetails]] = {}
    for problem in found:
        key = _before_a_choice(problem["loc"])
        if key is None:
            problems.append(_describe(problem, content))
        else:
            choices.setdefault(key, []).append(problem)
    for key, kinds in choices.items():
        problems += _describe_choice(key, kinds, content)
    return problems


def _before_a_choice(loc: Location) -> Location | None:
    """Return the key of a value that may be of several kinds; None: it may be of one.

    pydantic puts the kind behind the key, such as `int` or the name of a table's class.
    """
    kinds = [
        place
        for place, part in enumerate(loc)
        if isinstance(part, str) and (part in KINDS or part.startswith("literal["))
    ]
    return loc[: kinds[0]] if kinds else None


def _describe_choice(
    key: Location, found: list[ErrorDetails], content: dict[str, Any]
) -> list[str]:
    """Return what is wrong with a value that may be of several kinds."""
    inside = [one for one in found if len(one["loc"]) > len(key) + 1]
    if inside:  # it is a table, or a list, so that is what is meant
        return [_describe(_at(one, key), content) for one in inside]
    texts = [_describe(_at(one, key), content).partition(", expected ") for one in found]
    return [f"{texts[0][0]}, expected {' or '.join(dict.fromkeys(last for *_, last in texts))}"]


def _at(problem: ErrorDetails, key: Location) -> ErrorDetails:
    """Return a problem without the kind that pydantic puts behind `key`."""
    return {**problem, "loc": (*key, *problem["loc"][len(key) + 1 :])}


def _without_source(data: dict[str, Any]) -> list[str]:
    """Return what is wrong with `[data]` if its source is unknown: that, and wrong values."""
    known = ", ".join(TABLES)
    text = f"is missing, expected one of {known}"
    if "source" in data:
        hint = did_you_mean(str(data["source"]), TABLES)
        text = f"got {shown(data['source'])}, expected one of {known}{hint}"
    problems = [f"data.source: {text}"]
    for key, value in data.items():
        owner = next((name for name in TABLES if key in TABLES[name].model_fields), None)
        if key == "source":
            continue
        if owner is None:
            others = {name for table in TABLES.values() for name in table.model_fields}
            problems.append(f"data.{key}: unknown key{did_you_mean(key, others, '`data.{}`')}")
            continue
        try:
            TABLES[owner].model_validate({"source": owner, key: value})
        except ValidationError as error:
            wrong: list[ErrorDetails] = [
                {**one, "loc": ("data", owner, *one["loc"])}
                for one in error.errors()
                if one["loc"][0] == key
            ]
            problems += _describe_all(wrong, {"data": data})
    return problems


def _describe(problem: ErrorDetails, content: dict[str, Any]) -> str:
    loc = list(problem["loc"])
    if loc[0] == "data" and len(loc) > 1:
        del loc[1]  # the source, which pydantic counts as a part of the path
    key = ".".join(map(str, loc))
    return f"{key}: {_text(problem, loc, content)}"


def _text(problem: ErrorDetails, loc: list[int | str], content: dict[str, Any]) -> str:
    key = ".".join(map(str, loc))
    kind, given = problem["type"], problem["input"]
    text = _expectation(problem["msg"], given)
    if kind == "missing":
        text = f"is missing{_meaning(loc, content)}"
    elif kind == "extra_forbidden":
        text = _unknown_key(key, content)
    elif kind == "literal_error":
        text = _not_among(given, problem["ctx"]["expected"])
    elif kind == "value_error":
        text = str(problem["ctx"]["error"])
    elif kind in {"model_type", "model_attributes_type"}:
        text = f"got {shown(given)}, expected a table, [{key}]"
    elif kind == "list_type":
        numbers = isinstance(given, str) and re.fullmatch(r"[\d., ]+", given)
        text = (
            f"got {shown(given)}, expected a list, such as [{given if numbers else shown(given)}]"
        )
    elif kind == "string_pattern_mismatch":
        text = f"got {shown(given)}, expected {PATTERNS[problem['ctx']['pattern']]}"
    return text


def _expectation(said: str, given: Any) -> str:
    """Return what pydantic says of a value in the words of a recipe."""
    expected = said.replace("Input should be ", "").replace("a valid i", "an i")
    expected = re.sub("List should have (.*) after validation.*", r"\1", expected)
    expected = re.sub("^(greater|less)", r"a value \1", expected.replace("a valid ", "a "))
    return f"got {shown(given)}, expected {expected}"


def _not_among(given: Any, expected: str) -> str:
    allowed = re.findall(r"'([^']*)'", expected)
    if not allowed:  # numbers
        return f"got {shown(given)}, expected {expected}"
    known = f"one of {', '.join(allowed)}" if len(allowed) > 1 else f'"{allowed[0]}"'
    return f"got {shown(given)}, expected {known}{did_you_mean(str(given), allowed)}"


def shown(value: Any) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _meaning(loc: list[int | str], content: dict[str, Any]) -> str:
    """Return what a missing key of a table means."""
    fields, path = Recipe.model_fields, [part for part in loc if isinstance(part, str)]
    if path[0] == "data" and len(path) > 1:
        fields, path = keys_of_source(content["data"]), path[1:]
    for part in path[:-1]:
        fields = next(iter(_tables_in(fields[part]))).model_fields
    description = fields[path[-1]].description
    return f": {description}" if description else ""


def _tables_in(field: FieldInfo) -> list[type[BaseModel]]:
    """Return the tables that a key holds, or may hold."""
    kinds = [field.annotation, *get_args(field.annotation)]
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]


def known_keys() -> list[str]:
    """Return the keys of a recipe that take a value, such as `teacher.epochs`."""
    keys = _known_keys(Recipe)
    return [key for key in keys if not any(other.startswith(f"{key}.") for other in keys)]


def _known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        for table in _tables_in(field):
            keys += _known_keys(table, f"{prefix}{name}.")
    return keys


def _unknown_key(key: str, content: dict[str, Any]) -> str:
    key = re.sub(r"\.\d+", "", key)  # the index in a list of tables
    folder, _, last = key.rpartition(".")
    known = _known_keys(Recipe)
    siblings = [other for other in known if other.rpartition(".")[0] == folder]
    if folder == "data":
        return _unknown_key_of_data(last, content["data"])
    elsewhere = [other for other in known if other.rpartition(".")[2] == last]
    if hint := did_you_mean(elsewhere[0] if elsewhere else key, elsewhere or siblings, "`{}`", 0.7):
        return f"unknown key{hint}"
    return f"unknown key; known here: {_names(siblings)}" if siblings else "unknown key"


def _unknown_key_of_data(key: str, data: dict[str, Any]) -> str:
    """Return what is wrong with a key that the source of `[data]` does not have."""
    own = keys_of_source(data)
    owners = {
        name: [source for source, table in TABLES.items() if name in table.model_fields]
        for table in TABLES.values()
        for name in table.model_fields
    }
    if key in owners:
        return f'not a key of source "{data["source"]}", only of {", ".join(owners[key])}'
    close = nearest(key, owners)
    if not close:
        return f"unknown key; known here: {', '.join(own)}"
    of = "" if close in own else f", a key of source {', '.join(owners[close])}"
    return f"unknown key; did you mean `data.{close}`{of}?"


def _names(keys: list[str]) -> str:
    return ", ".join(key.rpartition(".")[2] for key in keys)
