"""From a finished study to the files that ship, on real digits."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
import safetensors.numpy
from loading import load_splits
from PIL import Image
from recorded import Recorded
from shell import kdtool
from typer.testing import CliRunner

from kdtool.cli.app import app
from kdtool.edge.metadata import read_metadata
from kdtool.edge.session import open_session
from kdtool.edge.verify.recount import recount
from kdtool.errors import GateError, KdtoolError, ModelFileError, RecipeError, StudyError
from kdtool.files import sha256_of, write_atomic
from kdtool.recipe.data import DigitsTable
from kdtool.recipe.load import load_recipe
from kdtool.results.base import sealed, to_json
from kdtool.results.study import load_results
from kdtool.study.folder import Study
from kdtool.train.export.kit import warn_of_old_kit
from kdtool.train.run import open_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def test_split():
    return load_splits(DigitsTable(source="digits"), print).test


def answers_of_pytorch(study, role, results):
    """The class that PyTorch gave each test image, as `evaluate` left it on file."""
    seed = results.models[role].exported_seed
    (path,) = (study / "predictions").glob(f"{role}-seed{seed}-*.npz")
    with np.load(path, allow_pickle=False) as answers:
        return answers["test_probabilities"].argmax(axis=1)


def test_a_recipe_that_is_not_of_the_results_exports_nothing(study):
    """A run with `--force` and other settings that was interrupted leaves its recipe."""
    recipe, before = study / "recipe.toml", (study / "student.onnx").read_bytes()
    given = recipe.read_text()
    recipe.write_text(given.replace("temperature = 3", "temperature = 5"))
    with pytest.raises(StudyError, match=r"is not of .*recipe.toml: `distill` differs"):
        kdtool("export", study)
    recipe.write_text(re.sub(r"seeds = \[[^]]*\]", "seeds = [3]", given))
    with pytest.raises(StudyError, match=r"`seeds` differs"):
        kdtool("explain", study)
    assert (study / "student.onnx").read_bytes() == before


def test_the_report_is_written_again_from_the_results_alone(study):
    made = [study / "report.html", study / "report.md", *(study / "figures").iterdir()]
    before = {path: path.read_bytes() for path in made}
    for path in made:
        path.unlink()
    shutil.rmtree(study / "checkpoints")
    said = kdtool("report", study).output
    assert {path: path.read_bytes() for path in made} == before
    assert f"Report: {study / 'report.html'}" in said
    (study / "results.json").write_text("{")
    with pytest.raises(StudyError, match=r"is not a results\.json of schema 1"):
        kdtool("report", study)


def test_a_teacher_in_the_folder_of_the_study_is_refused_and_kept(study):
    recipe = study / "recipe.toml"
    table = '[teacher]\nmodel = "teacher.onnx"\nnormalize = "none"\n\n[student]'
    recipe.write_text(re.sub(r"\[teacher\].*\[student\]", table, recipe.read_text(), flags=re.S))
    with pytest.raises(RecipeError, match=r"model: .*which this study writes its own files"):
        kdtool("export", study)
    assert (study / "teacher.onnx").exists()


def test_the_int8_file_of_the_student_is_measured_against_fp32(finished, test_split):
    results = load_results(finished / "results.json")
    student = results.models["student"]
    assert list(results.models["teacher"].files) == ["fp32"]
    assert list(student.files) == ["fp32", "int8"]
    int8, fp32 = student.files["int8"], student.files["fp32"]
    assert int8.size_bytes < fp32.size_bytes / 3
    pixels = np.ascontiguousarray(test_split.images.numpy().transpose(0, 2, 3, 1))
    given = open_session(finished / int8.path).run(["logits"], {"image": pixels})[0].argmax(axis=1)
    right = given == test_split.labels.numpy()
    assert right.mean() == int8.accuracy
    assert int8.gate.difference == pytest.approx(int8.accuracy - fp32.accuracy)
    expected = answers_of_pytorch(finished, "student", results)
    assert np.flatnonzero(given != expected).tolist() == int8.parity.flipped
    assert student.recommended == ("int8" if int8.gate.recommended else "fp32")
    validation = load_splits(DigitsTable(source="digits"), print).validation
    pixels = np.ascontiguousarray(validation.images.numpy().transpose(0, 2, 3, 1))
    labels = validation.labels.numpy()
    one, other = (
        (open_session(finished / file.path).run(["logits"], {"image": pixels})[0].argmax(1))
        for file in (int8, fp32)
    )
    difference = (one == labels).mean() - (other == labels).mean()
    assert int8.gate.validation_difference == pytest.approx(difference)
    assert int8.gate.num_validation == len(labels)
    assert (int8.quantization.target, int8.quantization.num_calibration) == ("portable", 300)


def test_the_kit_gives_on_every_test_image_the_class_that_pytorch_gave(study, test_split):
    kdtool("export", study, "--precisions", "fp32", "--kit")
    results = load_results(study / "results.json")
    folder = study.parent / "shown"
    folder.mkdir()
    for index, image in enumerate(test_split.images.numpy()[:, 0]):
        Image.fromarray(image).save(folder / f"{index:03}.png")
    pictures = sorted(folder.iterdir())
    done = subprocess.run(
        [sys.executable, str(study / "kit" / "predict.py"), *map(str, pictures)],
        check=True,
        capture_output=True,
        text=True,
    )
    first = [line.split(": ", 1)[1].split()[0] for line in done.stdout.splitlines()]
    assert first == [str(c) for c in answers_of_pytorch(study, "student", results)]
    said = kdtool("predict", study / "student.onnx", *pictures[:3]).output
    assert [line.split(": ")[1].split()[0] for line in said.splitlines()] == first[:3]


def test_the_kit_holds_the_recommended_file(study):
    kdtool("export", study, "--kit")
    student = load_results(study / "results.json").models["student"]
    recommended = student.files[student.recommended]
    assert (study / "kit" / "model.onnx").read_bytes() == (study / recommended.path).read_bytes()


def test_the_card_holds_the_files_their_names_and_their_weights(study):
    done = kdtool("export", study, "--precisions", "fp32", "--card")
    assert "add the licence of the weights" in done.stderr
    results, card = load_results(study / "results.json"), study / "card"
    assert (card / "onnx" / "model.onnx").read_bytes() == (study / "student.onnx").read_bytes()
    config = json.loads((card / "config.json").read_text())
    assert [config["id2label"][str(index)] for index in range(10)] == results.data.classes
    assert config["image_size"] == [8, 8]
    weights = safetensors.numpy.load_file(card / "model.safetensors")
    assert sum(one.size for one in weights.values()) == results.models["student"].num_params
    assert not json.loads((card / "preprocessor_config.json").read_text())["do_rescale"]
    bom = json.loads((card / "bom.cdx.json").read_text())
    assert bom["components"][0]["hashes"][0]["content"] == sha256_of(card / "onnx" / "model.onnx")

    (card / "README.md").write_text("license: mit")
    with pytest.raises(StudyError, match="exists and may hold changes of yours; move it away"):
        kdtool("export", study, "--card")
    assert (card / "README.md").read_text() == "license: mit"
    assert "holds older files" in kdtool("export", study, "--opset", "20").stderr


def test_a_study_without_a_student_has_no_kit(study):
    results = load_results(study / "results.json")
    teacher = {"teacher": results.models["teacher"]}
    none = {"verdicts": [], "flips": [], "shipped": None}
    alone = results.model_copy(update={"models": teacher, **none})
    write_atomic(study / "results.json", to_json(sealed(alone)))
    before = (study / "teacher.onnx").stat().st_mtime_ns
    for options in (["--kit"], ["--card"], ["--for", "ort"]):
        with pytest.raises(StudyError, match="holds no student to ship; `kdtool distill RECIPE`"):
            kdtool("export", study, *options)
    after = (study / "teacher.onnx").stat().st_mtime_ns
    assert after == before  # it failed before any file was written


def test_targets_are_written_verified_and_kept_in_the_results(study):
    done = kdtool("export", study, "--precisions", "fp32", "--for", "ort", "--json")
    results = json.loads(done.stdout)
    (target,) = results["targets"]
    shipped = results["models"][results["shipped"]]["files"]["fp32"]
    (check,) = target["checks"]
    assert (target["name"], target["path"]) == ("ort", "targets/ort")
    assert (check["sha256"], check["num_images"]) == (
        shipped["sha256"],
        results["data"]["num_test"],
    )
    assert (check["agreement"], check["refused"]) == (1.0, None)
    run = subprocess.run(
        [sys.executable, study / "targets" / "ort" / "run.py", "--check"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.startswith("ok: 16 of 16 images as expected")
    kdtool("explain", study)  # the files are the same, so the target is still valid
    assert load_results(study / "results.json").targets[0].path == "targets/ort"
    assert "Other runtimes" in (study / "report.md").read_text()


def test_a_target_is_converted_from_the_network_that_the_file_was_made_of(study):
    pytest.importorskip("ncnn")
    done = kdtool("export", study, "--precisions", "fp32", "--for", "ncnn", "--json")
    (target,) = json.loads(done.stdout)["targets"]
    (check,) = target["checks"]
    assert (target["path"], check["agreement"]) == ("targets/ncnn", 1.0)
    assert check["max_difference"] < 1e-5


def test_a_converter_that_cannot_be_downloaded_ends_before_any_target_is_written(
    study, monkeypatch
):
    pytest.importorskip("ai_edge_litert")
    if shutil.which("uv") is None:
        pytest.skip("uv is not on PATH")
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(KdtoolError, match=r"litert-torch==\S+ needs an environment of its own"):
        kdtool("export", study, "--precisions", "fp32", "--for", "ort,litert")
    assert not (study / "targets").exists()


@pytest.mark.parametrize("form", ["resize", "tensor"])
def test_files_that_take_other_input_pass_the_same_gate(study, form):
    precisions = "fp32,int8" if form == "resize" else "fp32"
    kdtool("export", study, "--input", form, "--precisions", precisions, "--kit")
    results = load_results(study / "results.json")
    for model in results.models.values():
        assert model.files["fp32"].parity.passed
        assert model.files["fp32"].latency is not None
    assert read_metadata(onnx.load(study / "student.onnx"))["preprocess"]["input"] == form
    profile = kdtool("profile", study / "student.onnx", "--seconds", "0.02", "--json")
    (measured,) = json.loads(profile.stdout)["models"]
    assert measured["num_macs"] == results.models["student"].num_macs
    counted = recount(study, results)
    assert (counted.mismatches, counted.not_checked) == ([], [])
    assert counted.num_compared > 0


def test_files_of_the_last_export_are_removed(study):
    kdtool("export", study, "--kit")
    done = kdtool("export", study, "--precisions", "fp32", "--opset", "20")
    assert not (study / "student.int8.onnx").exists()
    assert "holds an older model; `kdtool export" in done.stderr


def test_a_folder_in_place_of_the_model_of_a_kit_is_an_older_model(study):
    (study / "kit" / "model.onnx").mkdir(parents=True)
    reporter = Recorded()
    run = open_run(Study(study), load_recipe(study / "recipe.toml"), "cpu", reporter)
    warn_of_old_kit(run, load_results(study / "results.json"))
    (warning,) = reporter.warned
    assert "holds an older model; `kdtool export" in warning


def test_a_file_describes_itself_in_its_metadata(finished):
    metadata = read_metadata(onnx.load(finished / "student.int8.onnx"))
    counts = load_results(finished / "results.json").models["student"]
    assert metadata["counts"] == {
        "num_params": counts.num_params,
        "num_macs": counts.num_macs,
        "num_flops": counts.num_flops,
        "params_at_least": False,
        "macs_at_least": False,
    }
    assert metadata["preprocess"] == {
        "input": "pixels",
        "height": 8,
        "width": 8,
        "channels": 1,
        "scale": "inside the file",
    }
    assert metadata["quantization"]["target"] == "portable"
    props = {prop.key: prop.value for prop in onnx.load(finished / "student.onnx").metadata_props}
    assert props["Image.BitmapPixelFormat"] == "Gray8"


FRAGILE = """
import torch
from torch import nn

class Scaled(nn.Module):
    # Channels of 13 decades: 8 bits for all of them hold the largest two only.
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.logspace(-8, 4, 32))

    def forward(self, x):
        return ((x * self.scale) / self.scale).abs()

def fragile(image_shape, num_classes):
    print("not JSON")
    channels, height, width = image_shape
    first = nn.Linear(channels * height * width, 32)
    return nn.Sequential(nn.Flatten(), first, Scaled(), nn.Linear(32, num_classes))
"""


def test_int8_that_loses_too_much_is_not_kept_and_the_status_is_3(recipe, tmp_path, monkeypatch):
    (tmp_path / "fragile_nets.py").write_text(FRAGILE)
    monkeypatch.chdir(tmp_path)
    settings = ["student.model=fragile_nets:fragile", "student.learning_rate=0.01", "seeds=[0]"]
    settings += ["export.max_fp32_layers=0"]  # one layer in fp32 would do
    options = [part for setting in settings for part in ("--set", setting)]
    run = CliRunner().invoke(
        app, ["distill", str(recipe), "--out", str(tmp_path), "--json", "--anyway", *options]
    )
    assert json.loads(run.stdout)["models"]["student"]["recommended"] == "fp32"
    assert isinstance(run.exception, GateError)
    assert run.exception.exit_code == 3
    assert "student.int8.onnx is not kept: the best of 3 attempts (" in str(run.exception)
    study = tmp_path / "tiny"
    assert not (study / "student.int8.onnx").exists()
    student = load_results(study / "results.json").models["student"]
    assert (list(student.files), student.recommended) == (["fp32"], "fp32")
    rungs = student.int8_ladder.rungs
    names = ["min-max", "percentile 99.99", "bias correction"]
    assert [rung.name for rung in rungs] == names
    assert not any(rung.passed for rung in rungs)
    best = max(rung.difference for rung in rungs)
    assert f"loses {-100 * best:.2f} points" in student.refused["int8"]
    first, second = student.int8_ladder.worst_layers  # all that it has
    assert (first.snr_db, second.snr_db > 0) == (-100, True)  # 0 / 0 where a constant became 0
    assert "PyTorch has no form of its nodes Abs (node_abs" in student.int8_ladder.left_out
    assert "no form of its nodes Abs" in run.stderr
    stage = json.loads((study / "stages" / "export-student.int8.json").read_text())["result"]
    assert stage["validation"]["difference"] == best < -0.05
    assert stage["test"] is None  # validation refused it: no test image was used
    for report in ("report.md", "report.html"):
        text = (study / report).read_text()
        assert "is not kept" in text
        assert "none of 3 attempts keeps its accuracy on validation" in text
        assert all(name in text for name in names)
    profile = kdtool("profile", study / "student.onnx", "--seconds", "0.02", "--json").stdout
    (tmp_path / "pi.json").write_text(profile)
    kdtool("profile", study, "--merge", tmp_path / "pi.json")  # what it does, it did


def test_a_file_changed_after_its_check_does_not_ship(study):
    """By someone between the check and the kit: the file on disk is not the one of results.json."""
    path = study / "student.onnx"
    model = onnx.load(path)
    model.doc_string = "changed"
    results = load_results(study / "results.json")
    from kdtool.edge.kit.build import Answered, KitFacts, build_kit

    file = results.models["student"].files["fp32"]
    onnx.save(model, path)
    facts = KitFacts(
        study="tiny", role="student", precision="fp32", file=file, reason="", data="",
        rates=None, environment=results.environment,
    )  # fmt: skip
    answered = Answered(
        images=np.zeros((20, 8, 8, 1), np.uint8),
        labels=np.zeros(20, np.int64),
        probabilities=np.full((20, 10), 0.1, np.float32),
    )
    with pytest.raises(ModelFileError, match="was changed since it was checked"):
        build_kit(study / "kit", path, facts, answered)
    assert not (study / "kit").exists()


def test_a_study_and_a_checkpoint_can_be_profiled(study):
    (checkpoint,) = (study / "checkpoints").glob("student-seed3-*.safetensors")
    done = kdtool("profile", study, checkpoint, "--seconds", "0.02", "--csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    names = [row["name"].rsplit("/", 1)[-1] for row in rows]
    assert names == [
        "student.onnx", "student.int8.onnx", "control.onnx", "teacher.onnx",
        checkpoint.name,
    ]  # fmt: skip
    assert rows[0]["num_params"] == rows[4]["num_params"]


def test_latencies_of_a_device_join_the_study_and_survive_the_next_export(study):
    profile = kdtool("profile", study / "student.onnx", "--seconds", "0.02", "--json").stdout
    device = json.loads(profile)
    device["environment"]["cpu"] = "Raspberry Pi 5"
    (study.parent / "pi.json").write_text(json.dumps(device))
    kdtool("profile", study, "--merge", study.parent / "pi.json")
    assert "Raspberry Pi 5" in (study / "report.md").read_text()
    kdtool("export", study, "--precisions", "fp32")
    (joined,) = load_results(study / "results.json").devices
    assert joined.environment.cpu == "Raspberry Pi 5"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precisions", "int8"], '"fp32" is missing'),
        (["--precisions", "fp32,fp8"], '--precisions: got "fp8", expected one of'),
        (["--target", "mips"], '--target: got "mips", expected one of'),
        (["--input", "jpeg"], '--input: got "jpeg", expected one of'),
        (["--operating-point", "sens"], '--operating-point: got "sens", expected argmax'),
        (
            ["--operating-point", "youden"],
            'point: got "youden", which is for two classes, but .* have 10',
        ),
    ],
)
def test_a_wrong_option_of_export_is_one_message(study, arguments, message):
    before = (study / "results.json").read_bytes()
    with pytest.raises(KdtoolError, match=message):
        kdtool("export", study, *arguments)
    assert (study / "results.json").read_bytes() == before


def test_a_threshold_for_ten_classes_is_refused_before_training(recipe, tmp_path):
    given = ("--set", "export.operating_point=f1", "--out", tmp_path)
    with pytest.raises(RecipeError, match=r'got "f1", which is for two classes, but .* have 10'):
        kdtool("distill", recipe, *given)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_checkpoint_outside_its_study_is_one_message(finished, tmp_path):
    (checkpoint,) = (finished / "checkpoints").glob("student-seed3-*.safetensors")
    shutil.copy(checkpoint, tmp_path / "alone.safetensors")
    with pytest.raises(KdtoolError, match=r"results\.json"):
        kdtool("profile", tmp_path / "alone.safetensors")
    (tmp_path / "no.safetensors").write_bytes(b"abc")
    with pytest.raises(KdtoolError, match="is not a checkpoint of a study"):
        kdtool("profile", tmp_path / "no.safetensors")
