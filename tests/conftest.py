"""Models and files that several tests use; nothing here needs torch."""

import os

# Tests run side by side, and their models are too small for threads to help.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Many tests start kdtool as a process: its packages are compiled once, as for users.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, settings
from nightly import IS_NIGHT
from onnx import TensorProto, helper, numpy_helper

# The suite draws the same examples in each run and has no time limit for one, so a clone passes or
# fails the same each time. tests/random_run.sh draws new examples.
_shared = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "database": None}
settings.register_profile("suite", derandomize=True, **_shared)
settings.register_profile(
    "random",
    max_examples=int(os.environ.get("KDTOOL_EXAMPLES", "10000")),
    print_blob=True,
    **_shared,
)
settings.load_profile("suite")

pytest_plugins = ["report_fixtures"]


def pytest_collection_modifyitems(items):
    """Begin with the files that take longest, so that no process works on one alone at the end."""
    if not IS_NIGHT:
        for item in items:
            if item.get_closest_marker("nightly"):
                item.add_marker(pytest.mark.skip(reason="tests/nightly.sh runs it"))
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def make_onnx(tmp_path):
    """A function that writes an ONNX file and returns its path."""

    def make(nodes, inputs, stored=None, outputs=("y",), opset=18, name="model.onnx"):
        """Nodes from `helper.make_node`; name -> (element type, dims); name -> array."""
        graph = helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info(name, *declared) for name, declared in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in (stored or {}).items()],
        )
        domains = {node.domain for node in nodes} - {""}
        opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
        path = tmp_path / name
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
        return path

    return make


@pytest.fixture
def tiny_onnx(make_onnx):
    """A classifier of raw pixels, as kdtool exports them: `(batch, 8, 8, 3)` uint8 to 4 classes.

    Parameters: 4 * 27 + 4 and 4 * 4 + 4, in all 132. MACs: 64 pixels * 4 * 27 + 4 * 4 = 6928.
    """
    generator = np.random.default_rng(0)
    weights = {
        "scale": np.array(1 / 255, np.float32),
        "mean": np.array([0.5, 0.4, 0.3], np.float32),
        "conv.weight": generator.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "conv.bias": np.zeros(4, np.float32),
        "linear.weight": generator.normal(size=(4, 4)).astype(np.float32),
        "linear.bias": np.zeros(4, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["input"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["cast", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "mean"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["image"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["image", "conv.weight", "conv.bias"], ["map"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["map"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "linear.weight", "linear.bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probs"]),
    ]
    inputs = {"input": (TensorProto.UINT8, ["batch", 8, 8, 3])}
    return make_onnx(nodes, inputs, weights, outputs=["logits", "probs"], name="tiny.onnx")
