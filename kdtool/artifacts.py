"""Records of the files that can be shipped, and of what was checked before they may be."""

from typing import Literal

from kdtool.profiles import Latency
from kdtool.record import Interval, Record

Precision = Literal["fp32", "fp16", "int8"]
FP16_USE = (
    "fp16 halves the size; on processors without fp16 arithmetic it is slower, it is meant for GPUs"
)


class Parity(Record):
    """Whether a file gives what PyTorch gave, over the whole test split."""

    num_images: int
    agreement: float  # share of the images with the same top-1 class
    max_abs_error: float | None  # of the logits; None: some are no number
    flipped: list[int]  # test images whose top-1 class differs
    passed: bool | None  # None: int8 and fp16 need not agree, they have a `Gate`


class Exportable(Record):
    """A model that can be written as ONNX."""

    ir_version: int
    opset: int


class Quantization(Record):
    """How an int8 file was made."""

    target: Literal["x86", "arm", "portable"]
    num_calibration: int  # training images whose activations set the ranges
    kept_fp32: list[str]  # nodes that were left as they were, because the drop was too large else


class Gate(Record):
    """Whether a smaller file should be shipped instead of the fp32 file."""

    difference: float  # accuracy of what this file calls - of what the fp32 file calls, on test
    ci95: Interval
    mcnemar_p: float  # exact
    max_drop: float  # what the lower end of `ci95` must stay above minus of
    time_ratio: float  # time of this file / time of the fp32 file, measured in turn
    time_ratio_ci95: Interval
    recommended: bool
    reason: str  # in words, with figures


class FileResult(Record):
    """A model file that can be shipped."""

    path: str  # relative to the study
    sha256: str
    size_bytes: int
    opset: int
    accuracy: float  # on the test images, of the class that the file calls
    parity: Parity  # with PyTorch
    quantization: Quantization | None = None  # of int8
    gate: Gate | None = None  # of int8 and fp16
    latency: Latency | None = None  # None: not measured
    temperature: float = 1.0  # divides the logits inside the file; see `export.calibrate`


class SpeedResult(Record):
    """Latency of the files of a study, measured in turn."""

    latency: dict[str, Latency]  # by path
    ratios: dict[str, tuple[float, Interval]]  # path of int8 or fp16 -> time / time of fp32
