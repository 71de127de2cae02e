"""Time distillation by kdtool, in turns with torchdistill 1.1.5, on MNIST.

    uv run python tests/benchmarks/torchdistill.py DIR --epochs 3 --times 3

DIR contains the four files of MNIST. torchdistill is installed from PyPI into an environment of its
own, with the versions of PyTorch and torchvision that kdtool runs with; --python names one that is
there. Both sides distil mnist-mlp from one trained mnist-cnn, from equal initial weights, on the
same training and validation images, with the same batch size, optimizer, loss and number of epochs,
validate after each epoch and keep the best weights. torchdistill is used as in its
examples/torchvision/image_classification.py: a `DistillationBox` of a configuration, a DataLoader
over PIL images with ToTensor and a worker for each core, its loops and its logging, KDLoss. What is
timed is the distillation, without imports, reading the set and the test; kdtool's includes the one
pass of the teacher over all images.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, RandomSampler, SequentialSampler
from torchvision.transforms.functional import to_tensor

VERSION = "1.1.5"
TEMPERATURE, SOFT_WEIGHT, RATE, LOG_EVERY = 20.0, 0.9, 1e-3, 100
RECIPE = """
name = "mnist"
seeds = [0]
[data]
source = "idx"
root = "{root}"
[teacher]
model = "mnist-cnn"
epochs = {teacher_epochs}
[student]
model = "mnist-mlp"
epochs = {epochs}
batch_size = {batch}
learning_rate = {rate}
[distill]
temperature = {temperature}
soft_weight = {soft_weight}
"""


class PilImages(Dataset):
    """As torchvision's MNIST with ToTensor: an array to a PIL image to a tensor, image by image."""

    def __init__(self, arrays, split):
        self.images, self.labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return to_tensor(Image.fromarray(self.images[index])), int(self.labels[index])


def by_torchdistill(folder, epochs, batch, workers):
    """Distil with torchdistill; runs in its environment, and prints seconds and accuracy."""
    from torchdistill.core.distillation import get_distillation_box

    arrays = dict(np.load(folder / "images.npz"))
    teacher = torch.load(folder / "teacher.pt", weights_only=False)
    student = torch.load(folder / "student.pt", weights_only=False)
    datasets = {split: PilImages(arrays, split) for split in ("train", "validation", "test")}
    torch.manual_seed(0)
    began = time.perf_counter()
    device = torch.device("cpu")
    box = get_distillation_box(
        teacher, student, datasets, configuration(epochs, batch, workers), device, None, False, 1
    )
    best = -1.0
    for epoch in range(box.num_epochs):
        box.pre_epoch_process(epoch=epoch)
        train_one_epoch(box, device, epoch)
        accuracy = accuracy_of(box.student_model, box.val_data_loader)
        if accuracy > best:
            best = accuracy
            torch.save(box.student_model.state_dict(), folder / "best.pt")
        box.post_epoch_process()
    box.clean_modules()
    took = time.perf_counter() - began
    student.load_state_dict(torch.load(folder / "best.pt", weights_only=True))
    test = accuracy_of(student, DataLoader(datasets["test"], 1000))
    print(json.dumps({"seconds": took, "accuracy": test}))


def configuration(epochs, batch, workers):
    """Return what a YAML file of torchdistill says under `train`."""
    loader = {"num_workers": workers, "batch_size": batch, "drop_last": False}
    io = {
        f"{one}_module_{key}": value for one in ("student", "teacher") for key, value in IO.items()
    }
    loss = {"temperature": TEMPERATURE, "alpha": 1 - SOFT_WEIGHT, "reduction": "batchmean", **io}
    kd = {"criterion": {"key": "KDLoss", "kwargs": loss}, "weight": 1.0}
    return {
        "log_freq": LOG_EVERY,
        "num_epochs": epochs,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler, "kwargs": None},
            "kwargs": loader,
        },
        "val_data_loader": {
            "dataset_id": "validation",
            "sampler": {"class_or_func": SequentialSampler, "kwargs": None},
            "kwargs": loader,
        },
        "teacher": {"forward_proc": "forward_batch_only", "sequential": [], "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only", "sequential": [], "requires_grad": True},
        "optimizer": {"key": "Adam", "kwargs": {"lr": RATE}},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": kd}}},
    }


IO = {"path": ".", "io": "output"}


def train_one_epoch(box, device, epoch):
    """As in torchdistill's examples."""
    from torchdistill.misc.log import MetricLogger, SmoothedValue

    logger = MetricLogger(delimiter="  ")
    logger.add_meter("lr", SmoothedValue(window_size=1, fmt="{value}"))
    logger.add_meter("img/s", SmoothedValue(window_size=10, fmt="{value}"))
    for images, targets, more in logger.log_every(
        box.train_data_loader, LOG_EVERY, f"Epoch: [{epoch}]"
    ):
        began = time.time()
        loss = box.forward_process(images.to(device), targets.to(device), more)
        box.post_forward_process(loss=loss)
        logger.update(loss=loss.item(), lr=box.optimizer.param_groups[0]["lr"])
        logger.meters["img/s"].update(len(images) / (time.time() - began))


@torch.inference_mode()
def accuracy_of(model, loader):
    model.eval()
    right = sum(int((model(images).argmax(1) == labels).sum()) for images, labels, *_ in loader)
    return right / len(loader.dataset)


def by_kdtool(run, teacher):
    """Distil a student by kdtool in a study that has the teacher; return seconds and accuracy."""
    from kdtool.train.evaluation.evaluate import evaluate
    from kdtool.train.pipeline.roles import train_role

    began = time.perf_counter()
    (student,) = train_role(run, "student", {"teacher": [teacher]})
    took = time.perf_counter() - began
    return took, evaluate(run, student).test.accuracy


def opened(given, folder):
    """Open a study with a trained teacher."""
    from kdtool.recipe.load import load_recipe
    from kdtool.study.folder import Study
    from kdtool.terminal.progress import Terminal
    from kdtool.train.pipeline.roles import train_role
    from kdtool.train.run import open_run

    values = vars(given) | {"rate": RATE, "temperature": TEMPERATURE, "soft_weight": SOFT_WEIGHT}
    recipe_path = folder / "mnist.toml"
    recipe_path.write_text(RECIPE.format(**values))
    study = Study(folder / "mnist")
    run = open_run(study, load_recipe(recipe_path, []), "cpu", Terminal(quiet=True))
    (teacher,) = train_role(run, "teacher", {})
    return run, teacher


def write_task(run, teacher, folder):
    """Write images and networks for the other side."""
    from kdtool.train.run import load_model

    splits = {name: getattr(run.splits, name) for name in ("train", "validation", "test")}
    images = {f"{name}_images": one.images[:, 0].numpy() for name, one in splits.items()}
    labels = {f"{name}_labels": one.labels.numpy() for name, one in splits.items()}
    np.savez(folder / "images.npz", **images, **labels)
    torch.save(load_model(run, teacher), folder / "teacher.pt")
    torch.save(run.build("student", 0), folder / "student.pt")


def environment(folder):
    """Install torchdistill; return the Python of its environment."""
    import torchvision

    subprocess.run(["uv", "venv", "-q", str(folder), "--python", sys.executable], check=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    versions = [
        f"{module.__name__}=={module.__version__.partition('+')[0]}"
        for module in (torch, torchvision)
    ]
    command = ["uv", "pip", "install", "-q", "--python", str(python), f"torchdistill=={VERSION}"]
    subprocess.run([*command, *versions], check=True)
    return python


def compare(given, scratch):
    """Run both in turns, and print the ratios."""
    python = given.python or environment(scratch / "environment")
    run, teacher = opened(given, scratch)
    write_task(run, teacher, scratch)
    script = [str(python), __file__, str(given.root), "--task", str(scratch)]
    script += [f"--epochs={given.epochs}", f"--batch={given.batch}", f"--workers={given.workers}"]
    pairs = []
    for number in range(given.times):
        done = subprocess.run(script, check=True, capture_output=True, text=True)
        theirs = json.loads(done.stdout.splitlines()[-1])
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(scratch / "mnist", Path(folder) / "mnist")  # with its teacher
            took, accuracy = by_kdtool(*opened(given, Path(folder)))
        pairs.append((theirs["seconds"], took, theirs["accuracy"], accuracy))
        print(
            f"run {number + 1}: torchdistill {theirs['seconds']:.1f} s, "
            f"{theirs['accuracy']:.2%}; kdtool {took:.1f} s, {accuracy:.2%}",
            flush=True,
        )
    ratios = [theirs / ours for theirs, ours, *_ in pairs]
    print(f"{median(ratios):.1f} times as fast ({min(ratios):.1f} to {max(ratios):.1f})")
    found = [f"{median(pair[place] for pair in pairs):.2%}" for place in (2, 3)]
    print(f"test accuracy, median: torchdistill {found[0]}, kdtool {found[1]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder of the four files of MNIST")
    parser.add_argument("--epochs", type=int, default=3, help="of the student")
    parser.add_argument("--teacher-epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--times", type=int, default=3, help="pairs of runs")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of its DataLoader")
    parser.add_argument("--python", type=Path, help="of an environment with torchdistill")
    parser.add_argument("--task", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.root = given.root.resolve()
    if given.task:
        # This file must not be found in place of the package of its name.
        sys.path = [
            path for path in sys.path if Path(path or ".").resolve() != Path(__file__).parent
        ]
        by_torchdistill(given.task, given.epochs, given.batch, given.workers)
        return
    with tempfile.TemporaryDirectory() as scratch:
        compare(given, Path(scratch))


if __name__ == "__main__":
    main()
