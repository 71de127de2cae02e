"""Whether runtimes answer as ONNX Runtime does, and which of them is the fastest."""

import json
import re

import numpy as np
import onnx
import pytest
from classifiers import HEIGHT, WIDTH
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from quantized import int8_of
from target_sources import noise, source_of

from kdtool.edge.fp16 import to_fp16
from kdtool.edge.latency.driver import started_workers
from kdtool.edge.latency.job import Job
from kdtool.edge.latency.measure import Measurement
from kdtool.edge.latency.statistics import ratio_of_rounds
from kdtool.edge.profile import ProfileOptions, profile_models, with_budgets
from kdtool.edge.targets.agreement import NUM_PATTERNS, images_for, patterns, try_pairs
from kdtool.edge.targets.classifier import facts_of
from kdtool.edge.targets.fastest import fastest_of
from kdtool.edge.targets.pairs import Pair, Trial, pairs_of, pairs_of_folders
from kdtool.errors import KdtoolError, ModelFileError
from kdtool.files import sha256_of
from kdtool.results.profile import Agreement, Latency

QUICK = 0.02  # seconds of timing


@pytest.mark.parametrize(("form", "channels"), [("pixels", 1), ("pixels", 3), ("tensor", 3)])
def test_the_graph_says_what_a_file_takes(make_classifier, form, channels):
    found = facts_of(make_classifier(form=form, channels=channels).path)
    assert found == {
        "precision": "fp32",
        "input": form,
        "takes": form,
        "height": HEIGHT,
        "width": WIDTH,
        "channels": channels,
        "positive": None,
        "threshold": None,
    }


def test_of_a_file_that_resizes_the_metadata_say_it(make_classifier):
    path = make_classifier(form="resize", channels=3).path
    assert facts_of(path) is None  # nothing says for which size it is made
    sizes = {"input": "resize", "height": 5, "width": 7, "channels": 3}
    model = onnx.load(path)
    model.metadata_props.add(key="kdtool.preprocess", value=json.dumps(sizes))
    onnx.save(model, path)
    assert sizes.items() <= facts_of(path).items()


def test_a_threshold_of_two_classes_is_among_the_facts(make_classifier):
    decision = {"rule": "cost", "positive": "ill", "threshold": 0.2}
    found = facts_of(make_classifier(classes=("well", "ill"), decision=decision).path)
    assert (found["positive"], found["threshold"]) == (1, 0.2)


def test_int8_and_fp16_are_recognized(make_classifier):
    path = make_classifier().path
    model = onnx.load(path)
    for name, smaller in (
        ("int8", int8_of(model, noise(), "portable")),
        ("fp16", to_fp16(model)),
    ):
        onnx.save(smaller, path)
        assert facts_of(path)["precision"] == name


def test_other_models_have_no_facts(make_onnx):
    relu = [helper.make_node("Relu", ["image"], ["probabilities"])]
    assert facts_of(make_onnx(relu, {"image": (TensorProto.FLOAT, ["n", 3, 4, 6])})) is None
    add = [helper.make_node("Add", ["a", "b"], ["y"])]
    two = {name: (TensorProto.FLOAT, ["n", 3]) for name in "ab"}
    assert facts_of(make_onnx(add, two)) is None


def test_patterns_are_the_same_in_each_call_and_reach_from_patches_to_noise():
    found = patterns(16, 12, 3)
    assert found.shape == (NUM_PATTERNS, 16, 12, 3)
    np.testing.assert_array_equal(found, patterns(16, 12, 3))
    colours = [len(np.unique(one.reshape(-1, 3), axis=0)) for one in found[:4]]
    assert colours[:2] == [4, 16]
    assert colours[2] == 64
    assert colours[3] > 190
    assert patterns(1, 1, 1).shape == (NUM_PATTERNS, 1, 1, 1)


def with_golden(folder, *images, name="expected.json"):
    (folder / "golden").mkdir(parents=True)
    (folder / "golden" / name).write_text("{}")
    for index, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(folder / "golden" / f"{index:02}.png")


def test_golden_images_of_kit_and_targets_are_used_each_once(make_classifier, tmp_path):
    path = make_classifier().path
    one, other, third = noise(num=3)
    with_golden(tmp_path / "kit", one, other)
    with_golden(tmp_path / "targets" / "ort", other, third)
    with_golden(tmp_path / "targets" / "old", noise(size=(8, 8), num=1)[0])  # of another model
    with_golden(tmp_path, noise(num=4)[3], name="other.json")  # a folder of that name
    images = images_for(path, facts_of(path))
    assert images.num_golden == 3
    np.testing.assert_array_equal(images.pixels[:3], [one, other, third])
    np.testing.assert_array_equal(images.pixels[3:], patterns(HEIGHT, WIDTH, 1))


def test_a_damaged_golden_image_is_an_error(make_classifier, tmp_path):
    path = make_classifier().path
    with_golden(tmp_path / "kit")
    (tmp_path / "kit" / "golden" / "00.png").write_bytes(b"no image")
    with pytest.raises(ModelFileError, match=r"00.png.*export the folder again, or delete it"):
        images_for(path, facts_of(path))


def scaled(path, factor, to):
    """Write a classifier with its logits times a factor."""
    model = onnx.load(path)
    for one in model.graph.initializer:
        if one.name in ("weight", "bias"):
            array = numpy_helper.to_array(one) * np.float32(factor)
            one.CopyFrom(numpy_helper.from_array(array, one.name))
    onnx.save(model, to)
    return to


@pytest.mark.parametrize(
    ("factor", "problem"),
    [
        (1.0, None),
        (-1.0, "64 of 64 images get another class"),
        (1.5, r"a probability differs by up to 0\.\d+, allowed is 0\.001"),
    ],
)
def test_answers_are_compared_with_those_in_onnxruntime(make_classifier, tmp_path, factor, problem):
    """Minus the logits: the least probable class of three; 1.5 times: the same class."""
    model = make_classifier()
    other = scaled(model.path, factor, tmp_path / "other.onnx")
    facts = facts_of(model.path)
    pair = Pair(path=other, runtime="onnxruntime", source=model.path, size_bytes=1, facts=facts)
    job = Job(path=str(other), facts=facts, batch_size=5)  # 64 is not a multiple
    with started_workers(1) as (worker,):
        reference = Job(path=str(model.path), facts=facts, batch_size=5)
        trials = try_pairs(worker, [pair], {pair.name: [job, job]}, {model.path: reference})
    found = trials[pair.name].agreement
    images = patterns(HEIGHT, WIDTH, 1)
    logits = np.log(model.answer(images)) * factor
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    difference = np.abs(expected - model.answer(images)).max()
    assert (found.num_golden, found.num_patterns, found.num_ties) == (0, 64, 0)
    assert found.num_flipped == (64 if factor < 0 else 0)
    assert found.max_difference == pytest.approx(difference, abs=1e-5)
    if problem is None:
        assert found.problem is None
    else:
        assert re.fullmatch(problem, found.problem)


def test_every_runtime_that_is_installed_is_compared_and_one_is_the_fastest(make_classifier):
    pytest.importorskip("tract")
    path = make_classifier(channels=3).path
    report = profile_models(
        [path],
        ProfileOptions(
            runtimes=("onnxruntime", "tract"),
            seconds=QUICK,
            batch_sizes=(1, 3),
            groups={"mine": [path]},
        ),
    )
    plain, other = report.models
    assert (plain.agreement, other.agreement.problem) == (None, None)
    assert (other.agreement.num_patterns, other.agreement.num_flipped) == (64, 0)
    assert other.agreement.max_difference < 1e-5
    assert (other.name, other.sha256, other.source_sha256) == (
        f"{path} (tract)",
        plain.sha256,
        None,
    )
    (fastest,) = report.fastest
    assert (fastest.among, fastest.against) == ("mine", plain.name)
    assert fastest.p50_ms == min(plain.latency.p50_ms, other.latency.p50_ms)
    assert (fastest.ratio is None) == (fastest.name == plain.name)
    assert report.failed == []


def test_a_runtime_that_ends_its_process_is_a_row_and_the_others_are_timed(
    make_classifier, tmp_path, monkeypatch
):
    (tmp_path / "tract.py").write_text("import os; os.kill(os.getpid(), 11)")
    metadata = tmp_path / "tract-0.23.9.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: tract\nVersion: 0.23.9\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # of the workers
    monkeypatch.syspath_prepend(tmp_path)
    path = make_classifier().path
    options = ProfileOptions(
        runtimes=("tract", "onnxruntime"), seconds=QUICK, groups={"mine": [path]}
    )
    report = profile_models([path], options)
    assert [one.name for one in report.models] == [str(path)]
    (run,) = report.failed
    assert (run.name, run.runtime) == (f"{path} (tract)", "tract")
    assert run.reason.startswith("the process that times it was ended by signal 11")
    (fastest,) = report.fastest
    assert (fastest.name, fastest.ratio) == (str(path), None)


def two_inputs(make_onnx):
    add = [helper.make_node("Add", ["a", "b"], ["y"])]
    return make_onnx(add, {name: (TensorProto.FLOAT, ["n", 3]) for name in "ab"}, name="two.onnx")


def test_a_model_with_several_inputs_runs_where_any_model_does(make_onnx):
    pytest.importorskip("tract")
    path = two_inputs(make_onnx)
    options = ProfileOptions(
        runtimes=("onnxruntime", "tract"), seconds=QUICK, groups={"mine": [path]}
    )
    report = profile_models([path], options)
    assert [one.name for one in report.models] == [str(path)]
    (run,) = report.failed
    assert run.reason.startswith("kdtool runs only image classifiers of its own form there")
    with pytest.raises(KdtoolError, match=r"tract cannot run .*two.onnx: kdtool runs only image"):
        profile_models([path], ProfileOptions(runtimes=("tract",)))


def test_openvino_times_any_model_and_its_answers_are_not_compared(make_onnx):
    pytest.importorskip("openvino")
    path = two_inputs(make_onnx)
    options = ProfileOptions(
        runtimes=("onnxruntime", "openvino"), seconds=QUICK, groups={"mine": [path]}
    )
    report = profile_models([path], options)
    assert [one.agreement for one in report.models] == [None, None]
    (fastest,) = report.fastest
    assert (fastest.name, fastest.ratio) == (str(path), None)  # though OpenVINO may be faster


def test_what_was_converted_is_timed_too_and_belongs_to_its_source(make_target, make_classifier):
    images = noise()
    source = source_of(make_classifier().path, images)
    folder = make_target("ort", [source], images).folder
    options = ProfileOptions(folders=(folder,), seconds=QUICK, groups={"mine": [source.path]})
    plain, ort = profile_models([source.path], options).models
    assert ort.path == str(folder / "model.ort")
    assert (ort.sha256, ort.source_sha256) == (sha256_of(folder / "model.ort"), plain.sha256)
    assert ort.size_bytes == (folder / "model.ort").stat().st_size
    assert (ort.num_params, ort.opset) == (plain.num_params, plain.opset)
    assert ort.agreement.num_golden > 0
    assert ort.agreement.problem is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder, _: (folder / "labels.txt").write_text("x"), "it was changed (labels.txt"),
        (lambda _, source: scaled(source, 2.0, source), "the file that it was made from has chang"),
    ],
)
def test_a_folder_that_is_out_of_date_is_not_timed(make_target, make_classifier, change, reason):
    images = noise()
    source = source_of(make_classifier().path, images)
    folder = make_target("ort", [source], images).folder
    change(folder, source.path)
    pairs, (run,) = pairs_of_folders([folder], [source.path])
    assert (pairs, run.path, run.runtime) == ([], str(folder), "onnxruntime")
    assert run.reason.startswith(reason)
    assert "`kdtool export STUDY --for ort` writes it again" in run.reason


def test_a_folder_with_the_studys_own_file_is_no_pair_of_its_own(make_target, make_classifier):
    pytest.importorskip("tract")
    images = noise()
    source = source_of(make_classifier().path, images)
    folder = make_target("tract", [source], images).folder
    assert pairs_of_folders([folder], [source.path]) == ([], [])


def measured(ms):
    rounds = [[np.full(9, ms * (1 + 0.001 * index))] for index in range(10)]
    latency = Latency.model_construct(p50_ms=ms, noise=None)
    return Measurement(latency=latency, rounds=rounds)


def agreement(problem=None):
    return Agreement(
        num_golden=0,
        num_patterns=64,
        num_flipped=0,
        num_ties=0,
        max_difference=0.0,
        problem=problem,
    )


def test_the_fastest_gives_the_right_answers_and_is_compared_with_onnxruntimes_best(
    make_classifier,
):
    paths = [make_classifier(name=f"{name}.onnx").path for name in ("fp32", "int8", "teacher")]
    pairs = pairs_of(paths, ("onnxruntime", "openvino", "opencv"))
    times = {  # of fp32, int8 and teacher in each runtime
        "onnxruntime": (4.0, 2.0, 0.1),
        "openvino": (3.0, 0.5, 0.1),  # int8 answers otherwise
        "opencv": (1.5, 0.4, 0.1),  # int8 was not compared
    }
    taken = [measured(times[one.runtime][paths.index(one.source)]) for one in pairs]
    trials = {one.name: Trial(agreement=agreement()) for one in pairs if not one.is_reference}
    trials[f"{paths[1]} (openvino)"] = Trial(agreement=agreement("12 of 64 images differ"))
    trials[f"{paths[1]} (opencv)"] = Trial()
    (found,) = fastest_of(pairs, taken, trials, {"student": paths[:2]})
    assert (found.name, found.against) == (f"{paths[0]} (opencv)", str(paths[1]))
    assert (found.ratio, found.ci95) == ratio_of_rounds(measured(1.5).rounds, measured(2.0).rounds)
    assert found.ratio == pytest.approx(0.75)
    assert found.verdict == "1.33 times faster"
    (alone,) = fastest_of(pairs, taken, trials, {"int8": paths[1:2]})
    assert (alone.name, alone.against, alone.ratio) == (str(paths[1]), str(paths[1]), None)
    others = [one for one in pairs if one.runtime == "opencv"]
    assert fastest_of(others, taken[:3], trials, {"student": paths[:2]}) == []


def test_a_runtime_with_other_answers_keeps_no_budget(tiny_onnx):
    report = profile_models([tiny_onnx], ProfileOptions(seconds=QUICK))
    (model,) = report.models
    (kept,) = with_budgets(report, {"max_latency_ms": 1e6}).budgets
    assert kept.value == model.latency.p50_ms
    wrong = model.model_copy(update={"agreement": agreement("1 of 64 images get another class")})
    report = report.model_copy(update={"models": [wrong]})
    (unknown,) = with_budgets(report, {"max_latency_ms": 1e6}).budgets
    assert (unknown.value, unknown.fit) == (None, "not known to be within budget")
