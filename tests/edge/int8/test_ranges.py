"""Ranges of activations, against NumPy on all values at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from int8_networks import IMAGES, as_model, loud_channel, plain, run
from onnx import helper, numpy_helper

from kdtool.edge.int8.quantize import prepared, to_int8
from kdtool.edge.int8.ranges import (
    NUM_BINS,
    histogram,
    measure_activations,
    min_max,
    percentile,
)
from kdtool.errors import KdtoolError

MODEL = prepared(plain(), "x86")
ACTIVATIONS = measure_activations(MODEL, IMAGES)


def test_the_whole_range_is_that_of_all_values(tmp_path):
    values = run(MODEL, tmp_path, names=list(ACTIVATIONS))
    for (name, (low, high)), array in zip(min_max(ACTIVATIONS).items(), values, strict=True):
        assert (low, high) == pytest.approx((array.min(), array.max()), rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize("percent", [51.3, 99.03, 99.93, 99.99, 100])
def test_a_percentile_is_numpys_within_one_bin(tmp_path, percent):
    values = run(MODEL, tmp_path, names=list(ACTIVATIONS))
    outside = (100 - percent) / 2
    for name, array in zip(ACTIVATIONS, values, strict=True):
        bins, (low, high) = ACTIVATIONS[name].width, percentile(ACTIVATIONS, percent)[name]
        assert bins <= 2 * np.abs(array).max() / (NUM_BINS // 2)
        ends = np.percentile(array, [outside, 100 - outside], method="inverted_cdf")
        assert np.abs(np.subtract((low, high), ends)).max() <= bins * 1.01, name
        assert ((array >= low - bins) & (array <= high + bins)).mean() >= percent / 100


SCALES = st.sampled_from([0, 1e-30, 1e-12, 0.3, 1, 2, 7.5, 1e6])
PARTS = st.lists(st.tuples(SCALES, st.integers(1, 40), st.integers(0, 99)), min_size=1, max_size=5)


@given(PARTS)
def test_the_order_of_the_images_does_not_matter(parts):
    """Bins that grow with the values hold what bins of the final width would."""
    arrays = [
        (scale * np.random.default_rng(seed).normal(size=num)).astype(np.float32)
        for scale, num, seed in parts
    ]
    whole = histogram(np.concatenate(arrays))
    for order in (arrays, arrays[::-1]):
        first, *others = map(histogram, order)
        joined = sum(others, first)
        assert (joined.lowest, joined.highest) == (whole.lowest, whole.highest)
        assert joined.width == whole.width
        np.testing.assert_array_equal(joined.counts, whole.counts)


@pytest.mark.parametrize("value", [0, 7, 255])
@pytest.mark.parametrize("target", ["x86", "arm", "portable"])
@pytest.mark.parametrize("make", [min_max, lambda one: percentile(one, 99.99)])
def test_images_that_are_all_equal_give_sane_scales(tmp_path, value, target, make):
    """Activations of a single value, 0 among them."""
    images = np.full_like(IMAGES[:5], value)
    source = prepared(plain(), target)
    int8 = to_int8(source, make(measure_activations(source, images)), target)
    scales = [
        numpy_helper.to_array(one) for one in int8.graph.initializer if one.name.endswith("scale")
    ]
    assert all(np.isfinite(scale).all() and (scale > 0).all() for scale in scales)
    (expected,), (given,) = (run(one, tmp_path, images) for one in (source, int8))
    assert np.abs(given - expected).max() < 0.1 * max(1, np.abs(expected).max())


def test_a_value_that_is_not_finite_is_an_error():
    model = plain()
    for one in model.graph.initializer:
        if one.name == "conv3_b":
            one.CopyFrom(numpy_helper.from_array(np.full(12, np.nan, np.float32), one.name))
    with pytest.raises(KdtoolError, match=r"not finite in 'conv3_y' of the network on a calibr"):
        measure_activations(prepared(model, "x86"), IMAGES[:2])


def test_a_network_without_a_layer_is_an_error():
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=1),
        helper.make_node("ReduceMean", ["floats"], ["logits"], keepdims=0),
    ]
    with pytest.raises(KdtoolError, match=r'without a convolution or linear .* remove "int8" from'):
        prepared(as_model(nodes, {}, outputs=("logits",)), "x86")


def test_outliers_of_a_channel_are_within_the_percentile():
    """A channel is more than 0.01 % of the values: percentiles cannot help."""
    activations = measure_activations(prepared(loud_channel(), "x86"), IMAGES)
    _, whole = min_max(activations)["conv2_out"]
    _, usual = percentile(activations, 99.99)["conv2_out"]
    assert usual > 0.5 * whole
