"""int8 files for tests that are not about how ranges are found."""

import pytest

from kdtool.edge.int8.quantize import prepared, to_int8
from kdtool.edge.int8.ranges import measure_activations, min_max
from kdtool.edge.int8.saturation import saturation

# Files for x86 are computed as they are written only where no sum is cut off.
x86_sums = pytest.mark.skipif(saturation("", "x86") is not None, reason="a processor without VNNI")


def int8_of(model, images, target, kept_fp32=()):
    """Quantize a network with the least and greatest values of its activations on images."""
    activations = measure_activations(prepared(model, target), images)
    return to_int8(model, min_max(activations), target, kept_fp32)
