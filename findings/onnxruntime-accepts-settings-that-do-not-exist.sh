#!/usr/bin/env bash
# onnxruntime accepts names of settings that it does not have, and values that mean nothing, without an error or a warning.
#
# onnxruntime 1.32.0. A misspelled key of add_session_config_entry or RunOptions.add_run_config_entry, or a misspelled
# optimizer that disabled_optimizers should switch off, does nothing and says nothing. A latency is then measured with the
# defaults, or an int8 layer that was kept in fp32 is rounded all the same, while the script states the opposite. Only
# attributes of SessionOptions are checked. Look at the effect: the optimized graph, or the profile.
#
# Seen, of a graph with two Identity nodes: 0 are left by default, 2 with disabled_optimizers=["EliminateIdentity"], and
#       0 with ["EliminateIdentities"], which does not exist; three other wrong settings: accepted
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
export ORT_DISABLE_TELEMETRY=1
"$folder/env/bin/python" - <<'PY'
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

nodes = [helper.make_node("Identity", [a], [b]) for a, b in ("ab", "bc")]
nodes.append(helper.make_node("Relu", ["c"], ["d"]))
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "ad"]
graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), "model.onnx")
CPU = ["CPUExecutionProvider"]


def identities(*disabled):
    """Return how many Identity nodes are left where these optimizers should not run."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = "optimized.onnx"
    ort.InferenceSession("model.onnx", options, CPU, disabled_optimizers=disabled)
    return sum(node.op_type == "Identity" for node in onnx.load("optimized.onnx").graph.node)


left = identities(), identities("EliminateIdentity"), identities("EliminateIdentities")
print("Identity nodes: by default {}, right name {}, wrong name {}".format(*left))
assert left == (0, 2, 0)

options, run = ort.SessionOptions(), ort.RunOptions()
options.add_session_config_entry("session.intra_op.allow_spining", "0")  # allow_spinning
options.add_session_config_entry("session.intra_op.allow_spinning", "never")  # 0 or 1
run.add_run_config_entry("memory.enable_memory_arena_shrinkadge", "cpu:0")  # shrinkage
session = ort.InferenceSession("model.onnx", options, CPU)
assert session.run(None, {"a": np.ones(4, np.float32)}, run)[0].tolist() == [1, 1, 1, 1]
print("three other wrong settings: accepted")
PY
