"""Files and models of a recipe are checked with the rest of it, before PyTorch loads."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from kdtool.errors import RecipeError
from kdtool.recipe.checks import load_checked

needs_torchvision = pytest.mark.skipif(
    find_spec("torchvision") is None, reason="without torchvision its names are unknown"
)

GOOD = """
name = "tiny"
[data]
source = "digits"
[teacher]
model = "mnist-cnn"
[student]
model = "mnist-mlp"
"""
FOLDER = ["data={source='folder',root='pictures',home='https://pictures.org'}"]
CSV = "data={source='csv',root='pictures',csv='%s',images='%s',columns={file='a',label='b'}}"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with a recipe, data, and files of weights good and bad."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.toml").write_text(GOOD)
    (tmp_path / "pictures" / "cat").mkdir(parents=True)
    (tmp_path / "pictures" / "table.csv").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "half" / "cifar-10-batches-py").mkdir(parents=True)
    (tmp_path / "half" / "cifar-10-batches-py" / "data_batch_1").touch()
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "cifar-10-binary.tar.gz").touch()
    np.savez(tmp_path / "pictures" / "set.npz", a=1)
    for name, content in {
        "zip.pth": b"PK\x03\x04 and more",
        "pickle.pt": b"\x80\x02 and more",
        "tar.pt": b"a" * 257 + b"ustar",
        "good.safetensors": (2).to_bytes(8, "little") + b"{}",
        "safe.pth": (2).to_bytes(8, "little") + b"{}",
        "page.pth": b"\n<!DOCTYPE html><html>",
        "lfs.pth": b"version https://git-lfs.github.com/spec/v1\n",
        "empty.pth": b"",
        "text.safetensors": b"hello world",
        "page.onnx": b"<html>",
        "good.onnx": b"\x08\x0a",
    }.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def problems(*settings):
    with pytest.raises(RecipeError) as caught:
        load_checked(Path("recipe.toml"), list(settings), Path("runs"))
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["student.weights=imagnet"], "student.weights: there is no file {here}/imagnet; did you"),
        (["student.weights=imagnet"], 'did you mean "imagenet"?'),
        (["student.weights=IMAGENET1K_V1"], 'did you mean "imagenet"?'),
        (["student.weights=zpi.pth"], 'no file {here}/zpi.pth; did you mean "zip.pth"?'),
        (["student.weights=empty"], "student.weights: {here}/empty is a folder, expected a file"),
        (["student.weights=empty.pth"], "empty.pth is not a file of weights: it is empty"),
        (["student.weights=page.pth"], "it is a web page; download the file itself"),
        (["student.weights=lfs.pth"], "it is a pointer of Git LFS; run git lfs pull"),
        (["student.weights=text.safetensors"], "is not a .safetensors file: it begins with 68 65"),
        (["student.weights=safe.pth"], "is a safetensors file; rename it to safe.safetensors"),
        (["student.weights=good.onnx"], 'which can be a teacher: model = "good.onnx"'),
        (["student.weights=imagenet"], 'got "imagenet", but mnist-mlp has no ImageNet weights'),
        (["teacher.model=god.onnx"], 'no file {here}/god.onnx; did you mean "good.onnx"?'),
        (["teacher.model=page.onnx"], "teacher.model: {here}/page.onnx is not an ONNX file: it is"),
        (["teacher.model=good.onnx", "name=."], "expected letters"),
        (["student.model=mnist-mpl"], 'student.model: got "mnist-mpl", expected mnist-cnn,'),
        pytest.param(
            ["teacher.model=torchvision:resnet81"],
            "teacher.model: got",
            marks=needs_torchvision,
        ),
        (["data={source='folder',root='picturs'}"], "data.root: there is no folder {here}/picturs"),
        (["data={source='folder',root='nowhere'}"], "{here}/nowhere; set the folder with"),
        (["data={source='folder',root='picturs'}"], 'data.root=DIR; did you mean "pictures"?'),
        (
            [*FOLDER, "data.root=gone"],
            "download the data from https://pictures.org; set the folder",
        ),
        ([*FOLDER, "data.root=zip.pth"], "data.root: {here}/zip.pth is a file, expected a folder"),
        ([*FOLDER, "data.root=empty"], "data.root: {here}/empty has no folders, expected one for"),
        (
            ["data={source='npz',root='pictures',file='sets.npz'}"],
            'data.file: there is no {here}/pictures/sets.npz; did you mean "set.npz"?',
        ),
        ([CSV % ("tabel.csv", ".")], "data.csv: there is no {here}/pictures/tabel.csv; did you"),
        ([CSV % ("table.csv", "dog")], "data.images: there is no {here}/pictures/dog"),
        (
            ["data={source='idx',root='pictures',files={test_labels='x.gz'}}"],
            "but {here}/pictures lacks train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-im",
        ),
        (
            ["data={source='kmnist',root='pictures'}"],
            "and {here}/pictures/KMNIST/raw does not exist",
        ),
        (
            ["data={source='cifar10',root='pictures'}"],
            "data.root: expected one of cifar-10-batches-bin/, cifar-10-binary.tar.gz, cifar-1",
        ),
        (
            ["data={source='cifar10',root='half'}"],
            "{here}/half/cifar-10-batches-py lacks data_batch_2, data_batch_3, data_batch_4,",
        ),
        (
            ["data={source='cifar100',root='half'}"],
            "cifar-100-python/, cifar-100-python.tar.gz, but {here}/half has none",
        ),
        (
            ["data={source='cifar100'}", "export.operating_point=f1"],
            'export.operating_point: got "f1", which is for two classes, but the data have 100',
        ),
        (
            ["export.operating_point=f1"],
            'export.operating_point: got "f1", which is for two classes, but the data have 10',
        ),
        (
            ["data.group=[[0,1,2,3,4],[5,6,7,8,9]]", "distill.method=ls"],
            'distill.method: got "ls", but the data have two classes: two standardized logits',
        ),
        (["data.positive=1"], "data.positive: is for two classes, but the data have 10; remove it"),
    ],
)
def test_a_file_or_name_that_does_not_exist_is_an_error_of_its_key(here, settings, message):
    assert message.format(here=here) in problems(*settings)


@pytest.mark.parametrize(
    "settings",
    [
        ["student.weights=zip.pth"],
        ["student.weights=pickle.pt"],
        ["student.weights=tar.pt"],
        ["student.weights=good.safetensors"],
        ["teacher.model=good.onnx"],
        ["student.model=torchvision:resnet18", "student.weights=imagenet"],
        FOLDER,
        [CSV % ("table.csv", ".")],
        ["data={source='npz',root='pictures',file='set.npz'}"],
        ["data.group=[[0,1,2,3,4],[5,6,7,8,9]]", "export.operating_point=f1"],
        ["data={source='mnist'}"],
        ["data={source='cifar10'}"],
        ["data={source='cifar10',root='packed'}"],
    ],
)
def test_what_exists_is_no_problem(here, settings):
    load_checked(Path("recipe.toml"), settings, Path("runs"))


@needs_torchvision
def test_all_problems_are_listed_at_once_with_those_of_the_recipe(here):
    text = problems(
        "name=a/b",
        "data={source='folder',root='gone',size=0}",
        "teacher.model=torchvision:resnet81",
        "teacher.epochs=soon",
        "student.weights=imagnet",
        "student.temperature=4",
    )
    assert "recipe.toml: 7 problems" in text
    keys = ["name", "data.size", "data.root", "teacher.model", "teacher.epochs"]
    for key in [*keys, "student.weights", "student.temperature"]:
        assert f"\n  {key}: " in text


def test_a_path_that_no_file_can_have_is_an_error(here):
    assert "recipe.toml: 1 problem" in problems("student.weights=" + "a" * 300)


def test_a_teacher_in_the_folder_of_its_study_is_an_error(here):
    (here / "runs" / "tiny").mkdir(parents=True)
    (here / "good.onnx").rename(here / "runs" / "tiny" / "teacher.onnx")
    text = problems("teacher.model=runs/tiny/teacher.onnx")
    assert "is in runs/tiny, which this study writes its own files to; set another name" in text


def test_a_trained_study_needs_the_file_of_its_weights_no_more(here):
    (here / "runs" / "tiny" / "checkpoints").mkdir(parents=True)
    assert "there is no file" in problems("student.weights=gone.pth")
    (here / "runs" / "tiny" / "checkpoints" / "student-seed0.safetensors").touch()
    load_checked(Path("recipe.toml"), ["student.weights=gone.pth"], Path("runs"))


WRONG = [
    ["distill", "recipe.toml", "--set", "student.weights=imagnet"],
    ["distill", "recipe.toml", "--set", "student.model=torchvision:resnet81"],
    ["distill", "recipe.toml", "--set", "data={source='folder',root='gone'}"],
    ["distill", "recipe.toml", "--sweep", "student.learning_rate=1,2"],
    ["distill", "recipe.toml", "--sweep", "distill.temperature=1,-2"],
    ["distill", "recipe.toml", "--sweep", "distil.temperature=1,2"],
    ["subclass-distill", "recipe.toml", "--device", "gpu"],
    ["finetune", "recipe.toml", "--set", "teacher.epochs=x"],
]


@needs_torchvision
def test_torch_is_not_imported_for_a_wrong_recipe(here):
    (here / "torch.py").write_text("raise SystemExit('torch was imported')")
    code = (
        "import json, sys\n"
        "from kdtool.cli.app import main\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    sys.argv[1:] = arguments\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as error:\n"
        "        print(error.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(WRONG)],
        env=os.environ | {"PYTHONPATH": str(here)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["1"] * 6 + ["2", "1"], done.stderr
    errors = re.split("error: ", done.stderr, flags=re.IGNORECASE)[1:]
    expected = [
        "imagnet",
        "resnet81",
        "gone",
        "--sweep student",
        "-2",
        "--sweep distil.",
        "did you mean cuda?",
        "x",
    ]
    assert [
        word in " ".join(error.split()) for word, error in zip(expected, errors, strict=True)
    ] == [True] * 8
