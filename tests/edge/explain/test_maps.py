"""Maps and curves of scores whose answers are known in closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdtool.edge.explain.curves import STEPS, area, deletion, insertion, order_of
from kdtool.edge.explain.maps import masks, mean_colour, num_scored, occlusion, rise, scores
from kdtool.edge.explain.page import picture_of

GENERATOR = np.random.default_rng(0)
IMAGE = GENERATOR.integers(0, 256, (32, 40, 3), dtype=np.uint8)
SQUARE = (slice(8, 16), slice(20, 28))  # the only pixels that the score depends on


def bright_square(images):
    return images[:, *SQUARE].mean(axis=(1, 2, 3)) / 255


def white_square():
    image = np.zeros((32, 40, 1), np.uint8)
    image[SQUARE] = 255
    return image


def ignore(_number):
    pass


@pytest.mark.parametrize("method", [occlusion, rise])
def test_a_map_is_highest_where_the_score_looks(method):
    image = white_square()
    heatmap = method(image, bright_square, 64, ignore)
    assert heatmap.shape == image.shape[:2]
    inside = heatmap[SQUARE]
    outside = heatmap.copy()
    outside[4:20, 16:32] = -1  # nearer than a patch, or a cell of a mask
    assert inside.min() > 0
    assert inside.min() > outside.max()


def test_occlusion_is_the_mean_fall_of_the_patches_that_cover_a_pixel():
    """A score that is linear in the pixels: covering a patch takes its sum minus the mean's."""
    weights = GENERATOR.normal(size=(16, 16))
    image = GENERATOR.integers(0, 256, (16, 16, 1), dtype=np.uint8)
    heatmap = occlusion(
        image, lambda images: (images[..., 0] * weights).sum(axis=(1, 2)), 7, ignore
    )
    falls = weights * (image[..., 0] - float(mean_colour(image)[0]))
    expected = np.zeros((16, 16))
    times = np.zeros((16, 16))
    for top in range(15):  # patches of 2 x 2, one pixel apart
        for left in range(15):
            expected[top : top + 2, left : left + 2] += falls[top : top + 2, left : left + 2].sum()
            times[top : top + 2, left : left + 2] += 1
    np.testing.assert_allclose(heatmap, expected / times, rtol=1e-4, atol=1e-3)


def test_where_nothing_matters_a_map_is_zero_and_its_picture_dark():
    for method in (occlusion, rise):
        heatmap = method(IMAGE, lambda images: np.full(len(images), 0.25), 50, ignore)
        np.testing.assert_allclose(heatmap, 0, atol=1e-7)
    dark = picture_of(np.zeros(IMAGE.shape[:2]), IMAGE)
    assert dark.max() <= 0.32 * 255
    assert dark.shape == (32, 40, 3)


def test_masks_are_smooth_and_keep_half():
    found = list(masks(32, 40, 400))
    assert all(mask.shape == (32, 40) for mask in found)
    assert min(mask.min() for mask in found) >= 0
    assert max(mask.max() for mask in found) <= 1
    assert np.mean(found) == pytest.approx(0.5, abs=0.02)
    assert max(np.abs(np.diff(mask, axis=0)).max() for mask in found) <= 1 / 5 + 1e-6  # a cell
    again = list(masks(32, 40, 3))
    np.testing.assert_array_equal(again, found[:3])


@pytest.mark.parametrize("at_once", [1, 3, 64])
def test_batches_change_nothing(at_once):
    sizes = []
    whole = occlusion(IMAGE, bright_square, 1000, ignore)
    parts = occlusion(IMAGE, bright_square, at_once, sizes.append)
    np.testing.assert_allclose(parts, whole, atol=1e-7)
    assert max(sizes) <= at_once
    assert sum(sizes) == num_scored(IMAGE.shape, "occlusion", 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]))
def test_images_of_any_size_have_maps_and_curves(height, width, channels):
    image = np.full((height, width, channels), 200, np.uint8)
    image[0, 0] = 0

    def score(images):
        return images.mean(axis=(1, 2, 3))

    for method in (occlusion, lambda *given: rise(*given, num_masks=5)):
        heatmap = method(image, score, 16, ignore)
        assert heatmap.shape == (height, width)
        assert np.isfinite(heatmap).all()
        assert len(deletion(image, order_of(heatmap), score, 16, ignore)) == STEPS + 1


def test_curves_go_from_the_image_to_its_mean_colour_and_back():
    image = white_square()
    order = order_of(bright_order(image))
    down = deletion(image, order, bright_square, 8, ignore)
    up = insertion(image, order, bright_square, 8, ignore)
    blank = mean_colour(image)[0] / 255
    assert (down[0], down[-1]) == (pytest.approx(1), pytest.approx(blank))
    assert (up[0], up[-1]) == (pytest.approx(blank), pytest.approx(1))
    # 64 of 1,280 pixels are the square: they are gone after one of 16 steps.
    assert down[2] == pytest.approx(blank)
    assert up[2] == pytest.approx(1)


def bright_order(image):
    return image[..., 0].astype(float)


def test_the_area_of_a_straight_line_is_half_its_height():
    assert area(np.linspace(1, 0, STEPS + 1)) == pytest.approx(0.5)
    assert area(np.full(5, 0.3)) == pytest.approx(0.3)


def test_equal_pixels_are_taken_in_their_order():
    assert order_of(np.zeros((2, 3))).tolist() == [0, 1, 2, 3, 4, 5]
    assert order_of(np.array([[1, 3], [3, 0]])).tolist() == [1, 2, 0, 3]


def test_scores_of_no_more_images_than_asked_are_held():
    def images():
        for value in range(10):
            yield np.full((1, 1, 1), value, np.uint8)

    found = scores(images(), lambda batch: batch.reshape(-1).astype(float), 4, ignore)
    assert found.tolist() == list(range(10))


def test_a_picture_is_brightest_where_the_map_is_highest():
    heatmap = np.zeros((8, 8))
    heatmap[2, 3] = 5.0
    heatmap[4, 4] = -9.0  # below 0: black
    shown = picture_of(heatmap, np.zeros((8, 8, 1), np.uint8)).astype(int).sum(axis=2)
    assert np.unravel_index(shown.argmax(), shown.shape) == (2, 3)
    assert shown[4, 4] == shown[0, 0]
