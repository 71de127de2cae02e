"""Folders of targets, written from classifiers with answers in closed form."""

import json
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import onnx
import pytest
from int8_networks import as_model
from onnx import TensorProto, helper
from PIL import Image
from quantized import int8_of
from target_sources import noise, source_of, with_output_shapes

from kdtool.edge.kit.folder import changed_files
from kdtool.edge.metadata import read_metadata
from kdtool.edge.session import open_session
from kdtool.edge.targets.target import TARGETS, target_of
from kdtool.edge.targets.verify import answers_of
from kdtool.errors import GateError, ModelFileError, StudyError


def needs(name):
    pytest.importorskip(target_of(name).module)


def run(folder, *arguments):
    return subprocess.run(
        [sys.executable, folder / "run.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", [one.name for one in TARGETS if one.takes == "pixels"])
def test_a_target_answers_as_onnxruntime_and_has_all_it_needs(name, make_target, make_classifier):
    needs(name)
    images = noise(3)
    model = make_classifier(channels=3)
    source = source_of(model.path, images)
    before = model.path.read_bytes()
    made = make_target(name, [source], images)
    result, folder = made.result, made.folder
    (check,) = result.checks
    assert (check.refused, check.agreement, check.flipped) == (None, 1.0, [])
    assert check.max_difference < 1e-5
    assert (result.path, result.size_bytes) == (
        f"targets/{name}",
        (folder / target_of(name).file).stat().st_size,
    )
    assert result.time_ratio > 0
    low, high = result.time_ratio_ci95
    assert low <= result.time_ratio <= high
    assert changed_files(folder) == []
    assert model.path.read_bytes() == before  # converters work on a copy
    assert sorted(one.name for one in folder.parent.iterdir()) == [name]
    assert (folder / "labels.txt").read_text() == "a\nb\nc\n"
    requirements = (folder / "requirements.txt").read_text()
    assert f"{result.runtime}=={result.version}\n" in requirements

    others = noise(3, num=70)[::-1]  # more than one batch
    np.save(folder / "others.npy", others)
    done = run(folder, "--npy", folder / "others.npy", "--out", folder / "out.npy")
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(folder / "out.npy"), model.answer(others), atol=1e-5)
    picture = folder / "photo.png"
    Image.fromarray(others[0]).save(picture)
    done = run(folder, picture, folder / "labels.txt")
    best = int(model.answer(others[:1])[0].argmax())
    assert done.stdout.startswith(f"{picture}: {'abc'[best]} ")
    assert "error: cannot read" in done.stderr
    assert done.returncode == 1


def test_a_file_of_float_tensors_is_one_too(make_target, make_classifier):
    needs("tract")
    images = noise(3)
    model = make_classifier(form="tensor", channels=3)
    source = source_of(with_form(model.path, "tensor"), images)
    unwanted = replace(source, precision="fp16")
    made = make_target("tract", [unwanted, source], images)
    assert made.result.checks[0].refused == "kdtool writes fp32 and int8 for tract"
    assert made.result.last.refused is None
    assert json.loads((made.folder / "model.json").read_text())["input"] == "tensor"


def with_form(path, form):
    model = onnx.load(path)
    prop = model.metadata_props.add()
    prop.key, prop.value = "kdtool.preprocess", json.dumps({"input": form})
    onnx.save(model, path)
    return path


def test_the_ort_file_keeps_metadata_and_gives_the_same_bits(make_target, make_classifier):
    images = noise()
    model = make_classifier()
    source = source_of(model.path, images)
    made = make_target("ort", [source], images)
    session = open_session(made.folder / "model.ort")
    assert read_metadata(session) == read_metadata(open_session(model.path))
    np.testing.assert_array_equal(
        session.run(["probabilities"], {"image": images})[0], source.probabilities
    )
    assert {path.name for path in made.folder.iterdir()} >= {"model.ort", "run.py"}
    assert not [path for path in made.folder.iterdir() if path.name.startswith("source")]


def test_a_threshold_decides_between_two_classes(make_target, make_classifier):
    images = noise()
    source = source_of(make_classifier(classes=("well", "ill")).path, images)
    ill = source.probabilities[:, 1]
    index = int(np.argmax(np.where(ill < 0.5, ill, 0)))  # "well" is more probable
    threshold = float(ill[index]) * 0.9
    decision = {"positive": 1, "threshold": threshold}
    made = make_target("ort", [source], images, classes=("well", "ill"), **decision)
    picture = made.folder / "photo.png"
    Image.fromarray(images[index, :, :, 0]).save(picture)
    assert run(made.folder, picture).stdout.startswith(f"{picture}: ill ")


def test_other_answers_are_refused_with_the_images_and_nothing_is_left(
    make_target, make_classifier
):
    images = noise()
    source = source_of(make_classifier().path, images)
    other = source.probabilities.copy()
    other[[3, 17]] = other[[3, 17]][:, [1, 2, 0]]
    made = make_target("ort", [replace(source, probabilities=other)], images)
    assert made.result.path is None
    reason = made.result.last.refused
    assert reason.startswith("2 of 40 test images get another class than in ONNX Runtime ")
    assert "(indices 3, 17)" in reason
    assert not made.folder.exists()
    assert list(made.folder.parent.iterdir()) == []


def test_a_refused_file_leaves_an_older_folder_and_fp32_is_tried_next(make_target, make_classifier):
    images = noise()
    source = source_of(make_classifier().path, images)
    wrong = replace(source, precision="int8", probabilities=source.probabilities[:, ::-1])
    made = make_target("ort", [wrong, source], images)
    assert [check.precision for check in made.result.checks] == ["int8", "fp32"]
    assert made.result.checks[0].refused
    assert made.result.path == "targets/ort"
    before = (made.folder / "manifest.json").read_bytes()
    assert make_target("ort", [wrong], images).result.path is None
    assert (made.folder / "manifest.json").read_bytes() == before


def tiny_depthwise():
    """A depthwise convolution of 1 x 1 pixels, which OpenCV's classic engine misreads."""
    node, rng = helper.make_node, np.random.default_rng(0)
    given = {
        "full": 255.0,
        "w": rng.normal(size=(32, 1, 3, 3)),
        "u": rng.normal(size=(32, 3, 1, 1)),
    }
    given |= {"head": rng.normal(size=(32, 3)), "b": rng.normal(size=32)}
    nodes = [
        node("Transpose", ["image"], ["first"], "turn", perm=[0, 3, 1, 2]),
        node("Cast", ["first"], ["floats"], "cast", to=TensorProto.FLOAT),
        node("Div", ["floats", "full"], ["scaled"], "scale"),
        node("GlobalAveragePool", ["scaled"], ["pooled"], "pool"),
        node("Conv", ["pooled", "u"], ["wide"], "wide"),
        node("Conv", ["wide", "w", "b"], ["deep"], "deep", pads=[1] * 4, group=32),
        node("Relu", ["deep"], ["active"], "relu"),
        node("Flatten", ["active"], ["flat"], "flatten"),
        node("Gemm", ["flat", "head"], ["logits"], "head"),
        node("Softmax", ["logits"], ["probabilities"], "softmax", axis=1),
    ]
    return as_model(nodes, given)


def test_opencv_refuses_an_8_bit_file_that_it_computes_otherwise_and_gets_fp32(
    make_target, tmp_path
):
    needs("opencv")
    images = noise(3, (6, 6), num=60)
    model = tiny_depthwise()
    onnx.save(model, tmp_path / "fp32.onnx")
    onnx.save(int8_of(model, images, "portable"), tmp_path / "int8.onnx")
    sources = [
        source_of(tmp_path / f"{precision}.onnx", images, precision)
        for precision in ("int8", "fp32")
    ]
    made = make_target("opencv", sources, images)
    int8, fp32 = made.result.checks
    assert "test images get another class" in int8.refused
    assert fp32.refused is None
    assert json.loads((made.folder / "model.json").read_text())["precision"] == "fp32"


def test_an_operator_that_opencv_lacks_is_named(make_target, make_classifier):
    needs("opencv")
    images = noise()
    path = with_output_shapes(make_classifier().path)
    model = onnx.load(path)
    (gemm,) = [one for one in model.graph.node if one.op_type == "Gemm"]
    gemm.output[0] = "before"
    gelu = helper.make_node("QuickGelu", ["before"], ["logits"], domain="com.microsoft")
    model.graph.node.insert(len(model.graph.node) - 1, gelu)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)
    reason = make_target("opencv", [source_of(path, images)], images).result.last.refused
    assert reason.startswith("it cannot run the file: ")
    assert "QuickGelu" in reason
    assert "OpenCV does not read the file" in reason


def test_the_check_of_a_folder_notices_what_was_changed(make_target, make_classifier):
    images = noise()
    made = make_target("ort", [source_of(make_classifier().path, images)], images)
    assert run(made.folder, "--check").stdout.startswith("ok: 6 of 6 images as expected")
    path = made.folder / "golden" / "02.png"
    original = path.read_bytes()
    pixels = np.array(Image.open(path))
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(path)  # as another decoder would read it
    done = run(made.folder, "--check")
    assert done.returncode == 1
    assert "02.png: it is decoded to other pixels here than where it was made" in done.stdout
    assert "FAILED: 5 of 6 images as expected" in done.stdout
    path.write_bytes(original)

    model = made.folder / "model.ort"
    content = model.read_bytes()
    weight = np.random.default_rng(0).normal(size=(3, 24)).astype(np.float32)[0, :1].tobytes()
    assert weight in content
    model.write_bytes(content.replace(weight, np.float32(9).tobytes()))
    done = run(made.folder, "--check")
    assert done.returncode == 1
    assert "a probability differs by" in done.stdout
    model.write_bytes(content[:500])
    assert "it cannot run the file" in unreadable(made.folder, images)


def unreadable(folder, images):
    with pytest.raises(GateError) as caught:
        answers_of(folder, target_of("ort"), images)
    return str(caught.value)


def test_a_name_of_a_file_never_controls_the_terminal(make_target, make_classifier, tmp_path):
    images = noise()
    folder = make_target("ort", [source_of(make_classifier().path, images)], images).folder
    image, missing = tmp_path / "a\x1b[2Jb\u202ec.png", tmp_path / "no\x1b[2J.png"
    shutil.copy(folder / "golden" / "00.png", image)
    done = run(folder, image, missing)
    assert r"/a\x1b[2Jb\u202ec.png: " in done.stdout
    assert r"no\x1b[2J.png: No such file" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_a_changed_source_is_not_used(make_target, make_classifier):
    images = noise()
    source = source_of(make_classifier().path, images)
    source.path.write_bytes(source.path.read_bytes() + b"\n")
    with pytest.raises(ModelFileError, match=r"model\.onnx was changed since it was checked"):
        make_target("ort", [source], images)


def test_what_is_not_ours_is_not_replaced(make_target, make_classifier, tmp_path):
    images = noise()
    source = source_of(make_classifier().path, images)
    made = make_target("ort", [source], images)
    make_target("ort", [source], images)  # an unchanged one is
    (made.folder / "labels.txt").write_text("x\n")
    with pytest.raises(StudyError, match=r"with changes that would be lost \(labels\.txt was chan"):
        make_target("ort", [source], images)
    shutil.rmtree(made.folder)
    made.folder.mkdir()
    (made.folder / "thesis.tex").write_text("words")
    with pytest.raises(StudyError, match="exists and is not a folder of a target; move it away"):
        make_target("ort", [source], images)


@contextmanager
def largest_file(num_bytes):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_without_room_is_one_error_and_leaves_nothing(
    make_target, make_classifier, tmp_path
):
    images = noise()
    source = source_of(make_classifier().path, images)
    with largest_file(600), pytest.raises(StudyError, match=r"cannot write .*ort: File too large"):
        make_target("ort", [source], images)
    assert list((tmp_path / "targets").iterdir()) == []
