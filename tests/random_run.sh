#!/usr/bin/env bash
# Run every property test with new random examples: tests/random_run.sh [EXAMPLES] [pytest options]
# The suite itself draws the same 100 examples of each property in every run (tests/conftest.py).
# A failure prints the falsifying example; keep it as a test of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
export KDTOOL_EXAMPLES="${1:-10000}"
uv run pytest -m hypothesis --hypothesis-profile=random --timeout=0 --dist=load "${@:2}"
