import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from kdtool.edge.session import open_session
from kdtool.edge.timing import NUM_BLOCKS, Job, random_input, time_models, turns
from kdtool.errors import ModelFileError


def job(*paths, batch_size=1, seconds=0.02):
    names = [str(path) for path in paths]
    return Job(paths=names, threads=1, seconds=seconds, batch_size=batch_size, provider="cpu")


def test_every_model_gets_every_block_with_at_least_one_run(tiny_onnx):
    models, _ = time_models(job(tiny_onnx, tiny_onnx, seconds=1e-6))
    assert [len(runs.blocks_ns) for runs in models] == [NUM_BLOCKS, NUM_BLOCKS]
    assert all(min(block) > 0 for runs in models for block in runs.blocks_ns)


def test_models_take_turns_and_whoever_came_last_comes_first():
    assert list(turns(num_models=3, num_blocks=3)) == [0, 1, 2, 2, 1, 0, 0, 1, 2]


@pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="needs /proc/stat")
def test_busy_neighbour_is_noticed(tiny_onnx):
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        _, other_cores = time_models(job(tiny_onnx, seconds=0.5))
    finally:
        neighbour.kill()
        neighbour.wait()
    assert other_cores > 0.3


def test_garbage_collection_is_on_again_afterwards(tiny_onnx):
    time_models(job(tiny_onnx))
    assert gc.isenabled()


def test_random_images_have_the_declared_shape_and_range_and_are_the_same_each_time(tiny_onnx):
    first, again = (random_input(open_session(tiny_onnx), batch_size=50)["input"] for _ in "ab")
    assert first.shape == (50, 8, 8, 3)
    assert (first.dtype, first.min(), first.max()) == (np.uint8, 0, 255)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("elem_type", "dtype"), [(TensorProto.FLOAT, np.float32), (TensorProto.FLOAT16, np.float16)]
)
def test_floating_inputs_get_floating_noise(make_onnx, elem_type, dtype):
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)]
    images = random_input(open_session(make_onnx(nodes, {"x": (elem_type, ["n", 100])})), 3)["x"]
    assert (images.shape, images.dtype) == ((3, 100), dtype)
    assert 0 <= images.min() < 0.1
    assert 0.9 < images.max() <= 1


def test_every_input_of_a_model_is_fed(make_onnx):
    nodes = [helper.make_node("Add", ["x", "z"], ["y"])]
    path = make_onnx(nodes, {name: (TensorProto.FLOAT, ["n", 5]) for name in ("x", "z")})
    assert set(random_input(open_session(path), 1)) == {"x", "z"}
    time_models(job(path))


def test_inputs_that_are_no_images_are_refused(make_onnx):
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)]
    path = make_onnx(nodes, {"x": (TensorProto.INT64, ["n", 5])})
    with pytest.raises(ModelFileError, match=r"input 'x' is a tensor\(int64\)"):
        time_models(job(path))


def test_model_that_fails_when_it_runs_is_named(make_onnx):
    nodes = [helper.make_node("Reshape", ["x", "to"], ["y"])]
    path = make_onnx(nodes, {"x": (TensorProto.FLOAT, ["n", 5])}, {"to": np.array([7, 7])})
    with pytest.raises(ModelFileError, match="cannot run") as error:
        time_models(job(path))
    assert str(path) in str(error.value)
