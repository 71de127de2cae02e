import onnx
import pytest

from kdtool.edge.metadata import (
    image_properties,
    model_api_properties,
    read_metadata,
    shape_of_image,
    write_metadata,
)
from kdtool.edge.session import open_session
from kdtool.errors import ModelFileError

VALUES = {
    "schema": 1,
    "classes": ["chat", "café", "犬"],
    "preprocess": {"std": [0.25], "mean": [0.5], "layout": None},
}


def test_metadata_comes_back_from_the_model_and_from_a_session(tiny_onnx):
    model = onnx.load(tiny_onnx)
    write_metadata(model, VALUES)
    onnx.save(model, tiny_onnx)
    assert read_metadata(onnx.load(tiny_onnx)) == VALUES
    assert read_metadata(open_session(tiny_onnx)) == VALUES


def test_keys_are_sorted_and_text_stays_readable(tiny_onnx):
    model = onnx.load(tiny_onnx)
    model.metadata_props.add(key="Image.BitmapPixelFormat", value="Rgb8")
    write_metadata(model, {"schema": 1})
    write_metadata(model, {"classes": ["犬"], "schema": 2})
    assert [(prop.key, prop.value) for prop in model.metadata_props] == [
        ("Image.BitmapPixelFormat", "Rgb8"),
        ("kdtool.classes", '["犬"]'),
        ("kdtool.schema", "2"),
    ]


@pytest.mark.parametrize(("channels", "pixels"), [(1, "Gray8"), (3, "Rgb8")])
def test_keys_of_onnx_are_plain_text(tiny_onnx, channels, pixels):
    model = onnx.load(tiny_onnx)
    model.metadata_props.add(key="names", value="cats")
    for _ in range(2):  # writing again changes nothing
        write_metadata(model, {"schema": 1}, image_properties(channels))
    assert [(prop.key, prop.value) for prop in model.metadata_props] == [
        ("names", "cats"),
        ("Image.BitmapPixelFormat", pixels),
        ("Image.ColorSpaceGamma", "SRGB"),
        ("Image.NominalPixelRange", "NominalRange_0_255"),
        ("kdtool.schema", "1"),
    ]
    assert read_metadata(model) == {"schema": 1}


def test_metadata_of_other_tools_is_ignored(tiny_onnx):
    model = onnx.load(tiny_onnx)
    model.metadata_props.add(key="names", value="{0: 'cat'}")
    assert read_metadata(model) == {}


@pytest.mark.parametrize("text", ["{0: 'cat'}", "__import__('os')", "", "[" * 100_000])
def test_what_is_not_json_is_refused_and_never_run(tiny_onnx, text):
    model = onnx.load(tiny_onnx)
    model.metadata_props.add(key="kdtool.classes", value=text)
    with pytest.raises(ModelFileError, match=r"kdtool\.classes are not JSON"):
        read_metadata(model)


@pytest.mark.parametrize("height", ["224", None, 0, -1, 1.5, [224], True])
def test_a_height_that_is_not_a_positive_integer_is_refused(tiny_onnx, height):
    model = onnx.load(tiny_onnx)
    made_for = {"input": "resize", "height": 28, "width": 32, "channels": 3}
    write_metadata(model, {"preprocess": made_for})
    assert shape_of_image(model) == {"": (28, 32, 3)}
    write_metadata(model, {"preprocess": made_for | {"height": height}})
    with pytest.raises(
        ModelFileError,
        match=r"kdtool\.preprocess have height, width and channels",
    ):
        shape_of_image(model)
    del made_for["height"]
    write_metadata(model, {"preprocess": made_for})
    with pytest.raises(ModelFileError, match=r"\[None, 32, 3\]; expected three"):
        shape_of_image(model)


def test_a_nan_is_never_written(tiny_onnx):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_metadata(onnx.load(tiny_onnx), {"accuracy": float("nan")})


def test_labels_of_openvinos_model_api_are_split_at_spaces_only_between_classes():
    names = ["fox", "great spotted woodpecker", " oak\t"]
    properties = model_api_properties(names)
    assert properties["model_info labels"].split() == ["fox", "great_spotted_woodpecker", "oak"]
    assert properties["model_info model_type"] == "Classification"
