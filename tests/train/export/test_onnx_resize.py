"""The front end of a file that takes images of any size, against Pillow."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from kdtool.edge.portable.picture import fit
from kdtool.edge.session import open_session
from kdtool.train.export.onnx_file import add_resize

RNG = np.random.default_rng(0)


def front_end(height, width, channels, tmp_path):
    shape = ["batch", height, width, channels]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["same"])],
        "model",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("same", TensorProto.UINT8, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    add_resize(model, (height, width))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "front.onnx")
    return open_session(tmp_path / "front.onnx")


def picture(height, width):
    coarse = RNG.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def as_pillow(image, size):
    """Resize the shorter side as torchvision does it, and crop the centre."""
    (height, width), (to_height, to_width) = image.shape[:2], size
    if to_height * width >= to_width * height:
        new = (to_height, max(to_width, to_height * width // height))
    else:
        new = (max(to_height, to_width * height // width), to_width)
    scaled = Image.fromarray(image).resize(new[::-1], Image.Resampling.BILINEAR)
    top, left = (new[0] - to_height) // 2, (new[1] - to_width) // 2
    return np.array(scaled)[top : top + to_height, left : left + to_width]


@pytest.mark.parametrize("size", [(28, 28), (32, 48)])
@pytest.mark.parametrize(
    "given", [(100, 100), (57, 120), (13, 20), (300, 200), (29, 28), (28, 29), (480, 640)]
)
def test_scaled_and_cropped_as_pillow_does_it(size, given, tmp_path):
    session = front_end(*size, 3, tmp_path)
    image = picture(*given)
    (result,) = session.run(None, {"image": np.stack([image, image[::-1]])})
    for made, source in zip(result, (image, image[::-1]), strict=True):
        expected = as_pillow(np.ascontiguousarray(source), size)
        assert np.abs(made.astype(int) - expected).max() <= 1
        fitted = np.asarray(fit(Image.fromarray(source), size[1], size[0]))  # as training does it
        assert np.abs(fitted.astype(int) - expected).max() <= 1


def test_an_image_of_the_right_size_passes_unchanged(tmp_path):
    session = front_end(28, 20, 1, tmp_path)
    images = RNG.integers(0, 256, (3, 28, 20, 1), np.uint8)
    np.testing.assert_array_equal(session.run(None, {"image": images})[0], images)
