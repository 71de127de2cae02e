"""Time two ranks of torchrun against one, where each uses one core.

    uv run python tests/benchmarks/ranks.py --root DIR

DIR contains the four files of MNIST; without it, 5,000 digits replace them. Whole trainings, with
validation, are timed in turn in the same processes: rank 0 alone while the others wait, then all
together on the same batches.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

import torch
from torch.nn import functional as F

from kdtool.recipe.data import MnistTable
from kdtool.recipe.training import TrainTable
from kdtool.terminal.progress import Terminal
from kdtool.train.data.splits import load_splits
from kdtool.train.fit.batches import Training
from kdtool.train.fit.loop import fit
from kdtool.train.models.networks import build_model
from kdtool.train.ranks.group import ALONE
from kdtool.train.ranks.join import connected, join
from kdtool.train.ranks.launched import launched
from kdtool.train.reporter import Silent


def seconds(splits, arguments, ranks):
    """Train once; return seconds, those of this process on a core, and the validation loss."""
    table = TrainTable(
        model=arguments.model,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        min_steps=0,
        precision=arguments.precision,
    )
    model = build_model(table.model, splits.result.image_shape, len(splits.classes), seed=0)

    def loss(logits, batch):
        return F.cross_entropy(logits, batch.targets)

    with TemporaryDirectory() as folder:
        began, worked = time.perf_counter(), time.process_time()
        result, _ = fit(
            model,
            splits,
            Training(table, 0, ranks=ranks),
            loss,
            Path(folder) / "state.pt",
            lambda _done, _text: None,
            Silent().warn,
        )
        took = time.perf_counter() - began, time.process_time() - worked
        return *took, result.epochs[-1].validation_loss


def spread(ratios):
    low, middle, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def measure(arguments):
    """Run on each rank; rank 0 prints."""
    place = launched()
    ranks = join(place, "cpu", connected(place, first=True))
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[place.number % len(cores)]})
    terminal = Terminal(quiet=not ranks.leads)
    table = MnistTable(source="mnist", root=arguments.root, offline="mnist-5k")
    splits = load_splits(table, terminal.warn, terminal.progress)
    ratios, of_cores = [], []
    for number in range(arguments.times + 1):  # the first is not counted
        alone = seconds(splits, arguments, ALONE) if ranks.leads else None
        ranks.gathered(None)
        together = seconds(splits, arguments, ranks)
        slowest = max(ranks.gathered(together[1]))
        if ranks.leads and number:
            ratios.append(alone[0] / together[0])
            of_cores.append(alone[1] / slowest)
            losses = " and ".join(f"{one[-1]:.4f}" for one in (alone, together))
            print(f"{alone[0]:.2f} s alone, {together[0]:.2f} s together, losses {losses}")
    if ranks.leads:
        print(
            f"{arguments.model}, batches of {arguments.batch_size}, {arguments.precision}: "
            f"{ranks.count} ranks are {spread(ratios)} times as fast as one; by the time on a core "
            f"alone, without waiting, {spread(of_cores)} ({len(ratios)} pairs)"
        )
    ranks.dismiss()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder of the four files of MNIST")
    parser.add_argument("--model", default="mnist-cnn")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--times", type=int, default=7)
    arguments = parser.parse_args()
    if launched() is None:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        number = ["--nproc-per-node", str(arguments.ranks)]
        env = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
        subprocess.run([*launcher, *number, *sys.argv], env=env, check=True)
    else:
        measure(arguments)


if __name__ == "__main__":
    main()
