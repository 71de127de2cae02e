#!/usr/bin/env bash
# Importing onnxruntime on Linux writes an identifier of the device into the user's home, and the function that switches
# telemetry off comes too late for it.
#
# onnxruntime 1.32.0 from PyPI. Running one model leaves `deviceid` and a database under `~/.cache/Microsoft/DeveloperTools/.onnxruntime`
# and has one thread more than without. The documented `onnxruntime.disable_telemetry_events()`, called as the first thing after the
# import, changes neither. The environment variable ORT_DISABLE_TELEMETRY=1, set before the import, prevents both; so does
# CI=true, which is why a test on a build server does not see what happens on the device.
#
# Seen: nothing set: 2 files; disable_telemetry_events(): 2 files; ORT_DISABLE_TELEMETRY=1: none, one thread less;
#       CI=true: none, one thread less
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import os
import sys

import onnxruntime as ort

if sys.argv[1] == "call":
    ort.disable_telemetry_events()

from onnx import TensorProto, helper

values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
options = ort.SessionOptions()
options.intra_op_num_threads = 1
ort.InferenceSession(model.SerializeToString(), options).run(None, {"x": [1.0]})
print(len(os.listdir("/proc/self/task")))
PY
seen() { # NAME ARGUMENT SETTING: files left in a new home, and threads
    mkdir "$folder/home-$1"
    threads="$(env -u CI -u ORT_DISABLE_TELEMETRY -u XDG_CACHE_HOME HOME="$folder/home-$1" "$3" \
        OPENBLAS_NUM_THREADS=1 "$folder/env/bin/python" "$folder/run.py" "$2")"
    files="$(find "$folder/home-$1" -type f | wc -l)"
    echo "$1: $files files, $threads threads"
}
seen plain none NOTHING=set
[ "$files" = 2 ]
[ -s "$folder/home-plain/.cache/Microsoft/DeveloperTools/.onnxruntime/deviceid" ]
usual="$threads"
seen call call NOTHING=set
[ "$files" = 2 ] && [ "$threads" = "$usual" ]
seen variable none ORT_DISABLE_TELEMETRY=1
[ "$files" = 0 ] && [ "$threads" -lt "$usual" ]
seen ci none CI=true
[ "$files" = 0 ] && [ "$threads" -lt "$usual" ]
