"""Sets larger than memory: peak memory of ten times the images, and images/s of all parts.

    uv run python tests/benchmarks/large_sets.py [--images 150] [--rounds 15]

JPEG files of 224 pixels are written into a temporary folder: a set that fits into `data.memory` and
one of ten times as many images, which does not. `kdtool distill` runs on both, each in a process
of its own, and its peak resident memory is that of the system (wait4). Then the larger set is
opened twice in one process, in memory and from the file, and both are trained on in turns. Last,
photographs of 640 x 427 pixels are decoded into the file, from a folder and from tar shards, in
turns with one core that decodes them, or decodes and resizes, and keeps nothing.
"""

import argparse
import io
import os
import shutil
import statistics
import sys
import tarfile
import tempfile
import time
from contextlib import nullcontext
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from kdtool.edge.portable.picture import read_image
from kdtool.recipe.data import DataTable, FolderTable, WebDatasetTable
from kdtool.recipe.training import TrainTable
from kdtool.train.data.splits import load_source, load_splits
from kdtool.train.fit import loop
from kdtool.train.fit.batches import Training, batch_maker, batches
from kdtool.train.fit.optimizer import make_optimizer, phases_of
from kdtool.train.models.networks import build_model

SIDE, BATCH_SIZE, MODEL = 224, 32, "torchvision:mobilenet_v3_small"
STEPS = 5  # of training before the other one has its turn: the machine may be busy
RECIPE = f"""
name = "large"
seeds = [0]
[data]
source = "folder"
root = "pictures"
size = {SIDE}
memory = "{{memory:.3f}} MB"
[teacher]
model = "{MODEL}"
epochs = 1
batch_size = {BATCH_SIZE}
[student]
model = "{MODEL}"
epochs = 1
batch_size = {BATCH_SIZE}
[export]
precisions = ["fp32"]
[profile]
seconds = 0.1
[explain]
images = 2
"""


def write_pictures(folder: Path, count: int) -> None:
    """Write JPEG files of two classes: smooth noise, so that they are as large as photographs."""
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256, (28, 28, 3), np.uint8)
        image = Image.fromarray(coarse).resize((SIDE + 32, SIDE), Image.Resampling.BICUBIC)
        path = folder / "ab"[number % 2] / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=90)


def write_photographs(folder: Path, count: int) -> None:
    """Write JPEG files of 640 x 427 pixels, smooth with noise: in a folder, and in tar shards."""
    rng = np.random.default_rng(0)
    (folder / "shards").mkdir(parents=True)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (27, 40, 3), np.uint8))
        smooth = np.asarray(coarse.resize((640, 427), Image.Resampling.BICUBIC), np.float32)
        noisy = (smooth + rng.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8)
        path = folder / "photographs" / "ab"[number % 2] / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(path, quality=90)
    for kind in "ab":
        with tarfile.open(folder / "shards" / f"{kind}.tar", "w") as shard:
            for path in sorted((folder / "photographs" / kind).iterdir()):
                shard.add(path, path.name)
                label = tarfile.TarInfo(f"{path.stem}.cls")
                label.size = 1
                shard.addfile(label, io.BytesIO(b"%d" % "ab".index(kind)))


def peak_of(folder: Path, memory: float) -> int:
    """Return the peak resident bytes of `kdtool distill` on the pictures of a folder."""
    (folder / "large.toml").write_text(RECIPE.format(memory=memory / 10**6))
    command = [sys.executable, "-m", "kdtool", "distill", str(folder / "large.toml")]
    command += ["--anyway", "--quiet", "--device", "cpu", "--out", str(folder / "runs")]
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawn(sys.executable, command, os.environ, file_actions=quiet)
    _, status, used = os.wait4(pid, 0)
    assert status == 0, f"kdtool ended with status {status}"
    return used.ru_maxrss * 1024


def seconds_of(action) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def compare(title: str, count: int, rounds: int, of_file, of_memory) -> None:
    """Time both in turns, and print the ratio of their images/s."""
    ratios, rates = [], []
    for number in range(rounds):
        pair = [of_file, of_memory] if number % 2 else [of_memory, of_file]
        found = {action: seconds_of(action) for action in pair}
        ratios.append(found[of_memory] / found[of_file])
        rates.append(count / found[of_file])
    middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
    print(
        f"{title}: {statistics.median(rates):,.0f} images/s from the file, {middle:.2f} times "
        f"those in memory ({low:.2f} to {high:.2f}, {rounds} pairs)",
        flush=True,
    )


def decode(files: list[Path]) -> None:
    for path in files:
        with Image.open(path) as image:
            image.load()


def decode_and_resize(files: list[Path]) -> None:
    for path in files:
        read_image(path, [SIDE, SIDE, 3])


def read(table: DataTable) -> None:
    shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)
    load_source(table, no_progress)


def compare_decoding(folder: Path, count: int, rounds: int) -> None:
    """Time how photographs are decoded into the file, and print shares of what the cores could."""
    write_photographs(folder, count)
    files = sorted((folder / "photographs").rglob("*.jpg"))
    options = {"size": SIDE, "memory": "1 MB"}
    alone = {"decoded": decode, "decoded and resized": decode_and_resize}
    tables = {
        "a folder": FolderTable(source="folder", root=folder / "photographs", **options),
        "tar shards": WebDatasetTable(source="webdataset", root=folder / "shards", **options),
    }
    rates: dict[str, list[float]] = {name: [] for name in (*alone, *tables)}
    for _ in range(rounds):
        for name, action in alone.items():
            rates[name].append(count / seconds_of(partial(action, files)))
        for name, table in tables.items():
            rates[name].append(count / seconds_of(partial(read, table)))
    cores = len(os.sched_getaffinity(0))
    for name in alone:
        print(f"{name} by one core: {statistics.median(rates[name]):,.0f} photographs/s")
    for of_core, of_table in product(alone, tables):
        pairs = zip(rates[of_table], rates[of_core], strict=True)
        shares = [one / (cores * other) for one, other in pairs]
        print(
            f"from {of_table} into the file: {statistics.median(rates[of_table]):,.0f} "
            f"photographs/s, {statistics.median(shares):.2f} of those {of_core} by {cores} cores "
            f"({min(shares):.2f} to {max(shares):.2f}, {rounds} pairs)",
            flush=True,
        )


def no_progress(_title: str, _total: int):
    return nullcontext(lambda _done, _text: None)


def trainer(splits):
    """Return what trains a network on some batches."""
    table = TrainTable(model=MODEL, epochs=1, batch_size=BATCH_SIZE)
    model = build_model(MODEL, splits.train.image_shape, 2, seed=0)
    model.to(memory_format=torch.channels_last).train()
    optimizer = make_optimizer(model, table, phases_of(table, len(splits.train))[0], 2)
    make_batch = batch_maker(splits.train, Training(table, 0), 2)
    step = loop.training_step(
        model,
        optimizer,
        make_batch,
        lambda logits, batch: F.cross_entropy(logits, batch.targets),
        lambda _number: 1.0,
        loop.Passes("fp32"),
    )

    def train() -> None:
        order = batches(splits.train, BATCH_SIZE)[:STEPS]
        ahead = loop.ahead(step, splits.train, order)
        loop.train_epoch(ahead, order, 1, lambda _number, _loss: None)

    return train


def reader(splits):
    """Return what takes some batches, and does nothing with them."""

    def read() -> None:
        for index in batches(splits.train, BATCH_SIZE)[:STEPS]:
            splits.train.batch(index)

    return read


def mapped_reader(splits, *, anew: bool):
    """Return what takes batches from the file as memory-mapped: once, or anew for each batch."""
    images = splits.train.images
    rows = torch.from_numpy(images.rows)

    def mapped():
        return torch.from_numpy(
            np.memmap(images.path, np.uint8, "c").reshape(-1, *images.image_shape)
        )

    whole = mapped()

    def read() -> None:
        for index in batches(splits.train, BATCH_SIZE)[:STEPS]:
            (mapped() if anew else whole).index_select(0, rows[index])

    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="large-sets-"))
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    try:
        memory = 1.2 * given.images * 3 * SIDE**2
        peaks = []
        for times in (1, 10):
            place = folder / f"{times}"
            write_pictures(place / "pictures", times * given.images)
            peaks.append(peak_of(place, memory))
            print(f"{times * given.images:,} images: {peaks[-1] / 10**6:,.0f} MB", flush=True)
        print(f"peak memory of ten times the images: {peaks[1] / peaks[0]:.2f} times", flush=True)
        root = folder / "10" / "pictures"
        of_file, of_memory = (
            load_splits(
                FolderTable(source="folder", root=root, size=SIDE, memory=limit), print, no_progress
            )
            for limit in ("1 MB", "1 TB")
        )
        count = STEPS * BATCH_SIZE
        compare("batches alone", count, given.rounds, reader(of_file), reader(of_memory))
        for anew in (False, True):
            title = f"batches alone, mapped {'for each' if anew else 'once'}"
            mapped = mapped_reader(of_file, anew=anew)
            compare(title, count, given.rounds, mapped, reader(of_memory))
        compare(f"{MODEL}", count, given.rounds, trainer(of_file), trainer(of_memory))
        compare_decoding(folder, 2 * given.images, given.rounds)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
