"""Measure training on a GPU, in at most nine minutes.

    uv run python tests/benchmarks/gpu.py --root DIR

DIR contains the four files of MNIST. Four parts, each ended when its time is over:

- forms: a training step of ResNet50 at 224 pixels, in turns as kdtool makes it, compiled by
  torch.compile, and recorded as a CUDA graph;
- plain: the same network against a plain loop (finetuning.py);
- study: `kdtool subclass-distill recipes/mnist.toml`, five seeds, less the import of its packages;
- sweep: 32 temperatures, one seed, against six students one by one, who are timed in it.

With --device cpu and --images 16 the first part shows that the script runs; nothing else of it is
for a CPU.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from torch.nn import functional as F

from kdtool.recipe.training import TrainTable
from kdtool.train.data.splits import Split
from kdtool.train.fit import loop
from kdtool.train.fit import optimizer as schedule
from kdtool.train.fit.batches import Training, batch_maker
from kdtool.train.fit.losses import label_loss
from kdtool.train.fit.optimizer import make_optimizer
from kdtool.train.models.device import choose_precision
from kdtool.train.models.networks import build_model

MODEL, SHAPE, BATCH_SIZE = "torchvision:resnet50", (3, 224, 224), 256
SECONDS = {"forms": 150, "plain": 90, "study": 120, "sweep": 180}  # 9 minutes
ROUNDS, STEPS = 5, 8
ONE_BY_ONE, NUM_VALUES = 6, 32


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder of the four files of MNIST")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, default=4 * BATCH_SIZE)
    parser.add_argument("--part", choices=SECONDS, help="only this one, without a limit of time")
    given = parser.parse_args()
    if given.part is None:
        on_cuda = given.device.startswith("cuda")
        name = torch.cuda.get_device_name(given.device) if on_cuda else platform.processor()
        print(f"{name}, PyTorch {torch.__version__}", flush=True)
        for part in SECONDS:
            in_process(part)
    elif given.part == "forms":
        forms(torch.device(given.device), given.images)
    elif given.part == "plain":
        script = Path(__file__).with_name("finetuning.py")
        sizes = ("--images", str(given.images), "--batch", str(BATCH_SIZE), "--times", "3")
        subprocess.run([sys.executable, script, "--device", given.device, *sizes], check=True)
    elif given.root is None:
        parser.error(f"{given.part} needs --root")
    elif given.part == "study":
        study(given.root, given.device)
    else:
        sweep(given.root, given.device)


def in_process(part):
    """Run this script for one part, and end it when its time is over."""
    began = time.perf_counter()
    command = [sys.executable, *sys.argv, "--part", part]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            process.wait(SECONDS[part])
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with what it started, which holds the GPU
            print(f"{part}: ended after {SECONDS[part]} s")
    print(f"{part}: {time.perf_counter() - began:.0f} s", flush=True)


def forms(device, num_images):
    """Time the steps of three forms of one training in turns."""
    steps = {"as kdtool trains": kdtool_step(device, num_images, compiled=False)}
    steps["torch.compile"] = kdtool_step(device, num_images, compiled=True)
    if device.type == "cuda":
        steps["CUDA graph"] = graphed_step(device)
    taken = {name: [] for name in steps}
    for step in steps.values():
        timed(step, device)  # compiles
    for _ in range(ROUNDS):
        for name, step in steps.items():
            taken[name].append(timed(step, device))
    size = min(BATCH_SIZE, num_images)
    first = taken["as kdtool trains"]
    for name, times in taken.items():
        ratios = [ours / other for ours, other in zip(first, times, strict=True)]
        print(
            f"{MODEL}, {name}: {STEPS * size / median(times):,.1f} images/s, {median(ratios):.2f} "
            f"times as fast as the first, {min(ratios):.2f} to {max(ratios):.2f}",
            flush=True,
        )


def kdtool_step(device, num_images, *, compiled):
    images = torch.randint(0, 256, (num_images, *SHAPE), dtype=torch.uint8)
    split = Split(images, torch.arange(num_images) % 2).to(device)
    table = TrainTable(model=MODEL, batch_size=BATCH_SIZE, epochs=1)
    model = build_model(MODEL, SHAPE, 2, seed=0)
    model = model.to(device, memory_format=torch.channels_last).train()
    (phase,) = schedule.phases_of(table, num_images)
    step = loop.training_step(
        torch.compile(model) if compiled else model,
        make_optimizer(model, table, phase, 2),
        batch_maker(split, Training(table, 0), 2),
        lambda logits, batch: label_loss(logits, batch.targets),
        lambda _number: 1.0,
        loop.Passes(choose_precision("auto", device, model)),
    )
    index = torch.arange(min(BATCH_SIZE, num_images), device=device)
    return lambda number: step(number, index)


def graphed_step(device):
    """Return a step without kdtool's batches and schedule: a bound of what a graph can give."""
    model = build_model(MODEL, SHAPE, 2, seed=0)
    model = model.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(model.parameters(), fused=True, capturable=True)
    images = torch.rand(BATCH_SIZE, *SHAPE, device=device).to(memory_format=torch.channels_last)
    labels = torch.arange(BATCH_SIZE, device=device) % 2

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return lambda _number: graph.replay()


def timed(step, device):
    began = time.perf_counter()
    for number in range(STEPS):
        step(number)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def study(root, device):
    with tempfile.TemporaryDirectory() as folder:
        taken, _ = kdtool("subclass-distill", root, device, folder)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import kdtool.train.pipeline.commands"], check=True)
    imported = time.perf_counter() - began
    print(
        f"subclass-distill recipes/mnist.toml, five seeds: {taken:.1f} s, {taken - imported:.1f} s "
        "after the import"
    )


def sweep(root, device):
    # without 20, the recipe's own: the student of that is trained one by one already
    values = ",".join(str(one) for one in range(1, NUM_VALUES + 2) if one != 20)
    with tempfile.TemporaryDirectory() as folder:
        one, results = kdtool("distill", root, device, folder, "--set", "seeds=[0]")
        epochs = results["models"]["student"]["seeds"][0]["epochs"]
        student = sum(epoch["seconds"] for epoch in epochs)
        more = ("--set", "seeds=[0]", "--sweep", f"distill.temperature={values}", "--force")
        both, _ = kdtool("distill", root, device, folder, *more)
    print(
        f"a sweep of {NUM_VALUES} temperatures: {both:.1f} s, where teacher and control are "
        f"trained already; {ONE_BY_ONE} students one by one: {ONE_BY_ONE * student:.1f} s; the "
        f"whole study with one student: {one:.1f} s"
    )


def kdtool(name, root, device, folder, *more):
    """Run a command on recipes/mnist.toml; return the seconds and its results."""
    command = [Path(sys.executable).with_name("kdtool"), name, "recipes/mnist.toml"]
    options = ["--set", f"data.root={root}", "--device", device, "--out", folder, "--json"]
    began = time.perf_counter()
    done = subprocess.run([*command, *options, *more], check=True, stdout=subprocess.PIPE)
    return time.perf_counter() - began, json.loads(done.stdout)


if __name__ == "__main__":
    main()
