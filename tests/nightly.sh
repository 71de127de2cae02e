#!/usr/bin/env bash
# What a change does not wait for: the suite on each Python that is here, with the highest and the
# lowest packages that pyproject.toml allows; tests marked nightly, such as every command of the
# docs; random examples; kills; damages; mutants. Hours on two cores. tests/nightly.sh [FOLDER for the environments]
set -uo pipefail
cd "$(dirname "$0")/.."
folder="${1:-$(mktemp -d)}"
failed=()

try() { # NAME COMMAND...: run it, and remember if it fails
    echo "== $1"
    "${@:2}" || failed+=("$1")
}

environment() { # PYTHON RESOLUTION: make one, with all that the suite needs
    local place="$folder/$1-$2"
    uv venv --quiet --clear --python "$1" "$place" &&
        uv pip install --quiet --python "$place" --resolution "$2" --group dev \
            --editable ".[cpu,train,ncnn,tract]"
}

for python in 3.11 3.12 3.13 3.14; do
    if ! uv python find --quiet "$python" >/dev/null 2>&1; then
        echo "no Python $python here: not tested" >&2
        continue
    fi
    for resolution in highest lowest-direct; do
        name="$python, $resolution packages"
        if environment "$python" "$resolution"; then
            try "$name" "$folder/$python-$resolution/bin/pytest"
        else
            failed+=("$name: no environment")
        fi
    done
done

KDTOOL_NIGHTLY=1 try "the tests that a change does not wait for" uv run pytest -m nightly
try "with Ray and parquet" uv run --extra ray --extra parquet pytest \
    tests/train/pipeline/parallel tests/train/data/files
try "random examples" tests/random_run.sh 10000
try "kills" uv run python tests/reliability/kills.py --kills 1000
try "a study to damage" uv run kdtool distill recipes/digits.toml
if [ ! -e runs/digits/kit ]; then
    try "its folders" uv run kdtool export runs/digits --kit --card --for ort,tract
fi
for command in verify export explain; do
    try "damages met by $command" \
        uv run python tests/reliability/damage.py runs/digits --command "$command"
done
try "a machine that fails" uv run python tests/reliability/faults.py
try "mutants" uv run python tests/reliability/mutants.py --count 100000

if [ "${#failed[@]}" -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
