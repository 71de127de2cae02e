"""Time students one after the other, in several processes, and all in one batched pass.

    uv run python tests/benchmarks/parallel_sweep.py --root DIR

DIR contains the four files of MNIST; without it, 5,000 digits replace them. One after the other,
students use all cores; in P processes, each its share; the batched pass stacks the weights of all
students (torch.func.vmap) and uses all cores again. The three are timed in turns, on warm
processes: the seconds to start one are printed separately.
"""

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import torch
from torch.func import functional_call, stack_module_state, vmap

from kdtool.recipe.data import MnistTable
from kdtool.recipe.training import TrainTable
from kdtool.terminal.progress import Terminal
from kdtool.train.data.splits import load_splits
from kdtool.train.fit.batches import Training, batch_maker, batches, steps_per_epoch
from kdtool.train.fit.loop import Passes, training_step
from kdtool.train.fit.losses import distillation_loss
from kdtool.train.fit.optimizer import make_optimizer, phases_of, rates
from kdtool.train.models.device import autocast, choose_precision
from kdtool.train.models.networks import build_model
from kdtool.train.models.predict import channels_last_input

CPU = torch.device("cpu")


class Work:
    """The data, made-up answers of a teacher, and the students; one in each process."""

    def __init__(self, arguments, num_threads):
        torch.set_num_threads(num_threads)
        table = MnistTable(source="mnist", root=arguments.root, offline="mnist-5k")
        terminal = Terminal()
        splits = load_splits(table, terminal.warn, terminal.progress)
        self.train, self.shape = splits.train, splits.result.image_shape
        self.num_classes, self.steps = len(splits.classes), arguments.steps
        self.table = TrainTable(model=arguments.model)
        self.precision = choose_precision("auto", CPU, self.model(0))
        torch.manual_seed(0)
        self.targets = 5 * torch.randn(len(self.train), self.num_classes)

    def loss(self, logits, labels, index):
        return distillation_loss(logits, self.targets[index], labels, self.num_classes, 4.0, 0.9)

    def model(self, seed):
        model = build_model(self.table.model, self.shape, self.num_classes, seed)
        return model.to(memory_format=torch.channels_last).train()

    def batches(self, seed):
        torch.manual_seed(seed)
        return islice(cycle(batches(self.train, self.table.batch_size)), self.steps)

    def one(self, seed):
        """Train one student as kdtool does."""
        model = self.model(seed)
        (phase,) = phases_of(self.table, len(self.train))

        def batch_loss(logits, batch):
            return self.loss(logits, batch.targets, batch.index)

        step = training_step(
            model,
            make_optimizer(model, self.table, phase, self.num_classes),
            batch_maker(self.train, Training(self.table, seed), self.num_classes),
            batch_loss,
            rates(phase, 0, steps_per_epoch(len(self.train), self.table.batch_size)),
            Passes(self.precision),
        )
        for number, index in enumerate(self.batches(seed)):
            step(number, index)
        return model

    def stacked(self, seeds, *, one_order):
        """Train all students at once; with `one_order` they see the same batches."""
        models = [self.model(seed) for seed in seeds]
        weights, _ = stack_module_state(models)
        optimizer = torch.optim.Adam(weights.values(), self.table.learning_rate, fused=True)
        shared = None if one_order else 0
        forward = vmap(
            lambda weights, images: functional_call(models[0], weights, (images,)),
            in_dims=(0, shared),
            randomness="different",
        )
        orders = [self.batches(seed) for seed in (seeds[:1] if one_order else seeds)]
        for index in zip(*orders, strict=True):
            images, labels = zip(*(self.train.batch(one) for one in index), strict=True)
            inputs = [channels_last_input(one) for one in images]
            with autocast(CPU, self.precision):
                logits = forward(weights, inputs[0] if one_order else torch.stack(inputs))
            repeats = len(seeds) if one_order else 1
            loss = self.loss(
                logits.float().flatten(0, 1),
                torch.cat(labels).repeat(repeats),
                torch.cat(index).repeat(repeats),
            )
            optimizer.zero_grad()
            (loss * len(seeds)).backward()  # the mean over all, as the sum of the students' means
            optimizer.step()
        return weights


def open_worker(arguments, num_threads):
    global work
    work = Work(arguments, num_threads)


def in_worker(seed):
    work.one(seed)


def seconds(function):
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder of the four files of MNIST")
    parser.add_argument("--model", default="mnist-mlp")
    parser.add_argument("--students", type=int, default=4)
    parser.add_argument("--steps", type=int, default=200, help="of each student")
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    num_cores, seeds = len(os.sched_getaffinity(0)), list(range(arguments.students))
    own = Work(arguments, num_cores)
    num_threads = max(1, num_cores // arguments.processes)
    pool = ProcessPoolExecutor(
        arguments.processes, get_context("spawn"), open_worker, (arguments, num_threads)
    )
    with pool:
        ways = {
            "one after the other": lambda: [own.one(seed) for seed in seeds],
            f"{arguments.processes} processes": lambda: list(pool.map(in_worker, seeds)),
            "batched, one order of images": lambda: own.stacked(seeds, one_order=True),
            "batched, an order each": lambda: own.stacked(seeds, one_order=False),
        }
        started = seconds(lambda: list(pool.map(in_worker, seeds)))
        for way in ways.values():  # the first time of each is longer
            way()
        rounds = [
            {name: seconds(way) for name, way in ways.items()} for _ in range(arguments.times)
        ]
    print(
        f"{arguments.students} students {arguments.model}, {arguments.steps} steps each, "
        f"{num_cores} cores, {own.precision}; to start the processes and warm up: {started:.1f} s"
    )
    first = next(iter(ways))
    for name in ways:
        times = [one[name] for one in rounds]
        ratios = sorted(one[first] / one[name] for one in rounds)
        print(
            f"{name:30} {median(times):6.2f} s  {median(ratios):4.2f} times as fast  "
            f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        )


if __name__ == "__main__":
    main()
