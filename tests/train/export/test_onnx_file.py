import contextlib
import re

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from quantized import int8_of
from torch import nn

from kdtool.edge.count.graph import count_graph
from kdtool.edge.fp16 import to_fp16
from kdtool.edge.model_file import model_opset
from kdtool.edge.session import open_session
from kdtool.errors import KdtoolError
from kdtool.train.export import onnx_file
from kdtool.train.export.onnx_file import answers, as_given, compare, make_onnx
from kdtool.train.models.networks import build_model

SHAPE = (3, 16, 20)


@pytest.fixture(scope="module")
def model():
    model = build_model("mnist-cnn", SHAPE, 4, seed=0)
    return model.eval()


@pytest.fixture(scope="module")
def exported(model):
    return make_onnx(model, SHAPE, 4, 18)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (37, *SHAPE), np.uint8)


def logits_of(model, images):
    with torch.no_grad():
        return model(torch.from_numpy(images).float() / 255).numpy()


@pytest.fixture
def path(exported, tmp_path):
    onnx.save(exported, tmp_path / "student.onnx")
    return tmp_path / "student.onnx"


def test_the_file_takes_raw_pixels_and_gives_the_outputs_of_pytorch(path, model, images):
    logits = logits_of(model, images)
    given, probabilities = answers(path, as_given(images, "pixels"))
    parity = compare(given, logits)
    assert parity.passed
    assert (parity.num_images, parity.agreement, parity.flipped) == (37, 1.0, [])
    expected = torch.from_numpy(logits).softmax(dim=1).numpy()
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)


def test_another_model_does_not_pass(path, images):
    other = build_model("mnist-cnn", SHAPE, 4, seed=1).eval()
    logits = logits_of(other, images)
    given, _ = answers(path, as_given(images, "pixels"))
    parity = compare(given, logits)
    assert not parity.passed
    assert len(parity.flipped) == round((1 - parity.agreement) * 37) > 0


def test_logits_that_drift_without_flipping_a_class_do_not_pass(path, model, images):
    logits = logits_of(model, images) * 1.01
    given, _ = answers(path, as_given(images, "pixels"))
    parity = compare(given, logits)
    assert parity.agreement == 1.0
    assert not parity.passed


def test_inputs_and_outputs_are_named_and_the_batch_is_free(exported):
    (image,) = exported.graph.input
    dims = [dim.dim_param or dim.dim_value for dim in image.type.tensor_type.shape.dim]
    assert (image.name, dims) == ("image", ["batch", 16, 20, 3])
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [output.name for output in exported.graph.output] == ["logits", "probabilities"]


def test_the_file_has_no_trace_of_this_machine(exported):
    content = exported.SerializeToString()
    for trace in (b"/kdtool/", b".py", b"site-packages", b"stack_trace", b"torch"):
        assert trace not in content


def test_the_same_model_gives_the_same_bytes(exported, model):
    again = make_onnx(model, SHAPE, 4, 18)
    assert again.SerializeToString() == exported.SerializeToString()


def test_the_exporter_makes_its_table_of_operators_once(model, monkeypatch):
    """The file is the same, to the last byte, as with a table of its own."""
    make_onnx(model, SHAPE, 4, 18)
    made = onnx_file._operators.cache_info()
    kept = make_onnx(model, SHAPE, 4, 18)
    after = onnx_file._operators.cache_info()
    assert (after.misses, after.hits) == (made.misses, made.hits + 1)
    monkeypatch.setattr(onnx_file, "_operators_made_once", contextlib.nullcontext)
    own = make_onnx(model, SHAPE, 4, 18)
    assert onnx_file._operators.cache_info() == after
    assert own.SerializeToString() == kept.SerializeToString()


@pytest.mark.parametrize("opset", [18, 20])
def test_the_opset_is_the_one_asked_for(model, opset):
    exported = make_onnx(model, SHAPE, 4, opset)
    assert {entry.domain: entry.version for entry in exported.opset_import}[""] == opset


def test_the_file_counts_as_the_model_does(path, model):
    cost = count_graph(path)
    assert cost.num_params == sum(parameter.numel() for parameter in model.parameters())
    assert cost.uncounted_ops == ()


def test_exporting_does_not_change_the_model(images):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(960, 4)).train()
    make_onnx(model, SHAPE, 4, 18)
    assert model.training


@pytest.mark.parametrize(
    ("form", "dims", "dtype"),
    [
        ("resize", ["batch", "height", "width", 3], onnx.TensorProto.UINT8),
        ("tensor", ["batch", 3, 16, 20], onnx.TensorProto.FLOAT),
    ],
)
def test_other_input_forms_give_the_same_outputs(model, images, tmp_path, form, dims, dtype):
    exported = make_onnx(model, SHAPE, 4, 18, form)
    (image,) = exported.graph.input
    shape = [dim.dim_param or dim.dim_value for dim in image.type.tensor_type.shape.dim]
    assert (shape, image.type.tensor_type.elem_type) == (dims, dtype)
    onnx.save(exported, tmp_path / "model.onnx")
    given, _ = answers(tmp_path / "model.onnx", as_given(images, form))
    assert compare(given, logits_of(model, images)).passed


@pytest.mark.parametrize("kind", ["int8", "fp16"])
def test_a_smaller_file_that_resizes_crops_as_the_fp32_file_does(model, images, tmp_path, kind):
    """Images of the model's own size would not show it: the sizes are computed in the graph."""
    fp32, pixels = make_onnx(model, SHAPE, 4, 18, "resize"), as_given(images, "resize")
    small = int8_of(fp32, pixels, "portable") if kind == "int8" else to_fp16(fp32)
    large = np.repeat(np.repeat(pixels[:2], 197, axis=1), 31, axis=2)
    sized = []
    for one in (fp32, small):
        one.graph.output.append(helper.make_tensor_value_info("sized", TensorProto.UINT8, None))
        onnx.save(one, tmp_path / "model.onnx")
        sized.append(open_session(tmp_path / "model.onnx").run(["sized"], {"image": large})[0])
    np.testing.assert_array_equal(sized[1], sized[0])


def test_subclasses_are_merged_in_the_file(images, tmp_path):
    """A model of 4 classes with 5 subclasses each is one of 4 classes to its user, int8 as well."""
    model = build_model("mnist-mlp", SHAPE, 20, seed=0).eval()
    fp32, pixels = make_onnx(model, SHAPE, 4, 18), as_given(images, "pixels")
    of_subclasses = torch.from_numpy(logits_of(model, images)).softmax(dim=1).numpy()
    expected = of_subclasses.reshape(len(images), 4, 5).sum(axis=2)
    for one, tolerance in ((fp32, 1e-6), (int8_of(fp32, pixels, "portable"), 2e-3)):
        onnx.save(one, tmp_path / "model.onnx")
        logits, probabilities = answers(tmp_path / "model.onnx", pixels)
        assert logits.shape == (37, 4)
        np.testing.assert_allclose(probabilities, expected, atol=tolerance)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_an_opset_that_the_exporter_does_not_write_is_one_error(model, capfd):
    with pytest.raises(KdtoolError, match=r"export.opset = 99"):
        make_onnx(model, SHAPE, 4, 99)
    out, err = capfd.readouterr()
    assert out + err == ""


STEP = 2.0**-20  # about 1e-6, and exact in float32 next to 2


def logits(*rows):
    return np.array(rows, np.float32)


@pytest.mark.parametrize(
    ("expected", "given", "flipped", "ties", "passed"),
    [
        # PyTorch's margin is 0, the file rounds the other way
        (logits([2, 2, 0]), logits([2, 2 + STEP, 0]), [], [0], True),
        # the margin is as large as the error
        (logits([2 + STEP, 2, 0]), logits([2, 2 + STEP / 2, 0]), [], [0], True),
        # the margin is above the error, as both logits err in opposite directions: a flip
        (
            logits([2 + 3 * STEP, 2, 0]),
            logits([2 + STEP, 2 + 2 * STEP, 0]),
            [0],
            [],
            False,
        ),
        # a margin below an error that is itself too large is no excuse
        (logits([1, 0, 0]), logits([0, 1, 0]), [0], [], False),
        (logits([2, 2 - 2.0**-10, 0]), logits([2 - 2.0**-10, 2, 0]), [0], [], False),
        # a tie is forgiven, the flip of another image is not
        (logits([2, 2, 0], [9, 3, 1]), logits([2, 2 + STEP, 0], [3, 9, 1]), [1], [0], False),
        # not finite: another class, and an error that is no number
        (logits([2, 2, 0]), logits([np.nan, 2, 0]), [0], [], False),
        (logits([2, 1, 0]), logits([2, 1, 0]), [], [], True),
    ],
)
def test_an_image_is_flipped_only_if_pytorchs_margin_is_above_the_error(
    expected, given, flipped, ties, passed
):
    parity = compare(given, expected)
    assert (parity.flipped, parity.ties, parity.passed) == (flipped, ties, passed)
    assert parity.agreement == 1 - len(flipped) / len(given)


def test_one_tie_among_ten_thousand_images_passes():
    rng = np.random.default_rng(0)
    expected = rng.normal(0, 4, (10_000, 10)).astype(np.float32)
    expected[1234, :2] = expected[1234].max() + 1  # two classes of exactly one logit
    given = expected + rng.uniform(-STEP, STEP, expected.shape).astype(np.float32)
    given[1234, 1] = given[1234, 0] + STEP
    parity = compare(given, expected)
    assert parity.passed
    assert 1234 in parity.ties
    assert parity.agreement == 1


def test_an_opset_that_is_too_new_names_the_highest_that_works(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).eval()
    with pytest.raises(KdtoolError, match=r"got export\.opset = 99, but the highest") as caught:
        make_onnx(network, (1, 8, 8), 4, 99)
    highest = int(re.search(r"is (\d+); the lowest is 18", str(caught.value))[1])
    path = tmp_path / "model.onnx"
    onnx.save(make_onnx(network, (1, 8, 8), 4, highest), path)
    assert model_opset(onnx.load(path)) == highest
    open_session(path)
