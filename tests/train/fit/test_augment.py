"""Against torchvision, image by image, with what was drawn read from the same generator."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from kdtool.train.fit.augment import augment, draw_affine


def smooth_images(count, channels, height, width):
    """Images without edges, as two resamplings may differ at edges."""
    rows = torch.linspace(0, 3, height).reshape(-1, 1)
    columns = torch.linspace(0, 2, width)
    phases = torch.arange(count * channels).reshape(count, channels, 1, 1) / 3
    return (torch.sin(rows + phases) * torch.cos(columns - phases) + 1) / 2


def test_mirrored_images_are_exact_and_each_is_drawn_alone():
    images = torch.rand(200, 3, 5, 7)
    found = augment(images, ["flip"], np.random.default_rng(0))
    mirrored = [torch.equal(one, image.flip(2)) for one, image in zip(found, images, strict=True)]
    same = [torch.equal(one, image) for one, image in zip(found, images, strict=True)]
    assert sum(mirrored) + sum(same) == 200
    assert 70 < sum(mirrored) < 130
    assert torch.equal(augment(images, ["vflip:1"], np.random.default_rng(0)), images.flip(2))


@pytest.mark.parametrize(("height", "width"), [(24, 24), (20, 30)])
def test_rotated_images_are_those_of_torchvision(height, width):
    images = smooth_images(6, 3, height, width)
    found = augment(images, ["rotate:30"], np.random.default_rng(3))
    rng = np.random.default_rng(3)
    rng.uniform(0, 0, 12)  # area and ratio
    degrees = rng.uniform(-30, 30, 6)
    middle = slice(7, -7)  # corners come from beyond the picture
    for one, image, angle in zip(found, images, degrees, strict=True):
        bilinear = reference.InterpolationMode.BILINEAR
        # its angles are counter-clockwise, ours say where a pixel comes from
        expected = reference.rotate(image, angle, interpolation=bilinear)
        torch.testing.assert_close(
            one[:, middle, middle], expected[:, middle, middle], atol=2e-3, rtol=0
        )


def test_cropped_images_are_those_of_torchvision():
    images = smooth_images(8, 3, 32, 32)
    found = augment(images, ["crop:0.3"], np.random.default_rng(5))
    boxes = draw_affine({"crop": 0.3}, 8, 1.0, np.random.default_rng(5))
    for one, image, box in zip(found, images, boxes, strict=True):
        wide, high = 32 * box[0, 0], 32 * box[1, 1]
        left, top = 16 * (box[0, 2] + 1) - wide / 2, 16 * (box[1, 2] + 1) - high / 2
        assert 0 <= left <= left + wide <= 32 + 1e-9
        assert 0 <= top <= top + high <= 32 + 1e-9
        whole = [round(value) for value in (top, left, high, wide)]
        expected = reference.resized_crop(image, *whole, size=[32, 32], antialias=False)
        # torchvision crops at whole pixels
        assert (one - expected).abs().max() < 0.06


def test_crops_have_the_areas_and_ratios_asked_for():
    boxes = draw_affine({"crop": 0.4}, 5000, 1.0, np.random.default_rng(0))
    area, ratio = boxes[:, 0, 0] * boxes[:, 1, 1], boxes[:, 0, 0] / boxes[:, 1, 1]
    assert 0.4 <= area.min() + 1e-9 < 0.41
    assert 0.99 < area.max() <= 1 + 1e-9
    assert boxes[:, [0, 1], [0, 1]].max() <= 1 + 1e-9  # no side is longer than the image's
    assert np.all(ratio < 4 / 3 + 1e-9)
    assert np.all(ratio > 3 / 4 - 1e-9)
    assert np.median(ratio) == pytest.approx(1, abs=0.03)


def test_a_crop_that_keeps_all_is_the_image():
    images = torch.rand(20, 3, 9, 12)
    torch.testing.assert_close(augment(images, ["crop:1"], np.random.default_rng(0)), images)


def test_shifted_images_move_by_the_share_of_a_side():
    images = smooth_images(4, 1, 40, 40)
    found = augment(images, ["shift:0.2"], np.random.default_rng(1))
    _, _, *shift = draw_affine({"shift": 0.2}, 4, 1.0, np.random.default_rng(1)).transpose(2, 1, 0)
    for one, image, (x, y) in zip(found, images, shift[0].T, strict=True):
        columns, rows = torch.meshgrid(torch.arange(12, 28), torch.arange(12, 28), indexing="xy")
        expected = image[0, (rows + 20 * y).round().long(), (columns + 20 * x).round().long()]
        assert (one[0, 12:28, 12:28] - expected).abs().max() < 0.05
        assert max(abs(x), abs(y)) <= 0.4


@pytest.mark.parametrize("kind", ["brightness", "contrast"])
@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_and_contrast_are_those_of_torchvision(kind, channels):
    images = torch.rand(5, channels, 6, 6)
    found = augment(images, [f"{kind}:0.7"], np.random.default_rng(2))
    factors = np.random.default_rng(2).uniform(0.3, 1.7, 5)
    change = getattr(reference, f"adjust_{kind}")
    for one, image, factor in zip(found, images, factors, strict=True):
        torch.testing.assert_close(one, change(image, factor), atol=1e-4, rtol=0)


def test_beyond_its_border_an_image_is_mirrored():
    images = torch.full((3, 1, 16, 16), 0.5)
    asked = ["rotate:45", "shift:0.5", "crop:0.5"]
    found = augment(images, asked, np.random.default_rng(0))
    torch.testing.assert_close(found, images)
    assert math.isclose(float(found.std()), 0, abs_tol=1e-6)
