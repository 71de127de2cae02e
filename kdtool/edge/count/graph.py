"""Count parameters and multiply-accumulates (MACs) of an ONNX file, without running it."""

from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from kdtool.edge.count.infer import infer_shapes
from kdtool.edge.count.macs import count_macs
from kdtool.edge.count.params import count_params
from kdtool.edge.model_file import read_model
from kdtool.edge.shapes import GivenShapes
from kdtool.errors import ModelFileError


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphCost:
    """The cost of one forward pass of a batch, independent of the device."""

    num_params: int  # learned numbers
    num_bn_statistics: int  # running means and variances of BatchNorm, not in num_params
    num_macs: int  # of the whole batch; FLOPs = 2 x MACs
    uncounted_params: tuple[str, ...]  # operators with parameters that are not counted
    uncounted_macs: tuple[str, ...]  # operators without a rule or known shapes

    @property
    def params_at_least(self) -> bool:
        """Whether `num_params` is a lower bound."""
        return bool(self.uncounted_params)

    @property
    def macs_at_least(self) -> bool:
        """Whether `num_macs` is a lower bound."""
        return bool(self.uncounted_macs)

    @property
    def uncounted_ops(self) -> tuple[str, ...]:
        """All operators of which something is not counted."""
        return tuple(sorted({*self.uncounted_params, *self.uncounted_macs}))


def count_graph(path: Path, batch: int = 1, shapes: GivenShapes | None = None) -> GraphCost:
    """Count the parameters and MACs of an ONNX file.

    Args:
        path: ONNX file; weights in other files are not read; their shapes are enough.
        batch: Images in a batch, if the file has a dynamic batch.
        shapes: Shapes of inputs with dynamic dimensions.

    Raises:
        ModelFileError: Not a readable ONNX file, inputs with shapes neither fixed nor given, or
            operators that form a circle.
    """
    model = read_model(path)
    try:
        return count_model(model, batch, shapes)
    except ModelFileError as error:
        raise ModelFileError(f"cannot count {path}: {error}") from error


def count_model(model: ModelProto, batch: int = 1, shapes: GivenShapes | None = None) -> GraphCost:
    """Count a model in memory, as `count_graph` does; `model` is not changed.

    Raises:
        ModelFileError: As in `count_graph`.
    """
    graph = infer_shapes(model, batch, shapes)
    params = count_params(graph)
    num_macs, uncounted = count_macs(graph.nodes, graph.shapes)
    return GraphCost(
        num_params=params.num_params,
        num_bn_statistics=params.num_statistics,
        num_macs=num_macs,
        uncounted_params=tuple(sorted(params.uncounted)),
        uncounted_macs=tuple(sorted(uncounted)),
    )
