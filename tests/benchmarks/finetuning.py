"""Time fine-tuning of a large network on images, in turns with a plain PyTorch loop.

    uv run python tests/benchmarks/finetuning.py

Images of 224 x 224 pixels, random crops and flips. The plain loop is a common one: a DataLoader
over PIL images with torchvision's transforms, float32, Adam. kdtool keeps the images on the device
as uint8, augments them there, and trains channels last in the precision that it chooses. The matrix
rate is that of a large product in the same precision on the same threads; a step counts as three
forward passes. With --device cuda both run on the GPU, the plain loop with
two workers.
"""

import argparse
from statistics import median

import torch
from matrix_rate import flops_of_step, seconds, share_of_rate
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from kdtool.recipe.training import TrainTable
from kdtool.train.data.splits import Split
from kdtool.train.fit import loop
from kdtool.train.fit import optimizer as schedule
from kdtool.train.fit.batches import Training, batch_maker, batches, steps_per_epoch
from kdtool.train.fit.losses import label_loss
from kdtool.train.fit.optimizer import make_optimizer
from kdtool.train.models.device import choose_precision
from kdtool.train.models.networks import build_model

SIDE, AUGMENT = 224, ("crop:0.8", "flip")


class Pictures(Dataset):
    """As a folder of pictures that are decoded already: PIL images, changed one by one."""

    def __init__(self, split):
        arrays = split.images.cpu().permute(0, 2, 3, 1).numpy()
        self.images, self.labels = [Image.fromarray(one) for one in arrays], split.labels.cpu()
        self.change = v2.Compose(
            [
                v2.RandomResizedCrop(SIDE, scale=(0.8, 1.0)),
                v2.RandomHorizontalFlip(),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.change(self.images[index]), self.labels[index]


def plain_epoch(model, optimizer, loader, device):
    model.train()
    for images, labels in loader:
        loss = torch.nn.functional.cross_entropy(model(images.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def kdtool_epoch(name, split, batch_size):
    """Return kdtool's epoch as a function, and its precision."""
    table = TrainTable(model=name, batch_size=batch_size, epochs=1, min_steps=0)
    model = build_model(name, (3, SIDE, SIDE), 2, seed=0)
    model = model.to(split.images.device, memory_format=torch.channels_last)
    precision = choose_precision("auto", split.images.device, model)
    (phase,) = schedule.phases_of(table, len(split))
    step = loop.training_step(
        model,
        make_optimizer(model, table, phase, 2),
        batch_maker(split, Training(table, 0, augment=AUGMENT), 2),
        lambda logits, batch: label_loss(logits, batch.targets),
        schedule.rates(phase, 0, steps_per_epoch(len(split), batch_size)),
        loop.Passes(precision),
    )

    def epoch():
        model.train()
        loop.train_epoch(step, batches(split, batch_size), 1, lambda _number, _loss: None)

    return epoch, precision


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", help="torchvision's; resnet18, or resnet50 on a GPU")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    device = torch.device(given.device)
    name = f"torchvision:{given.model or ('resnet50' if device.type == 'cuda' else 'resnet18')}"
    images = torch.randint(0, 256, (given.images, 3, SIDE, SIDE), dtype=torch.uint8)
    split = Split(images, torch.arange(given.images) % 2).to(device)
    plain = build_model(name, (3, SIDE, SIDE), 2, seed=0).to(device)
    optimizer = torch.optim.Adam(plain.parameters(), 1e-4)
    workers = 2 if device.type == "cuda" else 0
    loader = DataLoader(Pictures(split), given.batch, shuffle=True, num_workers=workers)
    epoch, precision = kdtool_epoch(name, split, given.batch)
    torch.backends.cudnn.benchmark = False
    plain_epoch(plain, optimizer, loader, device)
    epoch()
    pairs = [
        (
            seconds(lambda: plain_epoch(plain, optimizer, loader, device), device),
            seconds(epoch, device),
        )
        for _ in range(given.times)
    ]
    ratios = [by_plain / ours for by_plain, ours in pairs]
    shape = (3, SIDE, SIDE)
    flops = flops_of_step(build_model(name, shape, 2, seed=0), shape)
    for title, times, kind in (
        ("plain loop", [one for one, _ in pairs], "fp32"),
        ("kdtool", [one for _, one in pairs], precision),
    ):
        speed = given.images / median(times)
        share = share_of_rate(speed, flops, device, kind)
        print(f"{name} on {device.type}, {title}: {speed:,.1f} images/s in {kind}, {share}")
    print(f"{median(ratios):.2f} times as fast, {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
