import time

import numpy as np
import pytest

from kdtool.edge.latency.job import random_input, time_block, warm_up
from kdtool.errors import ModelFileError


def test_block_lasts_as_long_as_asked_and_holds_every_run():
    runs_ns = time_block(lambda: time.sleep(0.002), seconds=0.05)
    assert min(runs_ns) >= 2e6
    assert sum(runs_ns[:-1]) < 0.05e9 <= 1.2 * sum(runs_ns)


def test_block_that_is_shorter_than_a_run_has_one():
    (run_ns,) = time_block(lambda: time.sleep(0.002), seconds=1e-6)
    assert run_ns >= 2e6


@pytest.mark.parametrize(("runs", "seconds"), [(7, 0), (1, 0.03)])
def test_warm_up_takes_at_least_the_given_runs_and_seconds(runs, seconds):
    calls = []
    started = time.perf_counter()
    warm_up(lambda: (calls.append(1), time.sleep(0.001)), runs, seconds)
    assert time.perf_counter() - started >= seconds
    assert runs <= len(calls) <= max(runs, 1000 * seconds)


def test_random_images_have_the_declared_shape_and_range_and_are_the_same_each_time():
    declared = {"input": (["n", 8, 8, 3], np.uint8)}
    first, again = (random_input(declared, 50, {})["input"] for _ in "ab")
    assert first.shape == (50, 8, 8, 3)
    assert (first.dtype, first.min(), first.max()) == (np.uint8, 0, 255)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_floating_inputs_get_floating_noise(dtype):
    images = random_input({"x": (["n", 100], np.dtype(dtype))}, 3, {})["x"]
    assert (images.shape, images.dtype) == ((3, 100), dtype)
    assert 0 <= images.min() < 0.1
    assert 0.9 < images.max() <= 1


def test_every_input_is_fed_and_given_shapes_close_open_ones():
    declared = {"x": (["n", 5], np.float32), "z": (["n", None, None], np.uint8)}
    feed = random_input(declared, 2, {"z": (3, 4)})
    assert {name: array.shape for name, array in feed.items()} == {"x": (2, 5), "z": (2, 3, 4)}


@pytest.mark.parametrize(
    "dtype", ["int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "bool"]
)
def test_other_integers_are_positions_that_every_table_has(dtype):
    noise = random_input({"x": (["n", 100], np.dtype(dtype)), "flag": ([], np.dtype(dtype))}, 1, {})
    assert set(np.unique(noise["x"])) == {0, 1}
    assert {name: (one.shape, one.dtype) for name, one in noise.items()} == {
        "x": ((1, 100), dtype), "flag": ((), dtype)
    }  # fmt: skip


@pytest.mark.parametrize("dtype", ["tensor(string)", np.dtype(np.complex64)])
def test_inputs_that_are_no_numbers_are_refused(dtype):
    with pytest.raises(ModelFileError, match=r"input 'x' has the type .*inputs of integers, bool"):
        random_input({"x": (["n", 5], dtype)}, 1, {})
