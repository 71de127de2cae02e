"""Changes to files: of bytes, of trees of JSON, of lines of TOML, and of ONNX graphs."""

import json
import re
from copy import deepcopy

import onnx

NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
VALUES = [
    None,
    True,
    "",
    "x",
    "a\nb",
    "\x1b[31mred",
    "\x00",
    "../outside",
    "é" * 300,
    0,
    -1,
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    2**40,
    10**30,
    [],
    {},
    [[]],
    [1, "a"],
    {"a": 1},
]
LITERALS = ["true", "-1", "0", "1e400", "nan", '""', '"\\u0000"', "[]", "{}", "2020-01-01", "[[1]]"]
LITERALS += ["9223372036854775807", "1" * 40, '"../.."', "'x'", "[1, 2", "0x", "''''''", "{a = 1}"]
SIZES = [0, 1, -1, -2, 2, 3, 7, 255, 2**16, 2**31 - 1, 2**31, -(2**31), 2**40, 2**63 - 1, -(2**63)]


def change_bytes(content, rng):
    """Change a few places of some bytes: bits, numbers, spans, or the end is lost."""
    data = bytearray(content)
    for _ in range(min(8, int(rng.geometric(0.6)))):
        if not data:
            break
        # Headers are at the beginning, where most bytes matter.
        at = int(rng.integers(len(data) if rng.random() < 0.5 else min(len(data), 64)))
        length = int(rng.integers(1, min(len(data), 64) + 1))
        part = slice(at, at + length)
        new = {
            "bit": bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 : at + length],
            "byte": rng.bytes(1) + data[at + 1 : at + length],
            "number": number_bytes(rng) + data[at + 4 : at + length],
            "lost": b"",
            "twice": data[part] * 2,
            "zeros": bytes(length),
            "more": rng.bytes(length) + data[part],
            "other": rng.bytes(length),
            "end": b"",
        }
        kind = list(new)[int(rng.integers(len(new)))]
        data[part if kind != "end" else slice(at, None)] = new[kind]
    return bytes(data)


def number_bytes(rng):
    return int(rng.choice(NUMBERS)).to_bytes(4, str(rng.choice(["little", "big"])))


def change_json(content, rng):
    """Change a few values of a tree of JSON: another type, one too many, one too few, a swap."""
    tree = json.loads(content)
    for _ in range(min(4, int(rng.geometric(0.7)))):
        places = list(_places(tree))
        if not places:
            break
        parent, key = places[int(rng.integers(len(places)))]
        match int(rng.integers(5)):
            case 0:
                del parent[key]
            case 1:
                other, its = places[int(rng.integers(len(places)))]
                if its in other if isinstance(other, dict) else its < len(other):
                    parent[key] = json.loads(json.dumps(other[its]))
            case 2 if isinstance(parent, list):
                parent.append(parent[key])
            case 3 if isinstance(parent[key], (int, float)):
                parent[key] = parent[key] * float(rng.choice([-1, 0, 0.5, 2, 1e9])) + 1
            case _:
                parent[key] = deepcopy(VALUES[int(rng.integers(len(VALUES)))])
    return json.dumps(tree).encode()


def _places(tree):
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(entries):
        yield tree, key
        if isinstance(value, (dict, list)):
            yield from _places(value)


def change_toml(content, rng):
    """Change a few lines of a recipe: another value, a key of another name, one lost or doubled."""
    lines = content.decode().splitlines()
    for _ in range(min(4, int(rng.geometric(0.7)))):
        if not lines:
            break
        at = int(rng.integers(len(lines)))
        match int(rng.integers(6)):
            case 0:
                del lines[at]
            case 1:
                lines.insert(int(rng.integers(len(lines))), lines[at])
            case 2:
                lines[at] = re.sub(r"^(\w+)", r"\1s", lines[at])
            case 3:
                lines[at] = lines[at].strip("[]")
            case _:
                key, equals, _ = lines[at].partition("=")
                lines[at] = (
                    f"{key}= {LITERALS[int(rng.integers(len(LITERALS)))]}" if equals else key
                )
    return "\n".join(lines).encode()


def change_onnx(content, rng):
    """Change a few fields of a graph: names, operators, attributes, shapes, types, stored bytes."""
    model = onnx.ModelProto.FromString(content)
    for _ in range(min(4, int(rng.geometric(0.7)))):
        change = ONNX_CHANGES[int(rng.integers(len(ONNX_CHANGES)))]
        change(model, rng)
    return model.SerializeToString()


def pick(choices, rng):
    return choices[int(rng.integers(len(choices)))]


def _names(model):
    return [name for node in model.graph.node for name in (*node.input, *node.output)]


def _other_input(model, rng):
    node = pick(model.graph.node, rng)
    if node.input:
        at = int(rng.integers(len(node.input)))
        node.input[at] = pick([*_names(model), "", "unknown"], rng)


def _other_output(model, rng):
    node = pick(model.graph.node, rng)
    if node.output:
        node.output[int(rng.integers(len(node.output)))] = pick([*_names(model), ""], rng)


def _lost_node(model, rng):
    if len(model.graph.node) > 1:
        model.graph.node.remove(pick(model.graph.node, rng))


def _double_node(model, rng):
    model.graph.node.add().CopyFrom(pick(model.graph.node, rng))


def _other_operator(model, rng):
    known = [node.op_type for node in model.graph.node]
    pick(model.graph.node, rng).op_type = pick([*known, "Einsum", "Loop", "Nothing"], rng)


def _other_attribute(model, rng):
    node = pick(model.graph.node, rng)
    if node.attribute:
        attribute, size = pick(node.attribute, rng), pick(SIZES, rng)
        attribute.i, attribute.f = size, float(size)
        for index in range(len(attribute.ints)):
            attribute.ints[index] = pick(SIZES, rng)
        attribute.type = pick([attribute.type, attribute.type, 0, 1, 2, 3, 7], rng)


def _other_dims(model, rng):
    stored = pick(model.graph.initializer, rng)
    if stored.dims:
        stored.dims[int(rng.integers(len(stored.dims)))] = pick(SIZES, rng)
    else:
        stored.dims.append(pick(SIZES, rng))


def _other_values(model, rng):
    stored = pick(model.graph.initializer, rng)
    stored.raw_data = change_bytes(stored.raw_data, rng)


def _other_type(model, rng):
    pick(model.graph.initializer, rng).data_type = int(rng.integers(-1, 26))


def _other_declared_shape(model, rng):
    shape = pick([*model.graph.input, *model.graph.output], rng).type.tensor_type.shape
    if shape.dim:
        dimension = pick(shape.dim, rng)
        dimension.Clear()
        if rng.random() < 0.7:
            dimension.dim_value = pick(SIZES, rng)


def _other_declared_type(model, rng):
    declared = pick([*model.graph.input, *model.graph.output], rng)
    declared.type.tensor_type.elem_type = int(rng.integers(-1, 26))


def _other_version(model, rng):
    if rng.random() < 0.2:
        model.ir_version = pick(SIZES, rng)
    else:
        pick(model.opset_import, rng).version = pick(SIZES, rng)


def _other_metadata(model, rng):
    texts = ["", "[]", "{", "null", "\x1b[31m", "[1]", "1e9"]
    pick(model.metadata_props, rng).value = pick(texts, rng)


ONNX_CHANGES = [
    _other_input,
    _other_output,
    _lost_node,
    _double_node,
    _other_operator,
    _other_attribute,
    _other_dims,
    _other_values,
    _other_type,
    _other_declared_shape,
    _other_declared_type,
    _other_version,
    _other_metadata,
]
