"""Any ONNX file answers as a model of the study does, by its own preprocessing."""

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch.nn import functional as F

from kdtool.edge.metadata import write_metadata
from kdtool.errors import KdtoolError
from kdtool.recipe.training import Normalization, TrainTable
from kdtool.train.models.count import count
from kdtool.train.models.describe import describe_model
from kdtool.train.models.onnx_teacher import OnnxTeacher, made_by
from kdtool.train.models.trained_teacher import InOrder, in_order

CLASSES = ["ant", "bee", "cat", "dog"]
TYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}
ROUNDING = {"uint8": 1e-4, "float32": 1e-5, "float16": 2e-2}
WEIGHT = np.random.default_rng(0).normal(size=(4, 2 * 4 * 3)).astype(np.float32)
HALF = Normalization(mean=[0.5], std=[0.25])


@pytest.fixture
def linear(make_onnx):
    """A function that writes a linear classifier of 2x4 pixels, and returns its path.

    It divides uint8 pixels by 255; `logits` are `WEIGHT` times the pixels as the file takes them.
    """

    def write(dtype="float32", dims=("N", 3, 2, 4), *, last=None, baked=None, name="logits"):
        channels = dims[1] if dims[1] in (1, 3) else dims[3]
        nodes = [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["float", "scale"], ["pixels"]),
            helper.make_node("Reshape", ["pixels", "shape"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weight"], ["scores" if last else name], transB=1),
        ]
        if last:
            nodes.append(helper.make_node(last, ["scores"], ["answers"]))
            nodes.append(helper.make_node("Identity", ["answers"], [name]))
        stored = {
            "scale": np.array(255 if dtype == "uint8" else 1, np.float32),
            "shape": np.array([baked or -1, 8 * channels]),
            "weight": WEIGHT[:, : 8 * channels],
        }
        inputs = {"image": (TYPES[dtype], list(dims))}
        return make_onnx(nodes, inputs, stored, outputs=[name])

    return write


@pytest.fixture
def images():
    """Three grey and three colour images of 2x4 pixels, in 256 steps."""
    pixels = torch.randint(0, 256, (3, 3, 2, 4), generator=torch.Generator().manual_seed(1)) / 255
    return {1: pixels[:, :1], 3: pixels}


def teacher_of(path, shape=(3, 2, 4), **keys):
    return OnnxTeacher(TrainTable(model=str(path), **keys), shape).eval()


def expected(images):
    flat = images.reshape(len(images), -1)
    return flat @ torch.from_numpy(WEIGHT[:, : flat.shape[1]]).T


@pytest.mark.parametrize("batch", ["N", 1, 2, 8])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
def test_the_answers_are_those_of_the_file(linear, images, dtype, channels_last, batch):
    dims = (batch, 2, 4, 3) if channels_last else (batch, 3, 2, 4)
    teacher = teacher_of(linear(dtype, dims), normalize="none")
    given = images[3].permute(0, 2, 3, 1) if channels_last else images[3]
    logits = teacher(images[3].contiguous(memory_format=torch.channels_last))
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected(given), atol=ROUNDING[dtype], rtol=0)
    assert teacher.notes == []


@pytest.mark.parametrize("name", ["logits", "anything"])
def test_probabilities_become_logits_of_the_same_probabilities(linear, images, name):
    teacher = teacher_of(linear(last="Softmax", name=name), normalize="none")
    assert teacher.notes == [
        f"its output {name} contains probabilities; their logarithms are used as logits"
    ]
    logits = teacher(images[3])
    torch.testing.assert_close(logits.softmax(1), expected(images[3]).softmax(1))
    assert teacher(images[3] * 100).isfinite().all()  # where a probability is 0


def test_sigmoids_become_the_logits_before_them(linear, images):
    teacher = teacher_of(linear(last="Sigmoid"), normalize="none")
    (note,) = teacher.notes
    assert note.startswith("its output logits is a sigmoid for each class")
    torch.testing.assert_close(teacher(images[3]), expected(images[3]), atol=1e-4, rtol=1e-4)
    assert teacher(images[3] * 100).isfinite().all()  # where a sigmoid is 0 or 1


@pytest.mark.parametrize(
    ("normalize", "mean", "std"),
    [
        ("imagenet", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        (HALF, [0.5], [0.25]),
        (Normalization(mean=[0.1, 0.2, 0.3], std=[1]), [0.1, 0.2, 0.3], [1.0]),
    ],
)
def test_pixels_are_normalized_as_the_recipe_says(linear, images, normalize, mean, std):
    teacher = teacher_of(linear(), normalize=normalize)
    mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (mean, std))
    wanted = expected((images[3] - mean) / std)
    torch.testing.assert_close(teacher(images[3]), wanted, atol=1e-4, rtol=0)


def with_metadata(path, values=None, standard=None):
    model = onnx.load(path)
    write_metadata(model, values or {}, standard)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("values", "standard", "change"),
    [
        ({"preprocess": {"input": "tensor"}}, {}, lambda pixels: pixels),
        ({}, {"Image.NominalPixelRange": "Normalized_0_1"}, lambda pixels: pixels),
        ({}, {"Image.NominalPixelRange": "Normalized_1_1"}, lambda pixels: 2 * pixels - 1),
        ({}, {"Image.NominalPixelRange": "NominalRange_0_255"}, lambda pixels: 255 * pixels),
    ],
)
def test_a_file_may_say_how_it_takes_pixels(linear, images, values, standard, change):
    teacher = teacher_of(with_metadata(linear(), values, standard))
    torch.testing.assert_close(teacher(images[3]), expected(change(images[3])), atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("dims", "keys"),
    [(("N", 3, 2, 4), {}), (("N", 3, "H", "W"), {"input_size": 3})],
)
def test_images_of_another_size_are_resized_with_a_note(make_onnx, linear, images, dims, keys):
    if keys:  # any size: the mean of each colour, and a fourth output for their sum
        nodes = [
            helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["logits"]),
        ]
        path = make_onnx(nodes, {"image": (TensorProto.FLOAT, list(dims))}, outputs=["logits"])
    else:
        path = linear()
    large = torch.rand(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    size = (3, 3) if keys else (2, 4)
    teacher = teacher_of(path, (3, 7, 9), normalize="none", **keys)
    assert teacher.notes == [f"images of 7x9 are resized to {size[0]}x{size[1]} for it"]
    scaled = F.interpolate(large, size, mode="bilinear", antialias=True)
    wanted = scaled.mean(dim=(2, 3)) if keys else expected(scaled)
    torch.testing.assert_close(teacher(large), wanted)


def test_a_file_that_takes_any_size_gets_images_unchanged(make_onnx):
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["logits"], axes=[2, 3], keepdims=0),
    ]
    inputs = {"image": (TensorProto.FLOAT, ["N", 3, "H", "W"])}
    path = make_onnx(nodes, inputs, outputs=["logits"], opset=13)
    large = torch.rand(2, 3, 7, 9)
    teacher = teacher_of(path, (3, 7, 9), normalize="none")
    assert torch.equal(teacher(large), large.amax(dim=(2, 3)))


def test_grey_images_for_a_file_that_takes_colour_and_the_reverse(linear, images):
    colour = teacher_of(linear(), (1, 2, 4), normalize="none")
    torch.testing.assert_close(colour(images[1]), expected(images[1].expand(-1, 3, -1, -1)))
    assert "repeated" in colour.notes[0]
    grey = teacher_of(linear(dims=("N", 1, 2, 4)), (3, 2, 4), normalize="none")
    red, green, blue = images[3].unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    torch.testing.assert_close(grey(images[3]), expected(luma.unsqueeze(1)))
    assert "converted to grey" in grey.notes[0]


def test_without_a_runtime_for_the_gpu_it_answers_on_the_processor_and_says_so(linear):
    teacher = teacher_of(linear(), normalize="none")
    for _ in range(2):
        assert teacher._session_on(torch.device("mps")) is teacher.session
    assert teacher.notes == ["it runs on the processor: ONNX Runtime and PyTorch do not share mps"]


FLOAT = (TensorProto.FLOAT, ["N", 3, 2, 4])
TWO_OUTPUTS = [
    helper.make_node("Flatten", ["image"], ["first"]),
    helper.make_node("Neg", ["first"], ["second"]),
]


@pytest.mark.parametrize(
    ("nodes", "inputs", "outputs", "keys", "message"),
    [
        (
            TWO_OUTPUTS,
            {"image": FLOAT},
            ["first"],
            {},
            r"its metadata has no pixel range; set teacher\.normalize =",
        ),
        (
            TWO_OUTPUTS,
            {"image": FLOAT},
            ["first", "second"],
            {"normalize": "none"},
            r"returns first \(2, 24\), second \(2, 24\) for 2 images; expected one float output",
        ),
        (
            [helper.make_node("Relu", ["image"], ["y"])],
            {"image": FLOAT},
            ["y"],
            {"normalize": "none"},
            r"returns y \(2, 3, 2, 4\) for 2 images; expected .* \(2, C\) or \(2, C, 1, 1\)",
        ),
        (
            TWO_OUTPUTS,
            {"image": FLOAT},
            ["first"],
            {"normalize": Normalization(mean=[0, 0], std=[1])},
            "2 means and 1 standard deviations",
        ),
        (
            TWO_OUTPUTS,
            {"image": FLOAT},
            ["first"],
            {"normalize": "none", "input_size": 7},
            r"teacher\.input_size = 7, but .* takes images of 2x4",
        ),
        (
            TWO_OUTPUTS,
            {"image": (TensorProto.FLOAT, ["N", "C", 2, 4])},
            ["first"],
            {},
            r"takes image: tensor\(float\) .*; expected one image input",
        ),
        (
            [helper.make_node("Cast", ["image"], ["first"], to=TensorProto.FLOAT)],
            {"image": (TensorProto.DOUBLE, ["N", 3, 2, 4])},
            ["first"],
            {},
            r"takes image: tensor\(double\)",
        ),
        (
            [helper.make_node("Sqrt", ["minus"], ["nan"]), *TWO_OUTPUTS],
            {"image": FLOAT, "minus": FLOAT},
            ["first"],
            {},
            "image: .*, minus: .*; expected one image input",
        ),
        (
            [
                helper.make_node("Flatten", ["image"], ["flat"]),
                helper.make_node("Neg", ["flat"], ["minus"]),
                helper.make_node("Sqrt", ["minus"], ["y"]),
            ],
            {"image": FLOAT},
            ["y"],
            {"normalize": "none"},
            "returns NaN or infinity for random images",
        ),
        *(
            (TWO_OUTPUTS, {"image": (TensorProto.FLOAT, dims)}, ["first"], {}, message)
            for dims, message in (
                ([2**40, 3, 2, 4], r"takes 1,099,511,627,776 images of 2x4 at a time"),
                ([2**63 - 1, 3, 2, 4], r"images of 2x4 at a time.* dynamic batch size"),
                (["N", 3, 2**20, 2**20], r"takes 2 images of 1,048,576x1,048,576 at a time"),
            )
        ),
    ],
)
def test_a_file_that_cannot_teach(make_onnx, nodes, inputs, outputs, keys, message):
    path = make_onnx(nodes, inputs, outputs=outputs)
    with pytest.raises(KdtoolError, match=message):
        teacher_of(path, **keys)


def test_more_bad_files(linear, tmp_path):
    with pytest.raises(KdtoolError, match=r"uint8 images and normalizes them itself"):
        teacher_of(linear("uint8"), normalize="imagenet")
    with pytest.raises(KdtoolError, match=r"fails on a batch of shape \(2, 3, 2, 4\)"):
        teacher_of(linear(baked=1), normalize="none")
    with pytest.raises(KdtoolError, match="cannot read the model"):
        teacher_of(tmp_path / "gone.onnx")


def ordered(path, classes, outputs=None):
    table = TrainTable(model=str(path), normalize="none", classes=outputs)
    return in_order(OnnxTeacher(table, (3, 2, 4)), table, classes)


def test_outputs_are_put_into_the_order_of_the_classes_by_name(linear, images):
    path, logits = linear(), expected(images[3])
    assert torch.equal(
        ordered(path, CLASSES)(images[3]), ordered(path, CLASSES, CLASSES)(images[3])
    )
    swapped = ordered(path, ["bee", "ant", "dog", "cat"], CLASSES)
    torch.testing.assert_close(swapped(images[3]), logits[:, [1, 0, 3, 2]])
    some = ordered(path, ["dog", "bee"], CLASSES)  # of the others it knows more than is asked
    torch.testing.assert_close(some(images[3]), logits[:, [3, 1]])
    named = with_metadata(path, {"classes": CLASSES})
    by_itself = ordered(named, ["dog", "cat", "bee", "ant"])
    torch.testing.assert_close(by_itself(images[3]), logits.flip(1))
    assert by_itself.model.notes == [
        "its classes are ant, bee, cat, dog; reordered to those of the data"
    ]
    assert not isinstance(ordered(named, CLASSES), InOrder)


@pytest.mark.parametrize(
    ("named", "classes", "outputs", "message"),
    [
        (None, ["a", "b"], None, "has 4 outputs, but no names, and the data 2 classes; list"),
        (None, ["a", "b"], ["a", "b"], "has 4 outputs, but 2 names"),
        (
            None,
            ["ant", "dgo"],
            CLASSES,
            "lacks 'dgo', a class of the data; is 'dog' that class?",
        ),
        (None, ["ant", "dog"], ["ant", "dog", "dog", "cat"], "contains 'dog' twice"),
        (CLASSES, list("abcd"), None, r'lacks .* set teacher\.classes = \["a", "b", "c", "d"\]'),
        (CLASSES, ["ant", "fly"], None, "list the outputs by the names of the data's classes"),
    ],
)
def test_names_that_do_not_fit(linear, named, classes, outputs, message):
    path = linear()
    if named:
        with_metadata(path, {"classes": named})
    with pytest.raises(KdtoolError, match=message):
        ordered(path, classes, outputs)


def test_the_file_is_known_by_its_content_and_not_by_its_place(linear, tmp_path):
    path = linear()
    moved = tmp_path / "other" / "teacher.onnx"
    moved.parent.mkdir()
    moved.write_bytes(path.read_bytes())
    one, other = (
        describe_model("m.onnx", teacher_of(each, normalize="none")) for each in (path, moved)
    )
    assert one == other
    assert str(tmp_path) not in repr(teacher_of(moved, normalize="none"))
    assert one != describe_model("m.onnx", teacher_of(path, normalize=HALF))
    with_metadata(path, {"classes": CLASSES})
    assert one != describe_model("m.onnx", teacher_of(path, normalize="none"))
    table = TrainTable(model=str(moved)).without_paths
    assert json.loads(table.model_dump_json())["model"] == "teacher.onnx"


@pytest.mark.parametrize("batch", ["N", 2, -1])
def test_a_network_that_ends_in_a_convolution_can_teach(make_onnx, images, batch):
    weight = WEIGHT.reshape(4, 3, 2, 4)  # as large as the image: (N, 4, 1, 1)
    conv = helper.make_node("Conv", ["image", "weight"], ["y"])
    path = make_onnx([conv], {"image": (TensorProto.FLOAT, [batch, 3, 2, 4])}, {"weight": weight})
    teacher = teacher_of(path, normalize="none")
    torch.testing.assert_close(teacher(images[3]), expected(images[3]))
    assert teacher.num_logits == 4
    assert count(teacher, (3, 2, 4)).num_macs == 4 * 24


@pytest.mark.parametrize("batch", ["N", 4])
def test_one_image_is_counted(linear, batch):
    teacher = teacher_of(linear(dims=(batch, 3, 2, 4)), normalize="none")
    cost = count(InOrder(teacher, CLASSES, CLASSES[::-1]), (3, 2, 4))
    assert (cost.num_params, cost.num_macs, cost.num_flops) == (4 * 24, 4 * 24, 2 * 4 * 24)
    assert cost.thop_macs is None


@pytest.mark.parametrize(
    ("links", "maker"),
    [
        ([("Sigmoid", "image", "a"), ("Identity", "a", "output")], "Sigmoid"),
        ([("Identity", "image", "output")], None),
        ([("Identity", "output", "output")], None),
        ([("Identity", "b", "a"), ("Cast", "a", "b"), ("Flatten", "a", "output")], None),
    ],
    ids=["a sigmoid", "the input", "itself", "a circle"],
)
def test_the_operator_behind_an_output_is_found_in_any_graph(links, maker):
    nodes = [helper.make_node(op, [given], [made]) for op, given, made in links]
    model = helper.make_model(helper.make_graph(nodes, "links", [], []))
    assert made_by(model, "output") == maker
