"""Read an ONNX file, and describe what is wrong with a damaged one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdtool.errors import ModelFileError, StudyError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

EXTERNAL = 1  # TensorProto.DataLocation: the weights are in another file
TEXT, MESSAGE = 9, 11  # types of fields. Source: descriptor.proto of protobuf, FieldDescriptorProto
FOR_PEOPLE = frozenset(("doc_string", "producer_name", "producer_version"))


def check_file(path: Path) -> None:
    """Check that `path` is a readable file with content.

    Raises:
        ModelFileError: It is missing, a folder, empty or unreadable.
    """
    if path.is_dir():
        raise ModelFileError(f"{path} is a folder; give an .onnx file")
    try:
        with path.open("rb") as file:
            first = file.read(1)
    except OSError as error:
        raise ModelFileError(f"cannot read the model {path}: {error.strerror}") from error
    if not first:
        raise ModelFileError(f"{path} is empty: the export or the copy failed; repeat it")


def read_model(path: Path) -> ModelProto:
    """Read an ONNX file, without the weights that it keeps in other files.

    Raises:
        ModelFileError: The file is missing, a folder, empty, damaged or not ONNX.
    """
    # Here, not at the top: the process that times models never gets here, and saves 0.2 s of CPU.
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    check_file(path)
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except DecodeError as error:
        raise ModelFileError(f"{path} {describe_damage(path)}") from error
    if not model.HasField("graph"):
        raise ModelFileError(f"{path} {describe_damage(path)}: it has no graph")
    if where := _invalid_text(model):
        raise ModelFileError(
            f"{path} is damaged: its {where} is not text in UTF-8; copy or export it again"
        )
    return model


def _invalid_text(message: Any) -> str:
    """Return the field of a protobuf message that is not UTF-8, such as "graph.name"; "": none is.

    What only people read is left out.
    """
    waiting: list[tuple[str, Any]] = [("", message)]
    while waiting:
        place, one = waiting.pop()
        for field, value in one.ListFields():
            if field.name in FOR_PEOPLE or field.type not in (TEXT, MESSAGE):
                continue
            name = f"{place}.{field.name}".lstrip(".")
            values = (
                [value] if isinstance(value, str | bytes) or hasattr(value, "ListFields") else value
            )
            if field.type == MESSAGE:
                waiting += [(name, inner) for inner in values]
            elif any(isinstance(text, bytes) for text in values):  # protobuf's for such a text
                return name
    return ""


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield all stored tensors: of the graph, its nodes, and their subgraphs."""
    for function in model.functions:
        yield from _tensors_of_nodes(function.node)
    yield from _tensors_of_graph(model.graph)


def _tensors_of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_of_nodes(graph.node)


def _tensors_of_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for graph in (attribute.g, *attribute.graphs):
            yield from _tensors_of_graph(graph)


def describe_damage(path: Path) -> str:
    """Describe a file that could not be parsed: a damaged ONNX file, or another format.

    Every ONNX writer known to us writes the field `ir_version`, with the tag byte 8, first.
    """
    with path.open("rb") as file:
        first = file.read(8)
    if first[:1] == b"\x08":
        return f"is damaged or truncated ({path.stat().st_size} bytes); copy or export it again"
    text = first.decode("ascii", "replace").partition("\n")[0]
    begins = f"'{text}'" if text.isascii() and text.isprintable() else f"bytes {first.hex(' ')}"
    return f"is not an ONNX file (it begins with {begins}); give a file that was exported to ONNX"


def external_files(path: Path, model: ModelProto) -> list[Path]:
    """Return the files next to `path` that hold weights of `model`, each once.

    Raises:
        ModelFileError: One of them is missing, too short, or not inside the folder of `path`.
    """
    ends: dict[str, int] = {}  # location -> number of bytes that are used
    for tensor in _tensors(model):
        if tensor.data_location == EXTERNAL:
            entry = {item.key: item.value for item in tensor.external_data}
            try:
                end = int(entry.get("offset", 0)) + int(entry.get("length", 0))
            except ValueError as error:
                raise ModelFileError(f"{path} {describe_damage(path)}") from error
            location = entry.get("location", "")
            ends[location] = max(end, ends.get(location, 0))
    return [_external_file(path, location, ends[location]) for location in sorted(ends)]


def _external_file(path: Path, location: str, end: int) -> Path:
    folder = path.resolve().parent
    file = (folder / location).resolve()
    if Path(location).is_absolute() or not file.is_relative_to(folder):
        raise ModelFileError(
            f"{path} refers to weights in {file}, outside its folder or by an absolute path; "
            "runtimes do not read those; export the model again"
        )
    if not file.is_file():
        raise ModelFileError(
            f"{path} refers to weights in {location}, which is not in its folder; copy both files"
        )
    if file.stat().st_size < end:
        raise ModelFileError(
            f"{path} refers to weights in {location}, which is truncated: it has "
            f"{file.stat().st_size} of {end} bytes; copy or export both files again"
        )
    return file


def changed_file(path: Path) -> str | None:
    """Return a warning if a model file is not the one that its study has on record.

    Args:
        path: Of a file. If it is of no study, there is no warning.
    """
    results_path = path.parent / "results.json"
    if not results_path.is_file() or not path.is_file():
        return None
    from kdtool.files import sha256_of  # most files are of no study
    from kdtool.results.study import load_results

    try:
        files = load_results(results_path).files
    except StudyError as error:
        return f"{path} cannot be compared with its study: {error}"
    stored = next((file.sha256 for *_, file in files if file.path == path.name), None)
    if stored is None or sha256_of(path) == stored:
        return None
    return (
        f"{path} was changed: it does not match its SHA-256 in {results_path}, which describes "
        f"another file; `kdtool export {path.parent}` writes it again"
    )


def model_opset(model: ModelProto) -> int:
    """Return the opset of the standard operators in `model`."""
    return max(
        (entry.version for entry in model.opset_import if entry.domain in _STANDARD), default=1
    )


_STANDARD = ("", "ai.onnx")  # two names of one domain
