"""The operators of exported classifiers as functions of PyTorch, for `trainable.py`.

Each has the inputs and attributes of its operator, opset 18 and above, with the defaults of the
standard. Sizes and axes are tensors of whole numbers on the CPU.

Source: github.com/onnx/onnx, docs/Operators.md.
"""

# ruff: noqa: PLR0913 - as many arguments as an operator has attributes

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from kdtool.train.export.rounding import UnsupportedError, dequantize, quantize

FLOAT, INT64 = 1, 7  # onnx.TensorProto


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """Conv of images."""
    _two_sides(x)
    x, padding = _padded(x, pads, auto_pad, 0.0)
    stride, dilation = _pair(strides, 1), _pair(dilations, 1)
    return F.conv2d(x, weight, bias, stride, padding, dilation, group)


def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803
    transB: int = 0,  # noqa: N803
) -> Tensor:
    """Gemm."""
    product = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return product if c is None else product + beta * c


def max_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    storage_order: int = 0,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """MaxPool of images."""
    _two_sides(x)
    x, padding = _padded(x, pads, auto_pad, -math.inf)
    stride, dilation = _pair(strides, 1), _pair(dilations, 1)
    return F.max_pool2d(x, _pair(kernel_shape, 1), stride, padding, dilation, bool(ceil_mode))


def average_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """AveragePool of images."""
    _two_sides(x)
    top, left, bottom, right = pads or (0, 0, 0, 0)
    if auto_pad not in UNPADDED or (top, left) != (bottom, right) or {*(dilations or [1])} != {1}:
        raise UnsupportedError("auto_pad, uneven pads or dilations")
    kernel, stride = _pair(kernel_shape, 1), _pair(strides, 1)
    return F.avg_pool2d(x, kernel, stride, (top, left), bool(ceil_mode), bool(count_include_pad))


UNPADDED = {"NOTSET", "VALID"}


def _two_sides(x: Tensor) -> None:
    if x.ndim != 4:
        raise UnsupportedError(f"an input of {x.ndim} axes, not 4")


def _padded(
    x: Tensor, pads: Sequence[int] | None, auto_pad: str, value: float
) -> tuple[Tensor, tuple[int, int]]:
    """Return x, padded where its sides differ in it, and the padding that is left to do."""
    if auto_pad not in UNPADDED:
        raise UnsupportedError(f"auto_pad = {auto_pad}")
    top, left, bottom, right = pads or (0, 0, 0, 0)
    if (top, left) == (bottom, right):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=value), (0, 0)


def _pair(values: Sequence[int] | None, default: int) -> tuple[int, int]:
    first, second = values or (default, default)
    return first, second


def global_average_pool(x: Tensor) -> Tensor:
    """GlobalAveragePool."""
    return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


def batch_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> Tensor:
    """BatchNormalization by its running statistics."""
    if training_mode:
        raise UnsupportedError("training_mode")
    return F.batch_norm(x, mean, variance, scale, bias, eps=epsilon)


def layer_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Tensor:
    """LayerNormalization."""
    shape = list(x.shape[axis % x.ndim :])
    return F.layer_norm(x, shape, scale.expand(shape), None if bias is None else bias, epsilon)


def clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """Clip; its gradient is 1 at the ends of the range, as that of `torch.clamp`."""
    return x if low is None and high is None else torch.clamp(x, low, high)


def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """HardSigmoid."""
    return (alpha * x + beta).clamp(0, 1)


def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    """LeakyRelu."""
    return F.leaky_relu(x, alpha)


def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """Gelu."""
    return F.gelu(x, approximate=approximate)


def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Softmax."""
    return x.softmax(axis)


Reduce = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def reduction(function: Reduce) -> Callable[..., Tensor]:
    """Return the operator that reduces some axes by a function."""

    def reduce(
        x: Tensor,
        axes: Tensor | None = None,
        *,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Tensor:
        if axes is None and noop_with_empty_axes:
            return x
        dims = tuple(range(x.ndim)) if axes is None else tuple(axes.tolist())
        return function(x, dims, bool(keepdims))

    return reduce


def concat(*parts: Tensor, axis: int) -> Tensor:
    """Concat."""
    return torch.cat(parts, axis)


def split(
    x: Tensor, sizes: Tensor | None = None, *, axis: int = 0, num_outputs: int | None = None
) -> tuple[Tensor, ...]:
    """Split."""
    if sizes is not None:
        return torch.split(x, sizes.tolist(), axis)
    if num_outputs is None:
        raise UnsupportedError("neither sizes nor num_outputs")
    return torch.split(x, -(-x.shape[axis] // num_outputs), axis)


def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    """Flatten."""
    return x.reshape(math.prod(x.shape[:axis]), -1)


def reshape(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    """Reshape."""
    sides = shape.tolist()
    if not allowzero:
        sides = [x.shape[at] if side == 0 else side for at, side in enumerate(sides)]
    return x.reshape(sides)


def transpose(x: Tensor, *, perm: Sequence[int] | None = None) -> Tensor:
    """Transpose."""
    return x.permute(*(perm or reversed(range(x.ndim))))


def squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Squeeze."""
    return x.squeeze() if axes is None else x.squeeze(tuple(axes.tolist()))


def unsqueeze(x: Tensor, axes: Tensor) -> Tensor:
    """Unsqueeze."""
    rank = x.ndim + len(axes)
    for axis in sorted(one % rank for one in axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def cast(x: Tensor, *, to: int, saturate: int = 1) -> Tensor:
    """Cast to float32, or of sizes to int64."""
    if to not in (FLOAT, INT64):
        raise UnsupportedError(f"a cast to type {to}, not to float32 or int64")
    return x.float() if to == FLOAT else x.long()


def shape_of(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    """Shape."""
    return torch.tensor(x.shape[start:end], dtype=torch.int64)


def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Gather."""
    found = x.index_select(axis, indices.reshape(-1).to(x.device) % x.shape[axis])
    axis %= x.ndim
    return found.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def slice_of(
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    """Slice, forwards."""
    dims = range(len(starts)) if axes is None else axes.tolist()
    strides = [1] * len(starts) if steps is None else steps.tolist()
    if min(strides) < 1:
        raise UnsupportedError("a negative step")
    for dim, start, end, step in zip(dims, starts.tolist(), ends.tolist(), strides, strict=True):
        index = [slice(None)] * x.ndim
        index[dim] = slice(start, end, step)
        x = x[tuple(index)]
    return x


def pad(
    x: Tensor,
    pads: Tensor,
    value: Tensor | None = None,
    axes: Tensor | None = None,
    *,
    mode: str = "constant",
) -> Tensor:
    """Pad."""
    names = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
    if axes is not None or mode not in names:
        raise UnsupportedError(f"mode = {mode} or given axes")
    before, after = pads.reshape(2, -1).tolist()
    while before and mode != "constant" and before[0] == after[0] == 0 and len(before) > 2:
        before, after = before[1:], after[1:]  # PyTorch mirrors the last two axes of four
    widths = [width for pair in zip(before[::-1], after[::-1], strict=True) for width in pair]
    fill = {} if mode != "constant" else {"value": 0.0 if value is None else float(value)}
    return F.pad(x, widths, names[mode], **fill)


def resize(
    x: Tensor,
    region: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
    *,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    antialias: int = 0,
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
) -> Tensor:
    """Resize of the sides of images, linear; `input_size` of a recipe needs no other."""
    usual = coordinate_transformation_mode in {"half_pixel", "pytorch_half_pixel"}
    if mode != "linear" or not usual or antialias or x.ndim != 4:
        raise UnsupportedError(f"mode = {mode}, {coordinate_transformation_mode}")
    if sizes is not None and len(sizes):
        height, width = sizes.tolist()[2:]
    elif scales is not None:
        by_height, by_width = scales.tolist()[2:]
        height, width = int(x.shape[2] * by_height), int(x.shape[3] * by_width)
    else:
        raise UnsupportedError("neither sizes nor scales")
    return F.interpolate(x, (height, width), mode="bilinear", align_corners=False)


OPERATORS: dict[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    "Add": lambda x, y: x + y,
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Cast": cast,
    "Clip": clip,
    "Concat": concat,
    "Conv": conv,
    "DequantizeLinear": dequantize,
    "Div": lambda x, y: x / y,
    "Erf": lambda x: x.erf(),
    "Exp": lambda x: x.exp(),
    "Flatten": flatten,
    "Gather": gather,
    "Gelu": gelu,
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": F.hardswish,
    "Identity": lambda x: x,
    "LayerNormalization": layer_normalization,
    "LeakyRelu": leaky_relu,
    "Log": lambda x: x.log(),
    "MatMul": lambda x, y: x @ y,
    "MaxPool": max_pool,
    "Mul": lambda x, y: x * y,
    "PRelu": lambda x, slope: torch.where(x < 0, slope * x, x),
    "Pad": pad,
    "Pow": lambda x, y: x**y,
    "QuantizeLinear": quantize,
    "ReduceLogSumExp": reduction(lambda x, dims, keep: x.logsumexp(dims, keep)),
    "ReduceMax": reduction(lambda x, dims, keep: x.amax(dims, keep)),
    "ReduceMean": reduction(lambda x, dims, keep: x.mean(dims, keep)),
    "ReduceSum": reduction(lambda x, dims, keep: x.sum(dims, keep)),
    "Relu": lambda x: x.relu(),
    "Reshape": reshape,
    "Resize": resize,
    "Shape": shape_of,
    "Sigmoid": lambda x: x.sigmoid(),
    "Slice": slice_of,
    "Softmax": softmax,
    "Split": split,
    "Sqrt": lambda x: x.sqrt(),
    "Squeeze": squeeze,
    "Sub": lambda x, y: x - y,
    "Tanh": lambda x: x.tanh(),
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
