"""Parameters and multiply-accumulates of an ONNX file, read off its graph without running it."""

from dataclasses import dataclass
from math import prod
from pathlib import Path

from onnx import GraphProto, ModelProto, ValueInfoProto, inliner, shape_inference

from kdtool.edge.macs import Shapes, count_macs
from kdtool.edge.model_file import input_shape, read_model
from kdtool.edge.params import ElemTypes, count_params
from kdtool.errors import ModelFileError

# Shapes are inferred from the values of small tensors, such as the target of a Reshape. Larger ones
# are weights, whose values are dropped first: inference would copy them three times.
MAX_SHAPE_VALUES = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphCost:
    """What one forward pass of a batch costs, whatever the device."""

    num_params: int  # learned numbers
    num_bn_statistics: int  # running means and variances of BatchNorm, not among num_params
    num_macs: int  # of the whole batch; FLOPs = 2 x MACs
    uncounted_ops: tuple[str, ...]  # without a rule or known shapes

    @property
    def partial(self) -> bool:
        """Whether some operators are missing, so that both counts are lower bounds."""
        return bool(self.uncounted_ops)


def count_graph(path: Path, batch: int = 1) -> GraphCost:
    """Count the parameters and MACs of an ONNX file.

    Args:
        path: ONNX file; weights in files beside it are not read, their shapes are enough.
        batch: Images in a batch, where the file leaves that open.

    Raises:
        ModelFileError: No readable ONNX file, or one whose inputs have no fixed size.
    """
    model = read_model(path)
    try:
        graph, shapes = infer_shapes(model, batch)
    except (ModelFileError, shape_inference.InferenceError) as error:
        raise ModelFileError(f"cannot count {path}: {error}") from error
    num_params, num_bn_statistics = count_params(graph, shapes, _elem_types(graph))
    num_macs, uncounted_ops = count_macs(list(graph.node), shapes)
    return GraphCost(
        num_params=num_params,
        num_bn_statistics=num_bn_statistics,
        num_macs=num_macs,
        uncounted_ops=uncounted_ops,
    )


def infer_shapes(model: ModelProto, batch: int) -> tuple[GraphProto, Shapes]:
    """Return the graph of `model` for a fixed batch, and the shapes that could be inferred.

    Args:
        model: Is changed: large weights lose their values, and stored shapes, which are often stale
            after quantization, are dropped (onnxruntime issue 25890).
        batch: What a dynamic first dimension of an input is set to.

    Raises:
        ModelFileError: An input has no fixed size, or not this batch.
    """
    _drop_values(model.graph)
    if model.functions:  # what torch exports without optimization
        model = inliner.inline_local_functions(model)
    _fix_batch(model.graph, batch)
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: Shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = _declared_dims(value)
        known = tuple(dim for dim in dims or () if isinstance(dim, int))
        if dims is not None and len(known) == len(dims):
            shapes[value.name] = known
    return graph, shapes


def _drop_values(graph: GraphProto) -> None:
    del graph.value_info[:]
    for output in graph.output:
        output.ClearField("type")
    for tensor in graph.initializer:
        if prod(tensor.dims) > MAX_SHAPE_VALUES:
            for field in ("raw_data", "float_data", "int32_data"):
                tensor.ClearField(field)


def _fix_batch(graph: GraphProto, batch: int) -> None:
    stored = {tensor.name for tensor in graph.initializer}  # up to IR 3 they are inputs as well
    for value in graph.input:
        if value.name in stored:
            continue
        dims = _declared_dims(value)
        if dims is None:
            raise ModelFileError(f"input {value.name!r} has no shape; export with a fixed size")
        shape = input_shape(value.name, dims, batch)
        for dim, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            dim.dim_value = size


def _declared_dims(value: ValueInfoProto) -> list[int | str | None] | None:
    """Return the size or name of each dimension, None for neither; None for no shape at all."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
        for dim in tensor.shape.dim
    ]


def _elem_types(graph: GraphProto) -> ElemTypes:
    values = (*graph.input, *graph.value_info, *graph.output)
    elem_types = {value.name: value.type.tensor_type.elem_type for value in values}
    return elem_types | {tensor.name: tensor.data_type for tensor in graph.initializer}
