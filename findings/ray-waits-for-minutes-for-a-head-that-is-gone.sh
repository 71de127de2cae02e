#!/usr/bin/env bash
# `ray.init(address="HOST:PORT")` waits for minutes where nothing listens, and SIGTERM does not end it.
#
# ray 2.60.0. A closed port refuses the connection at once, yet `ray.init` tries on, without a word at the default level of
# its log: three minutes and more were seen. So does `ray.init(address="auto")` where the file of the last cluster
# (ray_current_cluster in Ray's temporary folder) names a head that was killed, and `ray start --address`. The process
# sits in C++ and ends by SIGKILL only: `timeout 30` waits as long as Ray does. `ray://HOST:PORT` gives up after 30 s. A
# connection by `socket.create_connection` first says so at once; kdtool makes one.
#
# Seen: after 45 s: no error yet; SIGTERM: still running after 10 s
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet uv==0.13.9
"$folder/env/bin/uv" pip install --quiet --python "$folder/env/bin/python" ray==2.60.0
export HOME="$folder" RAY_USAGE_STATS_ENABLED=0
status=0
timeout --kill-after=10 45 "$folder/env/bin/python" - >"$folder/log" 2>&1 <<'PY' || status=$?
import socket

import ray

with socket.socket() as one:  # a port that nothing listens at
    one.bind(("127.0.0.1", 0))
    port = one.getsockname()[1]
ray.init(address=f"127.0.0.1:{port}")
PY
grep -q Traceback "$folder/log" && echo "ray.init raised within 45 s" && exit 1
echo "after 45 s: no error yet; SIGTERM: $([[ $status == 137 ]] && echo "still running after 10 s" || echo "ended, status $status")"
[[ $status == 137 ]]
