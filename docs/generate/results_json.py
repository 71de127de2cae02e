"""Generate docs/results-json.md from the records in kdtool/results and their fields' comments.

uv run python docs/generate/results_json.py
"""

import ast
import inspect
import json
import re
import sys
import textwrap
import tokenize
from collections.abc import Sequence
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kdtool.results.base import METRICS, ROLES, SCHEMA, SPLITS, Precision, Record
from kdtool.results.profile import Runtime
from kdtool.results.study import Results

PAGE = Path(__file__).parents[1] / "results-json.md"
WIDTH = 110  # characters of a line


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


HEAD = f"""\
# results.json

Every study has a `results.json` next to its report: the report shows no number that is not in this
file. `kdtool distill RECIPE --json` prints the same document. It is JSON without NaN or infinity,
and its keys are stable: `"schema": {SCHEMA}` changes only if a key is removed or changes its
meaning.

- Accuracy, F1, AUC, probabilities and shares are in [0, 1]; a *test image* is an index into the
  test split.
- An interval `[low, high]` is a 95 % interval.
- The end of a key is its unit: `_ms` milliseconds, `_bytes` bytes, `seconds` seconds; `num_` is a
  number of things.
- `null` is explained at its key. *May be absent* marks keys that results of an older kdtool lack;
  read them as the value given there.
- A role is one of {_listed(ROLES)}.
- A metric is one of {_listed(METRICS)}.
- A precision is one of {_listed(get_args(Precision))}.
- A split is one of {_listed(SPLITS)}.
- A runtime is one of {_listed(get_args(Runtime))}.

To read a value on the command line: `jq '.verdicts[0].verdict' runs/mnist/results.json`; in Python,
`kdtool.results.study.load_results(path)` returns the document as frozen records.

This page is generated: after a change in `kdtool/results`, run
`uv run python docs/generate/results_json.py`.
"""
NAMES = {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}
NAMES |= {"PositiveInt": "integer above 0", "PositiveFloat": "number above 0"}
ALIASES = {
    "Interval": "[number, number]",
    "Role": "role",
    "Metric": "metric",
    "Precision": "precision",
    "Runtime": "runtime",
    "SplitName": "split",
}


def page() -> str:
    """Return the page as Markdown."""
    parts = [HEAD]
    for record in records(Results):
        text = inspect.cleandoc(record.__doc__ or "")
        parts.append(f"## {record.__name__}\n\n{text}\n")
        parts.append("\n".join(_field(record, name) for name in record.model_fields) + "\n")
    return "\n".join(parts)


def records(first: type[BaseModel]) -> list[type[BaseModel]]:
    """Return a record and all that its fields hold, each once, in the order of the fields."""
    found: list[type[BaseModel]] = [first]
    for record in found:
        for field in record.model_fields.values():
            found += [one for one in _inside(field.annotation) if one not in found]
    return found


def _inside(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return [annotation]
    return [one for argument in get_args(annotation) for one in _inside(argument)]


def _field(record: type[BaseModel], name: str) -> str:
    field = record.model_fields[name]
    kind = _type(_owner(record, name), name)
    text = f"`{field.alias or name}` ({kind})"
    if meaning := meanings(_owner(record, name)).get(name):
        text += f": {meaning}"
    text += _absent(field)
    return textwrap.fill(
        text, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
    )


def _absent(field: FieldInfo) -> str:
    if field.is_required() or field.alias == "schema":
        return ""
    default = field.get_default(call_default_factory=True)
    return f". May be absent: `{json.dumps(default)}`"


def _owner(record: type[BaseModel], name: str) -> type[BaseModel]:
    """Return the class in which a field is written, which a record may inherit."""
    return next(one for one in record.__mro__ if name in inspect.get_annotations(one))


def _definitions(record: type[BaseModel]) -> tuple[str, list[ast.AnnAssign]]:
    source = textwrap.dedent(inspect.getsource(record))
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    return source, [line for line in body.body if isinstance(line, ast.AnnAssign)]


def _type(record: type[BaseModel], name: str) -> str:
    """Return the type of a field in words, such as "list of integer"."""
    _, definitions = _definitions(record)
    written = next(one for one in definitions if ast.unparse(one.target) == name)
    return _words(written.annotation)


def _words(node: ast.expr) -> str:
    if isinstance(node, ast.BinOp):
        return f"{_words(node.left)} or {_words(node.right)}"
    if isinstance(node, ast.Constant):
        return "null" if node.value is None else repr(node.value)
    if isinstance(node, ast.Subscript):
        return _generic(node)
    written = ast.unparse(node)
    for known in (NAMES, ALIASES, _choices()):
        if written in known:
            return known[written]
    return "any value" if written == "object" else f"[{written}](#{written.lower()})"


@cache
def _choices() -> dict[str, str]:
    """Return the values of each named choice, by its name."""
    modules = {sys.modules[record.__module__] for record in records(Results)}
    named = [pair for module in modules for pair in vars(module).items()]
    return {name: _either(get_args(one)) for name, one in named if get_origin(one) is Literal}


def _either(values: Sequence[object]) -> str:
    return " or ".join(f"`{json.dumps(one)}`" for one in values)


def _generic(node: ast.Subscript) -> str:
    inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    outer = ast.unparse(node.value)
    if outer == "Literal":
        return _either([ast.literal_eval(one) for one in inner])
    words = [_words(one) for one in inner]
    if outer == "dict":
        return f"object: {words[0]} to {words[1]}"
    return f"list of {words[0]}" if outer == "list" else f"[{', '.join(words)}]"


def meanings(record: type[BaseModel]) -> dict[str, str]:
    """Return the comment of each field: at the end of its lines, or on the lines above it."""
    source, definitions = _definitions(record)
    comments = {
        token.start[0]: (token.string.lstrip("# "), token.line.strip().startswith("#"))
        for token in tokenize.generate_tokens(StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for field in definitions:
        lines = range(field.lineno, (field.end_lineno or field.lineno) + 1)
        texts = [comments[line][0] for line in lines if line in comments]
        line = field.lineno - 1
        while line in comments and comments[line][1]:
            texts.insert(0, comments[line][0])
            line -= 1
        if texts:
            text = re.sub(r"\s+", " ", " ".join(texts)).rstrip(".")
            found[ast.unparse(field.target)] = text.replace("None", "null")
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
