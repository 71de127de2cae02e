"""Records of int8 files: how one was made, and the rungs that were tried for it.

Accuracy is in [0, 1]; intervals are 95 %.
"""

from typing import Literal

from pydantic import Field

from kdtool.results.base import Interval, Record


class Quantization(Record):
    """How an int8 file was made."""

    target: Literal["x86", "arm", "portable"]  # processors that the file is made for
    num_calibration: int  # training images that set the ranges of activations
    # How the range of an activation follows from its values on these images: from the least to the
    # greatest, or of that percentage of them
    calibration: str = "min-max"
    bias_corrected: bool = False  # biases make up for the mean error of each channel
    # Layers left in fp32 because the file lost too much on validation without them
    kept_fp32: list[str]
    # Its weights are not those of the fp32 file, which taught them. int8: they learned to compute
    # in 8 bits; fp32: they learned in fp32, on the same batches. None: they are
    fine_tuned: Literal["int8", "fp32"] | None = None


class Rung(Record):
    """One way to make the int8 file, and its accuracy on validation."""

    name: str  # what this rung adds to those before it, in words
    calibration: str  # as in `Quantization`
    bias_corrected: bool  # as in `Quantization`
    kept_fp32: list[str]  # layers left in fp32
    # As in `Quantization`; fp32 is the control of int8
    fine_tuned: Literal["int8", "fp32"] | None = None
    # Accuracy of this file - accuracy of the fp32 file, on validation; kept if at least -`max_drop`
    difference: float
    ci95: Interval  # paired
    num_validation: int  # validation images
    size_bytes: int  # of the file
    # Time of a file with these layers in fp32 / time of the fp32 file, measured in turn. None: not
    # measured here; the file that is kept has it in its `gate`
    time_ratio: float | None
    time_ratio_ci95: Interval | None  # of `time_ratio`
    passed: bool  # the loss on validation is at most `max_drop`: this file is kept


class SensitiveLayer(Record):
    """A layer that loses much by 8 bits."""

    name: str  # of its node in the file
    operator: str  # of ONNX
    # Signal to noise of the logits where only this layer is in 8 bits, in dB; 6 dB are one bit
    snr_db: float
    # Range of all values of its input / range of 99.99 % of them; far above 1: outliers
    input_outliers: float
    output_outliers: float  # the same of its output
    # Largest magnitude of a channel's weights: of the greatest channel / of the median one
    weight_spread: float


class Ladder(Record):
    """The rungs that were tried until a file kept its accuracy, and where accuracy is lost."""

    rungs: list[Rung]  # in order; the last one passed, or none did
    # Why quantization-aware distillation was not tried; None: it was, or was not needed
    left_out: str | None = None
    # With several rungs, at most five, the worst first
    worst_layers: list[SensitiveLayer] = Field(default=[])
