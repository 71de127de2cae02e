#!/usr/bin/env bash
# Below `uv run`, Ray uploads the working folder to the cluster and starts `uv run` for each worker, without being asked.
#
# ray 2.60.0, uv 0.13.9. `ray.init()` looks at the parent processes; if one is `uv run`, it sets the job's runtime
# environment: `working_dir` is the folder that the user is in, with data and outputs (an error above 500 MiB), and
# `py_executable` is `uv run` with its options, so that every worker first makes an environment, on nodes that need uv and a
# package index for it. The same script started as `.venv/bin/python` uploads nothing. RAY_ENABLE_UV_RUN_RUNTIME_ENV=0,
# set before `import ray`, turns it off; kdtool sets it.
#
# Seen: python: runtime environment {}
#       uv run: working_dir is uploaded, py_executable is uv run
#       uv run, RAY_ENABLE_UV_RUN_RUNTIME_ENV=0: runtime environment {}
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet uv==0.13.9
mkdir "$folder/project"
cd "$folder/project"
export HOME="$folder" RAY_USAGE_STATS_ENABLED=0
unset VIRTUAL_ENV UV_PROJECT_ENVIRONMENT
cat >pyproject.toml <<'TOML'
[project]
name = "seen"
version = "1"
requires-python = ">=3.11"
dependencies = ["ray==2.60.0"]
TOML
cat >ask.py <<'PY'
import sys

import ray

ray.init(address="local", num_cpus=1, object_store_memory=100_000_000, include_dashboard=False, logging_level="ERROR",
         _temp_dir=sys.argv[1])
found = dict(ray.get_runtime_context().runtime_env)
folder, executable = found.get("working_dir", ""), found.get("py_executable", "")
print(f"working_dir {folder[:7]}..., py_executable {executable.split()[0]} run" if folder else f"runtime environment {found}")
ray.shutdown()
PY
"$folder/env/bin/uv" sync --quiet
plain="$(.venv/bin/python ask.py "$folder/a" 2>/dev/null)"
below="$("$folder/env/bin/uv" run python ask.py "$folder/b" 2>/dev/null)"
off="$(RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 "$folder/env/bin/uv" run python ask.py "$folder/c" 2>/dev/null)"
printf 'python: %s\nuv run: %s\nuv run, turned off: %s\n' "$plain" "$below" "$off"
[[ "$plain" == "runtime environment {}" && "$off" == "runtime environment {}" ]]
[[ "$below" == working_dir*uv*run ]]
