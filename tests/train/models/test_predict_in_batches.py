"""The answers of a model to a whole split, in batches that fit."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from kdtool.errors import KdtoolError
from kdtool.train.data.splits import Split
from kdtool.train.models.predict import CPU_BATCH, CPU_PIXELS, predict
from kdtool.train.models.preprocess import Enlarge


class Sums(nn.Module):
    """Answers with the sum of each image's pixels, and notes how many it is given at a time."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, images):
        self.sizes.append(len(images))
        return images.sum(dim=(1, 2, 3)).unsqueeze(1)


class Hungry(nn.Module):
    """A network with a layer that no machine has room for."""

    def forward(self, images):
        return torch.empty(len(images), 2**50)


def split_of(num_images, *shape):
    images = torch.randint(256, (num_images, *shape), dtype=torch.uint8)
    return Split(images, torch.zeros(num_images, dtype=torch.int64))


def test_logits_are_in_the_order_of_the_images_whatever_the_batches():
    split, model = split_of(CPU_BATCH * 2 + 5, 1, 4, 6), Sums()
    expected = split.images.double().sum(dim=(1, 2, 3)).div(255).unsqueeze(1).float()
    torch.testing.assert_close(predict(model, split), expected)
    assert model.sizes == [CPU_BATCH, CPU_BATCH, 5]


def test_a_batch_has_no_more_pixels_than_fit_though_the_model_enlarges_its_images():
    sums = Sums()
    side = int((CPU_PIXELS / 3) ** 0.5)
    predict(nn.Sequential(Enlarge(side, side), sums), split_of(4, 1, 2, 2))
    assert sums.sizes == [3, 1]
    predict(nn.Sequential(Enlarge(2 * side, 2 * side), sums), split_of(2, 1, 2, 2))
    assert sums.sizes[2:] == [1, 1]


def test_running_out_of_memory_is_an_error_with_a_remedy():
    with pytest.raises(KdtoolError) as caught:
        predict(Hungry(), split_of(2, 3, 4, 6))
    assert str(caught.value) == (
        "a batch of 2 images of 6 x 4 pixels and 3 channels does not fit into memory; end other "
        "programs on the device, make the images smaller (--set data.size), or use another --device"
    )


SCRIPT = """
import resource, torch
from torch import nn
from kdtool.train.data.splits import Split
from kdtool.train.models.predict import predict

model = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(25088, 10))
split = Split(torch.zeros(12_800, 1, 28, 28, dtype=torch.uint8), torch.zeros(12_800).long())
for num_images in (1_280, 12_800):
    predict(model, split, rows=slice(num_images))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux does")
def test_memory_does_not_grow_with_the_number_of_images():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    few, many = map(int, done.stdout.split())
    assert many < few + 200_000  # kB; a batch takes 13,000
