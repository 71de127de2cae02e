"""Files and folders for the tests that need torch; without it they are skipped."""

import gzip
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from shell import RECIPE, kdtool

IDX_NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


@pytest.fixture(autouse=True)
def user_cache(tmp_path, monkeypatch):
    """The folder that stands in for the user's cache, so that no test touches the real one."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    return tmp_path / "user-cache"


@pytest.fixture(autouse=True)
def same_numbers():
    """Draw the same weights and images each time: a clone passes or fails the same in each run."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def state_after_each_epoch(monkeypatch):
    """Save the state of a training after each epoch, however short it is."""
    monkeypatch.setattr("kdtool.train.fit.state.SECONDS_BETWEEN_SAVES", 0)


def as_idx(array):
    """The bytes of an IDX file that holds `array` as unsigned bytes."""
    header = bytes([0, 0, 8, array.ndim])
    return header + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


@pytest.fixture
def idx_bytes():
    """Turn an array into the bytes of an IDX file."""
    return as_idx


@pytest.fixture
def write_idx_set():
    """Write four IDX files of random images, as many of each class.

    Returns the arrays that they hold, `train_images` to `test_labels`.
    """

    def write(folder, *, num_train=40, num_test=20, num_classes=4, size=6, packed=False):
        generator = np.random.default_rng(0)
        arrays = {}
        for split, num_images in (("train", num_train), ("test", num_test)):
            shape = (num_images, size, size)
            arrays[f"{split}_images"] = generator.integers(0, 256, shape, np.uint8)
            arrays[f"{split}_labels"] = generator.permutation(np.arange(num_images) % num_classes)
        folder.mkdir(parents=True, exist_ok=True)
        for key, array in arrays.items():
            content = as_idx(array)
            if packed:
                (folder / f"{IDX_NAMES[key]}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / IDX_NAMES[key]).write_bytes(content)
        return SimpleNamespace(**arrays)

    return write


@pytest.fixture(scope="session")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="session")
def finished(recipe, tmp_path_factory):
    """The folder of a finished study; not to be changed."""
    out = tmp_path_factory.mktemp("runs")
    done = kdtool("distill", recipe, "--out", out, "--json")
    assert json.loads(done.stdout) == json.loads((out / "tiny" / "results.json").read_text())
    return out / "tiny"


@pytest.fixture
def study(finished, tmp_path):
    """A copy of the finished study."""
    return Path(shutil.copytree(finished, tmp_path / "runs" / "tiny"))
