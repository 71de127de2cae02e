"""Time kdtool's training against a plain PyTorch loop, one epoch of each in turns.

    uv run python tests/benchmarks/training_loop.py --root DIR

DIR contains the four files of MNIST; without it, 5,000 digits replace them. The plain loop is a
common one: a DataLoader over PIL images with ToTensor, float32, Adam, and for distillation the
teacher's forward pass at every step. kdtool's one pass of the teacher is spread over the epochs of
a study of recipes/mnist.toml: five seeds of 12. In the plain loop's turns glibc gives memory back
above the largest sizes that it chooses by itself, in kdtool's turns it does not. The matrix rate
is that of a large product in kdtool's precision on the same threads; a step counts as three forward
passes of the network that learns.
"""

import argparse
import ctypes
import platform
from pathlib import Path

import torch
from matrix_rate import flops_of_step, seconds, share_of_rate
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import to_tensor

from kdtool.recipe.data import MnistTable
from kdtool.recipe.training import TrainTable
from kdtool.terminal.progress import Terminal
from kdtool.train.data.splits import load_splits
from kdtool.train.fit import loop, memory
from kdtool.train.fit import optimizer as schedule
from kdtool.train.fit.batches import Training, batch_maker, batches, steps_per_epoch
from kdtool.train.fit.losses import distillation_loss, kd_loss, label_loss
from kdtool.train.fit.optimizer import make_optimizer
from kdtool.train.models.device import choose_precision
from kdtool.train.models.networks import build_model
from kdtool.train.models.predict import predict, validate

BATCH_SIZE, TEMPERATURE, SOFT_WEIGHT = 256, 20.0, 0.9
STUDY_EPOCHS = 5 * 12


class PilImages(Dataset):
    """As torchvision's MNIST: an array to a PIL image to a tensor, image by image."""

    def __init__(self, split):
        self.images, self.labels = split.images[:, 0].numpy(), split.labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return to_tensor(Image.fromarray(self.images[index])), self.labels[index]


def plain_epoch(model, optimizer, loader, teacher):
    model.train()
    for images, labels in loader:
        logits = model(images)
        loss = F.cross_entropy(logits, labels)
        if teacher is not None:
            with torch.no_grad():
                teacher_logits = teacher(images)
            soft = kd_loss(logits, teacher_logits, TEMPERATURE)
            loss = SOFT_WEIGHT * soft + (1 - SOFT_WEIGHT) * loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def give_memory_back():
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(memory.M_MMAP_THRESHOLD, 2**25)
        mallopt(memory.M_TRIM_THRESHOLD, 2**26)


def compare(title, splits, name, teacher, num_epochs):
    """Train one model by each loop, epoch by epoch in turn; return kdtool's."""
    train, shape, num_classes = splits.train, splits.result.image_shape, len(splits.classes)
    device = train.device
    table = TrainTable(model=name, epochs=num_epochs, batch_size=BATCH_SIZE)
    plain, ours = (build_model(name, shape, num_classes, seed=0) for _ in "ab")
    plain_optimizer = torch.optim.Adam(plain.parameters(), 1e-3)
    loader = DataLoader(PilImages(train), batch_size=BATCH_SIZE, shuffle=True)

    ours.to(memory_format=torch.channels_last)
    pass_seconds = 0.0

    def batch_loss(logits, batch):
        return label_loss(logits, batch.targets)

    if teacher is not None:
        targets = []
        pass_seconds = seconds(lambda: targets.append(predict(teacher, train)), device)

        def batch_loss(logits, batch):
            soft = targets[0][batch.index]
            return distillation_loss(
                logits, soft, batch.targets, num_classes, TEMPERATURE, SOFT_WEIGHT
            )

    precision = choose_precision("auto", device, ours)
    (phase,) = schedule.phases_of(table, len(train))
    step = loop.training_step(
        ours,
        make_optimizer(ours, table, phase, num_classes),
        batch_maker(train, Training(table, 0), num_classes),
        batch_loss,
        schedule.rates(phase, 0, steps_per_epoch(len(train), BATCH_SIZE)),
        loop.Passes(precision),
    )

    def our_epoch(epoch):
        ours.train()
        loop.train_epoch(step, batches(train, BATCH_SIZE), epoch, lambda _n, _loss: None)

    plain_seconds, our_seconds, ratios = 0.0, 0.0, []
    for epoch in range(1, num_epochs + 1):
        give_memory_back()
        by_plain = seconds(lambda: plain_epoch(plain, plain_optimizer, loader, teacher), device)
        memory.keep_freed_memory()
        by_ours = seconds(lambda epoch=epoch: our_epoch(epoch), device)
        plain_seconds, our_seconds = plain_seconds + by_plain, our_seconds + by_ours
        ratios.append(by_plain / by_ours)
    images = num_epochs * len(train)
    flops = flops_of_step(build_model(name, shape, num_classes, seed=0), shape)
    share = share_of_rate(images / our_seconds, flops, device, precision)
    our_seconds += pass_seconds * num_epochs / STUDY_EPOCHS
    accuracies = [validate(model, splits.test, 10).accuracy for model in (plain, ours)]
    print(
        f"{title}: plain {images / plain_seconds:,.0f} images/s, kdtool "
        f"{images / our_seconds:,.0f} images/s ({precision}), {plain_seconds / our_seconds:.1f} "
        f"times; epoch by epoch {min(ratios):.1f} to {max(ratios):.1f}; the teacher's one pass "
        f"took {pass_seconds:.1f} s; kdtool's steps reach {share}; test accuracy "
        f"{accuracies[0]:.2%} and {accuracies[1]:.2%}",
        flush=True,
    )
    return ours


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder of the four files of MNIST")
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    table = MnistTable(source="mnist", root=arguments.root, offline="mnist-5k")
    terminal = Terminal()
    splits = load_splits(table, terminal.warn, terminal.progress)
    teacher = compare("teacher", splits, "mnist-cnn", None, arguments.epochs)
    compare("distillation", splits, "mnist-mlp", teacher.eval(), arguments.epochs)


if __name__ == "__main__":
    main()
