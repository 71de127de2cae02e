"""Generate docs/recipe.md and recipes/recipe.schema.json from the models in kdtool/recipe."""

import json
from pathlib import Path
from typing import Any

import tomli_w

from kdtool.recipe.augment import AUGMENTATIONS
from kdtool.recipe.data import TABLES, DataKeys
from kdtool.recipe.schema import Recipe

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "recipe.md"
SCHEMA = ROOT / "recipes" / "recipe.schema.json"
Node = dict[str, Any]  # of the JSON schema

HEAD = """\
# The recipe

A recipe is a TOML file with everything that a study depends on: the images, the two models, how
they are trained, and what is written. `kdtool distill RECIPE` runs it. Only `name`, `[data]`,
`[teacher]` and `[student]` are required:

```toml
name = "tiny"

[data]
source = "digits"

[teacher]
model = "mnist-cnn"

[student]
model = "mnist-mlp"
```

- `--set KEY=VALUE` overrides a key, such as `--set student.epochs=30`; it can be repeated. VALUE is
  TOML; text needs no quotes.
- `--sweep KEY=V,V,...` trains new students for each value of a key of `[distill]` or `[subclass]`.
- Options in `[distill.options]` are of `distill.method`. A table of a method, such as
  `[distill.options.dist]`, may stand beside another method, for a sweep over methods.
- Paths in a recipe are relative to its folder, paths in `--set` to the working directory.
- kdtool validates the whole recipe before it loads PyTorch and lists every error at once, with
  suggestions; that includes files of weights, model names and the folder of the data.
- The folder of a study contains `recipe.toml`: the recipe as it was run, with every default.
- An editor with the TOML language server Taplo (in VS Code the extension Even Better TOML)
  completes and checks a recipe with the first line `#:schema recipe.schema.json`: the path or URL
  of [recipe.schema.json](../recipes/recipe.schema.json).

This page is generated from `kdtool/recipe/` by `python docs/generate/recipe.py`.
"""
DATA = """\
`source` decides which other keys there are. Classes are given by index, from 0, or by name.
"""
PHASES = """\
`[[teacher.phase]]` and `[[student.phase]]` have these keys; a key that is left out has the value of
`[teacher]` or `[student]`:
"""
MODELS = """\
Both tables have the same keys. `[student]` is for the control too, the student without a teacher.
"""
TITLES = {
    "MnistTable": "MNIST",
    "MnistLikeTable": "Fashion-MNIST and KMNIST",
    "CifarTable": "CIFAR-10 and CIFAR-100",
    "DigitsTable": "The digits of scikit-learn",
    "IdxTable": "Files in the MNIST format",
    "FolderTable": "A folder for each class",
    "CsvTable": "A csv table of image files",
    "WebDatasetTable": "Tar files in the layout of WebDataset",
    "ParquetTable": "Parquet files of Hugging Face",
    "NpzTable": "A NumPy file",
}


def schema() -> str:
    """Return the JSON schema of a recipe, for editors."""
    content = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **_without_formats(Recipe.model_json_schema(ref_template="#/$defs/{model}")),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _without_formats(node: Any) -> Any:
    """Drop what no editor needs: titles, the format of paths, and OpenAPI's discriminator."""
    if isinstance(node, list):
        return [_without_formats(one) for one in node]
    if not isinstance(node, dict):
        return node
    dropped = {"title", "format", "discriminator"}
    return {
        # Within "properties" a key is a name of the recipe's.
        key: (
            {name: _without_formats(one) for name, one in value.items()}
            if key in {"properties", "$defs"}
            else _without_formats(value)
        )
        for key, value in node.items()
        if key not in dropped
    }


def page() -> str:
    """Return docs/recipe.md."""
    whole = json.loads(schema())
    tables = whole["$defs"]
    own = {name: node for name, node in whole["properties"].items() if _table_of(node) is None}
    own.pop("data")
    parts = [HEAD, "## The first lines", _rows(own, whole, tables)]
    parts += ["## [data]", DATA]
    common = set(DataKeys.model_fields) - {"source"}
    first = tables["MnistTable"]
    keys = {
        "source": {
            "enum": list(TABLES),
            "description": DataKeys.model_fields["source"].description,
        }
    }
    keys |= {key: first["properties"][key] for key in DataKeys.model_fields if key in common}
    parts += [_rows(keys, first, tables)]
    for name in dict.fromkeys(table.__name__ for table in TABLES.values()):
        sources = [source for source, table in TABLES.items() if table.__name__ == name]
        given = " or ".join(f'`source = "{source}"`' for source in sources)
        keys = {key: node for key, node in tables[name]["properties"].items() if key not in common}
        text = _sentence(keys.pop("source")["description"])
        parts += [f"### {TITLES[name]}: {given}", text]
        parts += [_rows(keys, tables[name], tables)] if keys else []
    kinds = [
        f"| `{name}:VALUE` | {kind.lowest:g} to {kind.highest:g} | `{kind.default:g}` | "
        f"{kind.meaning} |"
        for name, kind in AUGMENTATIONS.items()
    ]
    parts += ["### Augmentations", "`data.augment` is a list of these, each at most once:"]
    parts += ["\n".join([*HEADER, *kinds])]
    parts += ["## [teacher] and [student]", MODELS]
    parts += [_rows(tables["TrainTable"]["properties"], tables["TrainTable"], tables)]
    parts += [PHASES, _rows(tables["PhaseTable"]["properties"], tables["PhaseTable"], tables)]
    for key in ("distill", "subclass", "export", "profile", "explain", "device"):
        node = whole["properties"][key]
        table = tables[_table_of(node) or ""]
        parts += [f"## [{key}]", _sentence(node["description"])]
        parts += [_rows(table["properties"], table, tables)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


HEADER = ("| key | values | default | meaning |", "|---|---|---|---|")


def _rows(keys: dict[str, Node], table: Node, tables: dict[str, Node], prefix: str = "") -> str:
    """Return a Markdown table of the keys; those of a table in a key follow as KEY.NAME."""
    lines = [] if prefix else [*HEADER]
    for key, node in keys.items():
        inner = _table_of(node)
        required = key in table.get("required", [])
        default = "required"
        if not required:
            default = "see below" if inner else _toml(node.get("default"))
        cells = (f"`{prefix}{key}`", _values(node, tables), default, node["description"])
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        for inner in {_table_of(one) for one in node.get("anyOf", [node])} - {None}:
            content = tables[inner]
            lines.append(_rows(content["properties"], content, tables, f"{prefix}{key}."))
    return "\n".join(lines)


def _table_of(node: Node) -> str | None:
    """Return the name of the table that a key holds, if it must be one."""
    return str(node["$ref"]).rpartition("/")[2] if "$ref" in node else None


def _values(node: Node, tables: dict[str, Node]) -> str:
    """Return type and range in words."""
    if "anyOf" in node:
        kinds = [_values(one, tables) for one in node["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "$ref" in node:
        return "table"
    if "const" in node:
        return f"`{_toml(node['const']).strip('`')}`"
    if "enum" in node:
        return ", ".join(_toml(one) for one in node["enum"])
    if node["type"] == "array":
        least = node.get("minItems", 0)
        count = f", {least} or more" if least > 1 else ", not empty" if least else ""
        return f"list of {_plural(_values(node['items'], tables))}{count}"
    names = {"integer": "integer", "number": "number", "string": "text", "boolean": "true, false"}
    return f"{names[node['type']]}{_range(node)}"


def _plural(kind: str) -> str:
    first, space, rest = kind.partition(" ")
    is_name = first in {"integer", "number", "list", "table"}
    return f"{first}s{space}{rest.replace('integer or', 'integers or')}" if is_name else kind


def _range(node: Node) -> str:
    bounds = {
        "minimum": "≥ {}",
        "exclusiveMinimum": "> {}",
        "maximum": "≤ {}",
        "exclusiveMaximum": "< {}",
    }
    shown = [form.format(f"{node[key]:g}") for key, form in bounds.items() if key in node]
    return f" {', '.join(shown)}".replace("4.29497e+09", "2³²") if shown else ""


def _toml(value: Any) -> str:
    """Return a value as TOML writes it; a dash for none."""
    if value is None:
        return "-"
    text = tomli_w.dumps({"x": value}).partition("=")[2].strip()
    return f"`{' '.join(text.split()).replace('[ ', '[').replace(', ]', ']')}`"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    SCHEMA.write_text(schema(), encoding="utf-8")
