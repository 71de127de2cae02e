"""A network in the form of ExecuTorch, computed by XNNPACK."""

from pathlib import Path

import torch
from torch import Tensor, nn

from kdtool.edge.targets.verify import cause
from kdtool.errors import GateError
from kdtool.train.export.onnx_file import silence


def write_executorch(network: nn.Module, example: Tensor, path: Path) -> None:
    """Write a network as a `.pte` file of one image a run.

    Args:
        network: On the CPU, in eval mode.
        example: An image as it takes it.
        path: Of the file.

    Raises:
        GateError: PyTorch or ExecuTorch cannot convert the network.
    """
    try:
        with torch.no_grad(), silence():
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower

            program = torch.export.export(network, (example,))
            lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            content = lowered.to_executorch().buffer
    except Exception as error:  # of a network of the user, or of one that it cannot convert
        raise GateError(f"its converter failed: {cause(str(error))}") from error
    path.write_bytes(content)
