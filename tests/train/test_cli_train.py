"""Messages about data, models, devices and folders that cannot be used."""

import gzip

import pytest
from typer.testing import CliRunner

from kdtool.cli.app import app
from kdtool.errors import KdtoolError

RECIPE = """
name = "tiny"
seeds = [0]
[data]
source = "idx"
root = "data"
[teacher]
model = "mnist-mlp"
epochs = 1
min_steps = 0
[student]
model = "mnist-mlp"
epochs = 1
min_steps = 0
"""


@pytest.fixture
def folder(tmp_path, write_idx_set):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    write_idx_set(tmp_path / "data", size=8)
    return tmp_path


def set_device(_folder):
    return ["--device", "cuda"]


def torn_file(folder):
    path = folder / "data" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100])
    return []


def swapped_files(folder):
    images, labels = (
        folder / "data" / f"train-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")
    )
    content = images.read_bytes()
    images.write_bytes(labels.read_bytes())
    labels.write_bytes(content)
    return []


def torn_gzip(folder):
    path = folder / "data" / "train-images-idx3-ubyte"
    packed = gzip.compress(path.read_bytes())
    path.rename(path.with_suffix(".gone"))
    path.with_name(f"{path.name}.gz").write_bytes(packed[:-100])
    return []


def no_file(folder):
    (folder / "data" / "t10k-labels-idx1-ubyte").unlink()
    return []


def unknown_model(_folder):
    return ["--set", "student.model=mnist-mpl"]


def too_small_for_the_model(_folder):
    return ["--set", "student.model=torchvision:alexnet"]


def folder_is_a_file(folder):
    (folder / "runs").write_text("")
    return []


def opset_too_new(_folder):
    return ["--set", "export.opset=99"]


def too_many_classes(_folder):
    return ["--set", "data.validation=39"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (set_device, "got --device cuda, but PyTorch finds only"),
        (torn_file, "train-images-idx3-ubyte"),
        (swapped_files, "swapped"),
        (torn_gzip, "train-images-idx3-ubyte.gz"),
        (no_file, "t10k-labels-idx1-ubyte"),
        (unknown_model, 'student.model: got "mnist-mpl", expected mnist-cnn,'),
        (too_small_for_the_model, "cannot be used for images of 8x8 with 1 channel"),
        (folder_is_a_file, "cannot write"),
        (too_many_classes, "data.validation"),
        (opset_too_new, "got export.opset = 99, but the highest that PyTorch writes"),
    ],
)
def test_bad_input_gets_one_clear_message_before_any_training(folder, spoil, message):
    arguments = [
        "distill",
        str(folder / "tiny.toml"),
        "--out",
        str(folder / "runs"),
        *spoil(folder),
    ]
    with pytest.raises(KdtoolError) as caught:
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert message in str(caught.value)
    assert not list(folder.glob("runs/**/*.safetensors"))


def test_a_recipe_fixed_before_training_can_use_the_same_folder(folder):
    arguments = ["distill", str(folder / "tiny.toml"), "--out", str(folder / "runs"), "--quiet"]
    with pytest.raises(KdtoolError, match='got "mnist-mpl", expected'):
        CliRunner().invoke(
            app, [*arguments, "--set", "student.model=mnist-mpl"], catch_exceptions=False
        )
    short = ["--set", "profile.seconds=0.02", "--anyway"]
    assert CliRunner().invoke(app, [*arguments, *short], catch_exceptions=False).exit_code == 0
    with pytest.raises(KdtoolError, match=r"student\.epochs: was 1, now 2"):
        CliRunner().invoke(app, [*arguments, "--set", "student.epochs=2"], catch_exceptions=False)
    labels = folder / "data" / "train-labels-idx1-ubyte"
    content = labels.read_bytes()
    labels.write_bytes(content[:8] + content[8:][::-1])
    with pytest.raises(KdtoolError, match=r"data: was .* now "):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "distill --sweep student.learning_rate=1e-3,1e-2",
            "expected a key of [distill] or [subclass] that changes",
        ),
        ("distill --sweep subclass.per_class=2,3", "which needs `kdtool subclass-distill`"),
        (
            "subclass-distill --sweep subclass.per_class=2,3 --sweep distill.temperature=1,2",
            "expected keys of one table",
        ),
        (
            "distill --sweep distill.exclude_classes=[[0],[1]]",
            "got --sweep distill.exclude_classes, expected a key of",
        ),
        ("distill --set distill.exclude_classes=[0,1,2,3]", "leaves out 4 of 4 classes"),
        ("distill --set distill.exclude_classes=[4]", "there is no class 4; the data have 0 (0)"),
        ("subclass-distill --set subclass.per_class=1", "with one subclass use `kdtool distill`"),
        ("subclass-distill --set subclass.per_class=9999999999", "subclasses, take about"),
        ("subclass-distill --sweep subclass.per_class=2,9999999999", "subclasses, take about"),
        ("subclass-distill --set teacher.batch_size=1", "the auxiliary loss compares the images"),
        ("subclass-distill --set data.group=[[0,1],[2]]", "data.group leaves out 3"),
        ("subclass-distill --set data.group=[[0,1],[1,2,3]]", "data.group names 1 more than once"),
        (
            "subclass-distill --set teacher.model=teacher.safetensors",
            "a file of weights, expected a network",
        ),
        (
            "subclass-distill --set teacher.model=fixed_head:net",
            "a subclass-teacher needs a head of 20 logits, 4 classes of 5 subclasses each",
        ),
    ],
)
def test_recipes_that_cannot_be_distilled_or_swept_are_an_error(
    folder, monkeypatch, given, message
):
    monkeypatch.chdir(folder)
    (folder / "fixed_head.py").write_text(
        "from torch import nn\n"
        "def net(shape, _num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(shape[1] * shape[2], 4))\n"
    )
    command, *options = given.split()
    arguments = [command, str(folder / "tiny.toml"), "--out", str(folder / "runs"), *options]
    with pytest.raises(KdtoolError) as caught:
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert message in str(caught.value)
    # so that the fixed command finds no other study
    assert {path.name for path in folder.glob("runs/*/*")} <= {".lock"}
