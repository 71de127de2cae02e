"""Parameters and multiply-accumulates of a PyTorch model, by two counting rules."""

import copy
import warnings

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kdtool.edge.count.graph import GraphCost, count_graph
from kdtool.results.study import Cost
from kdtool.train.models.networks import ImageShape
from kdtool.train.models.onnx_teacher import OnnxTeacher

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it uses distutils
    import thop


def count(model: nn.Module, image_shape: ImageShape) -> Cost:
    """Count the cost of one image in `model`, which stays unchanged.

    `num_macs` counts convolutions, linear layers and attention, as papers do. thop adds 4 for each
    element of a BatchNorm and one for each pooled input, and skips layers that it does not know.

    Args:
        model: Takes `(B, C, H, W)` float32; of an ONNX file, its graph is counted.
        image_shape: C, H, W.
    """
    for part in model.modules():
        if isinstance(part, OnnxTeacher):
            return count_file(part)
    # A copy, as thop adds buffers and changes the mode of layers. Without gradients, as PyTorch's
    # FlopCounterMode fails on a learned token that is expanded to the batch and passed to a layer.
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    image = torch.zeros(1, *image_shape)
    num_macs = _macs(model, image)
    num_params = sum(parameter.numel() for parameter in model.parameters())
    thop_macs, thop_params = thop.profile(model, inputs=(image,), verbose=False)
    return Cost(
        num_params=num_params,
        num_macs=num_macs,
        num_flops=2 * num_macs,
        thop_macs=int(thop_macs),
        thop_params=int(thop_params),
    )


def count_file(teacher: OnnxTeacher) -> Cost:
    """Count the cost of one image in an ONNX file, which thop cannot read."""
    cost = graph_cost(teacher)
    num_macs = cost.num_macs // (teacher.input.batch or 1)
    return Cost(
        num_params=cost.num_params,
        num_macs=num_macs,
        num_flops=2 * num_macs,
        params_at_least=cost.params_at_least,
        macs_at_least=cost.macs_at_least,
        thop_macs=None,
        thop_params=None,
    )


def graph_cost(teacher: OnnxTeacher) -> GraphCost:
    """Count the cost of one batch in an ONNX file: of one image if its batch size is dynamic."""
    taken, channels = teacher.input, teacher.input.channels
    height, width = taken.size or teacher.image_shape[1:]
    shape = (height, width, channels) if taken.channels_last else (channels, height, width)
    return count_graph(teacher.path, taken.batch or 1, {taken.name: shape})


def _macs(model: nn.Module, image: torch.Tensor) -> int:
    # The fused CPU kernels of attention are counted as 0 (pytorch/pytorch#195460).
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
            model(image)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return int(flops.get_total_flops()) // 2
