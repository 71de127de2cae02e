"""int8 files for tests that are not about how ranges are found."""

from kdtool.edge.int8.quantize import prepared, to_int8
from kdtool.edge.int8.ranges import measure_activations, min_max


def int8_of(model, images, target, kept_fp32=()):
    """Quantize a network with the least and greatest values of its activations on images."""
    activations = measure_activations(prepared(model, target), images)
    return to_int8(model, min_max(activations), target, kept_fp32)
