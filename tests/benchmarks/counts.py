"""Compare kdtool's counts of ONNX files with those of PyTorch.

    uv run --extra timm python tests/benchmarks/counts.py [--size 224] [NETWORK...]

MACs are those of torch.utils.flop_counter, without the fast path of attention, which it counts as
0. Parameters are those of the module, less what the exporter folds: a BatchNorm after a convolution
or linear layer becomes its bias. Weights are random, also the biases: the exporter drops zeros.
Each network has four files: kdtool's own and its int8 form, both with an open batch, and what
torch.onnx.export writes with a fixed and with an open batch.
"""

import argparse
import contextlib
import io
import logging
import warnings

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kdtool.edge.count.graph import count_model
from kdtool.edge.int8.quantize import prepared, to_int8
from kdtool.edge.int8.ranges import measure_activations, min_max
from kdtool.errors import KdtoolError
from kdtool.train.export.onnx_file import make_onnx
from kdtool.train.models.networks import build_model

TORCHVISION = (
    "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "vit_b_16", "swin_t",
    "shufflenet_v2_x1_0", "regnet_y_400mf", "resnet50",
)  # fmt: skip
TIMM = (
    "edgenext_xx_small", "levit_128s", "resnetv2_50x1_bit", "mobilenetv4_conv_small",
    "ghostnet_100", "mobilevit_xxs", "fastvit_t8", "repvgg_a0", "efficientformer_l1", "tinynet_e",
    "deit_tiny_patch16_224", "mixer_s32_224", "convnextv2_atto", "poolformer_s12",
    "xcit_nano_12_p16_224",
)  # fmt: skip
NETWORKS = [f"torchvision:{name}" for name in TORCHVISION] + [f"timm:{name}" for name in TIMM]


def randomize(model):
    """Draw all parameters and statistics anew, so that the exporter drops none of them."""
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                # Near what they are, so that activations stay finite; never below 0 as a variance
                scale = 0.1 * tensor.abs().mean() + 1e-3
                tensor += scale * torch.rand(tensor.shape, generator=draws)
    return model


def macs_of(model, image):
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it is not counted
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
            model(image)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return flops.get_total_flops() // 2


NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)


def params_of(model, image):
    """Return the parameters that remain when BatchNorms are folded into the layers before them."""
    makers, folded, hooks = {}, 0, []

    def remember(layer, _, output):
        makers[id(output)] = (layer, output)  # the output is kept, so that its id stays its own

    def fold(norm, given, _):
        nonlocal folded
        layer, output = makers.get(id(given[0]), (None, None))
        if output is given[0]:
            folded += norm.num_features * (1 if layer.bias is None else 2)

    for part in model.modules():
        if isinstance(part, LAYERS):
            hooks.append(part.register_forward_hook(remember))
        elif isinstance(part, NORMS):
            hooks.append(part.register_forward_hook(fold))
    with torch.no_grad():
        model(image)
    for hook in hooks:
        hook.remove()
    return sum(parameter.numel() for parameter in model.parameters()) - folded


def written(model, image, *, is_open):
    """Return what torch.onnx.export writes, without kdtool."""
    image = image.repeat(2, 1, 1, 1) if is_open else image
    shapes = ({0: "batch"},) if is_open else None
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.onnx.export(
            model, (image,), dynamo=True, dynamic_shapes=shapes, verbose=False
        ).model_proto


def files_of(model, shape, num_classes, image):
    fp32 = make_onnx(model, shape, num_classes, 18)
    yield "fp32", fp32
    pixels = np.random.default_rng(0).integers(0, 256, (4, *shape[1:], shape[0]), np.uint8)
    ranges = min_max(measure_activations(prepared(fp32, "x86"), pixels))
    try:
        yield "int8", to_int8(fp32, ranges, "x86")
    except (KdtoolError, ValueError) as error:
        print(f"{'':36}int8: {error}", flush=True)
    yield "fixed", written(model, image, is_open=False)
    yield "open", written(model, image, is_open=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--size", type=int, default=224)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    shape = (3, args.size, args.size)
    print(f"{'network':36}{'file':7}{'parameters':>12}{'off':>8}{'MACs':>16}{'off':>12}  gaps")
    for name in args.networks:
        torch.manual_seed(0)
        model = randomize(build_model(name, shape, 1000, seed=0).eval())
        image = torch.rand(1, *shape)
        params, macs = params_of(model, image), macs_of(model, image)
        for form, file in files_of(model, shape, 1000, image):
            cost = count_model(file)
            gaps = ", ".join(cost.uncounted_ops)
            print(
                f"{name:36}{form:7}{params:12,}{cost.num_params - params:+8,}"
                f"{macs:16,}{cost.num_macs - macs:+12,}  {gaps or '-'}",
                flush=True,
            )


if __name__ == "__main__":
    main()
