"""Time students one after the other, and as tasks of Ray on this machine.

    uv run --extra ray python tests/benchmarks/cluster.py --root DIR

DIR contains the four files of MNIST; without it, 5,000 digits replace them. Both ways train the
controls of the same recipe by the command itself, in folders of their own, in turns: one after the
other with `--jobs 1`, which uses all cores, and with `--cluster local`, one core each. The start
of everything is part of the time; the times for one epoch show how long it is.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

RECIPE = """
name = "cluster"
seeds = {seeds}
[data]
source = "mnist"
{root}
offline = "mnist-5k"
[teacher]
model = "mnist-cnn"
[student]
model = "mnist-mlp"
epochs = {epochs}
min_steps = 0
"""
WAYS = {"one after the other": ["--jobs", "1"], "Ray": ["--cluster", "local"]}


def seconds(recipe, folder, options):
    """Train the controls in a new folder; return the seconds that the command took."""
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "kdtool", "finetune", str(recipe), "--role", "student"]
    began = time.perf_counter()
    subprocess.run(
        [*command, "--out", str(folder), "--quiet", *options], check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder of the four files of MNIST")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--times", type=int, default=5)
    arguments = parser.parse_args()
    root = f'root = "{arguments.root.resolve()}"' if arguments.root else ""
    with tempfile.TemporaryDirectory() as folder:
        recipe, out = Path(folder) / "recipe.toml", Path(folder) / "runs"

        def write(epochs):
            seeds = list(range(arguments.seeds))
            recipe.write_text(RECIPE.format(seeds=seeds, root=root, epochs=epochs))

        write(epochs=1)
        starts = {name: seconds(recipe, out, options) for name, options in WAYS.items()}
        write(arguments.epochs)
        rounds = [
            {name: seconds(recipe, out, options) for name, options in WAYS.items()}
            for _ in range(arguments.times)
        ]
    print(
        f"{arguments.seeds} students mnist-mlp, {arguments.epochs} epochs, "
        f"{len(os.sched_getaffinity(0))} cores; with one epoch: "
        + ", ".join(f"{name} {taken:.1f} s" for name, taken in starts.items())
    )
    first = next(iter(WAYS))
    for name in WAYS:
        times = [one[name] for one in rounds]
        ratios = sorted(one[first] / one[name] for one in rounds)
        print(
            f"{name:20} {median(times):7.1f} s  {median(ratios):4.2f} times as fast  "
            f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        )


if __name__ == "__main__":
    main()
