"""Time what `kdtool profile` takes in addition to its measurements.

    uv run python tests/benchmarks/profile_overhead.py [--times 5] MODEL.onnx

Its measurements are loading and first run of each round, warm-up, timed blocks and
the matrix rate. The rest is starting Python, imports, counting, starting processes and the tables.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from kdtool.edge.latency import driver, measure

SECONDS = 3.0


def wall_and_measuring(path):
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "kdtool", "profile", str(path), "--seconds", str(SECONDS), "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    wall = time.perf_counter() - started
    latency = json.loads(done.stdout)["models"][0]["latency"]
    run = latency["p50_ms"] / 1e3
    first, again = (max(s, n * run) for n, s in (driver.WARM_UP, driver.WARM_UP_AGAIN))
    opening = driver.NUM_ROUNDS * (latency["load_ms"] + latency["first_run_ms"]) / 1e3
    rate = measure.WARM_UP[1] + measure.SECONDS
    warm_up = first + (driver.NUM_ROUNDS - 1) * again
    return wall, SECONDS + opening + warm_up + rate


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--times", type=int, default=5)
    arguments = parser.parse_args()
    overheads = []
    for _ in range(arguments.times):
        wall, measuring = wall_and_measuring(arguments.model)
        overheads.append(wall - measuring)
        print(f"wall {wall:.2f} s  measuring {measuring:.2f} s  overhead {overheads[-1]:.2f} s")
    print(f"median overhead {statistics.median(overheads):.2f} s")


if __name__ == "__main__":
    main()
