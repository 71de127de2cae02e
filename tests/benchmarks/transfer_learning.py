"""Time `kdtool finetune` on a folder of photographs, in turns with a plain script.

    uv run python tests/benchmarks/transfer_learning.py --times 3

The script makes the folder: JPEG files of 500 x 375 pixels and about 100 kB, in two classes. Both
sides start from the same file of weights, train the head alone and then all layers, with the same
batches, optimizer and number of epochs, validate after each epoch, and test the best weights. The
plain script is that of PyTorch's tutorial, "Transfer Learning for Computer Vision": ImageFolder, a
DataLoader with two workers, float32, a frozen network whose images pass it in each epoch. Whole
runs are processes, with their imports; the head phase is that of the epochs alone, on both sides
with validation.

With --views K training images are cropped and flipped: by the plain script anew in each epoch, by
kdtool K times.
"""

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of ImageNet
CLASSES = ("coarse", "fine")
RATE, MOMENTUM, SEED = 1e-3, 0.9, 0
RECIPE = """
name = "transfer"
seeds = [0]
[data]
source = "folder"
root = "{folder}"
size = {side}
{augment}
[teacher]
model = "torchvision:{model}"
weights = "{weights}"
normalize = "imagenet"
batch_size = {batch}
optimizer = "sgd"
momentum = {momentum}
learning_rate = {rate}
[[teacher.phase]]
epochs = {head}
train = "head"
[[teacher.phase]]
epochs = {whole}
[student]
model = "torchvision:{model}"
"""


def make_folder(folder, num_images):
    """Write JPEG files that are as large as photographs, smooth where those are, in two classes."""
    rng = np.random.default_rng(0)
    shares = {"train": 0.8, "val": 0.1, "test": 0.1}
    for split, share in shares.items():
        for kind, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for number in range(round(num_images * share / len(CLASSES))):
                image = photograph(rng, 6 + 6 * kind)
                image.save(folder / split / name / f"{number}.jpg", quality=90)


def photograph(rng, blobs):
    """An image of smooth areas, with the noise of a camera."""
    areas = Image.fromarray(rng.integers(0, 256, (blobs, blobs, 3), np.uint8))
    pixels = np.asarray(areas.resize((500, 375), Image.Resampling.BICUBIC), np.float32)
    noisy = pixels + rng.normal(0, 8, pixels.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def plain(given):
    """The plain script; prints the seconds of both phases and the accuracy."""
    torch.manual_seed(SEED)
    plainly = [transforms.Resize(given.side), transforms.CenterCrop(given.side)]
    changed = [
        transforms.RandomResizedCrop(given.side, scale=(0.8, 1.0)),
        transforms.RandomHorizontalFlip(),
    ]
    to_tensor = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    loaders = {}
    for split in ("train", "val", "test"):
        change = changed if split == "train" and given.views else plainly
        images = ImageFolder(given.folder / split, transforms.Compose([*change, *to_tensor]))
        loaders[split] = DataLoader(
            images, given.batch, shuffle=split == "train", num_workers=2, drop_last=False
        )
    model = torchvision.models.get_model(given.model)
    model.load_state_dict(torch.load(given.weights, weights_only=True))
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = nn.Linear(model.fc.in_features, len(CLASSES))
    best = {"accuracy": -1.0, "weights": None}
    seconds = [train_phase(model, loaders, given.head, best)]
    for parameter in model.parameters():
        parameter.requires_grad = True
    seconds.append(train_phase(model, loaders, given.whole, best))
    model.load_state_dict(best["weights"])
    accuracy = accuracy_of(model, loaders["test"])
    print(json.dumps({"head": seconds[0], "whole": seconds[1], "accuracy": accuracy}))


def train_phase(model, loaders, num_epochs, best):
    """Train and validate for some epochs; return the seconds."""
    began = time.perf_counter()
    learning = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=RATE, momentum=MOMENTUM)
    for _ in range(num_epochs):
        model.train()
        for images, labels in loaders["train"]:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
        accuracy = accuracy_of(model, loaders["val"])
        if accuracy > best["accuracy"]:
            best.update(accuracy=accuracy, weights=copy.deepcopy(model.state_dict()))
    return time.perf_counter() - began


def accuracy_of(model, loader):
    model.eval()
    with torch.no_grad():
        right = [(model(images).argmax(1) == labels).float() for images, labels in loader]
    return torch.cat(right).mean().item()


def run_plain(given, _folder):
    """Run the plain script in a process; return its seconds, those of the head, its accuracy."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--plain", *arguments_of(given)],
        check=True,
        capture_output=True,
        text=True,
    )
    took, found = time.perf_counter() - began, json.loads(done.stdout)
    return took, found["head"], found["accuracy"]


def arguments_of(given):
    names = ("model", "side", "batch", "head", "whole", "views", "folder", "weights")
    return [text for name in names for text in (f"--{name}", str(getattr(given, name)))]


def run_kdtool(given, folder):
    """Run `kdtool finetune` in a process; return the same of it."""
    recipe = folder / "transfer.toml"
    augment = f'augment = ["crop:0.8", "flip"]\nviews = {given.views}' if given.views else ""
    values = vars(given) | {"augment": augment, "rate": RATE, "momentum": MOMENTUM}
    recipe.write_text(RECIPE.format(**values))
    began = time.perf_counter()
    command = [sys.executable, "-m", "kdtool", "finetune", str(recipe), "--out", str(folder)]
    subprocess.run([*command, "--quiet", "--device", "cpu"], check=True, capture_output=True)
    took = time.perf_counter() - began
    results = json.loads((folder / "transfer" / "results.json").read_text())
    (seed,) = results["models"]["teacher"]["seeds"]
    head = sum(epoch["seconds"] for epoch in seed["epochs"] if epoch["phase"] == 1)
    return took, head, seed["test"]["accuracy"]


def compare(given):
    """Run both in turns."""
    pairs = []
    for number in range(given.times):
        found = []
        for side in (run_plain, run_kdtool):
            with tempfile.TemporaryDirectory() as folder:
                found.append(side(given, Path(folder)))
        pairs.append(found)
        (plain_took, plain_head, _), (took, head, _) = found
        print(
            f"run {number + 1}: plain {plain_took:.0f} s, of which head {plain_head:.0f} s; "
            f"kdtool {took:.0f} s, {head:.0f} s",
            flush=True,
        )
    for title, place in (("the whole run", 0), ("the head phase", 1)):
        ratios = [one[place] / other[place] for one, other in pairs]
        print(
            f"{title}: {median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    accuracies = [f"{median(pair[side][2] for pair in pairs):.2%}" for side in (0, 1)]
    print(f"test accuracy: plain {accuracies[0]}, kdtool {accuracies[1]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=3, help="pairs of runs")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--model", default="resnet18", help="torchvision's, with a layer `fc`")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--head", type=int, default=10, help="epochs of the head alone")
    parser.add_argument("--whole", type=int, default=2, help="epochs of all layers")
    parser.add_argument("--views", type=int, default=0, help="augmented views; 0: none")
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.plain:
        plain(given)
        return
    with tempfile.TemporaryDirectory() as scratch:
        given.folder, given.weights = Path(scratch) / "photographs", Path(scratch) / "weights.pth"
        make_folder(given.folder, given.images)
        torch.manual_seed(SEED)
        torch.save(torchvision.models.get_model(given.model).state_dict(), given.weights)
        compare(given)


if __name__ == "__main__":
    main()
