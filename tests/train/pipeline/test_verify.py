"""Each kind of damage to a finished study is found by `kdtool verify`, and named."""

import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from shell import kdtool
from typer.testing import CliRunner

from kdtool.cli.app import app
from kdtool.edge.verify.recount import recount
from kdtool.errors import StudyError
from kdtool.files import sha256_of
from kdtool.results.base import sealed, to_json
from kdtool.results.commands.verification import verification
from kdtool.results.study import load_results
from kdtool.study.stages import StageRecord, read_record, write_record
from kdtool.study.verify.finished_study import open_study
from kdtool.study.verify.verify import verify_records

pytestmark = pytest.mark.slow

SHA256 = "SHA-256"
NO_IMAGES = [  # as on a machine without them
    word
    for value in ("source=npz", "root=nowhere", "file=none.npz")
    for word in ("--set", f"data.{value}")
]


def of_records(folder, profiles=()):
    """What is compared without PyTorch and without images."""
    finished = open_study(folder)
    parts = verify_records(finished, profiles, print)
    return verification(str(folder), [*parts, recount(folder, finished.results, profiles)])


def verify(folder, *options):
    """Run the command; return exit status, its JSON and standard error."""
    arguments = ["verify", str(folder), "--json", *map(str, options)]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    return done.exit_code, json.loads(done.stdout), " ".join(done.stderr.split())


def named(found):
    """File and field of each mismatch."""
    if isinstance(found, dict):
        listed = [one for part in found["parts"] for one in part["mismatches"]]
        return {(one["file"], one["field"]) for one in listed}
    return {(one.file, one.field) for one in found.mismatches}


def file_of(folder, pattern):
    """The one file of a study that fits a pattern, relative to it."""
    (path,) = folder.glob(pattern)
    return path.relative_to(folder).as_posix()


def flip(path, position=None):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if position is None else position] ^= 1
    path.write_bytes(content)


def edit(folder, change, *, seal=False):
    """Change results.json as its JSON; with `seal`, as one who also writes a fitting SHA-256."""
    path = folder / "results.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    if seal:
        path.write_text(to_json(sealed(load_results(path, edited=True))))


def put(content, field, value):
    """Set the value at a field such as `models.student.seeds[0].test.accuracy`."""
    *places, last = field.replace("[", ".").replace("]", "").split(".")
    for place in places:
        content = content[int(place) if isinstance(content, list) else place]
    content[int(last) if isinstance(content, list) else last] = value


def test_a_whole_study_passes_with_all_that_can_be_checked(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    status, found, _ = verify(finished)
    assert (status, found["passed"], named(found)) == (0, True, set())
    numbers = {part["name"].partition(",")[0]: part["num_compared"] for part in found["parts"]}
    assert set(numbers) == {
        "files",
        "results.json",
        "scores",
        "the decision",
        "the report",
        "ONNX files: parameters",
        "the images",
        "all numbers",
        "ONNX files: accuracy",
    }
    assert min(numbers.values()) > 0
    assert found["num_compared"] == sum(numbers.values())
    (left,) = {text for part in found["parts"] for text in part["not_checked"]}
    assert left.startswith("times, losses of training and saliency maps")
    after = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    assert after == before  # nothing was written


FILES = {
    "a weight": "checkpoints/student-seed3-*.safetensors",
    "an ONNX file": "student.onnx",
    "an int8 file": "student.int8.onnx",
    "predictions": "predictions/control-seed5-*.npz",
    "answers of a file": "predictions/student.onnx.npy",
    "the teacher's answers": "predictions/teacher-logits-*.npy",
    "images of the report": "predictions/gallery.npz",
    "the report": "report.html",
    "a figure": "figures/tradeoff.svg",
}


@pytest.mark.parametrize("damage", ["one bit", "half of it", "gone", "a folder"])
def test_each_damaged_file_is_named(study, damage):
    names = {file_of(study, pattern) for pattern in FILES.values()}
    for path in (study / name for name in names):
        content = path.read_bytes()
        if damage == "one bit":
            flip(path)
        elif damage == "half of it":
            path.write_bytes(content[: len(content) // 2])
        else:
            path.unlink()
        if damage == "a folder":
            path.mkdir()
    found = of_records(study)
    assert not found.passed
    hashes = {one.file: one for one in found.mismatches if one.field == SHA256}
    assert hashes.keys() == names
    for one in hashes.values():
        assert len(one.stored) == 64
        reason = {"gone": "no such file", "a folder": "it cannot be read: Is a directory"}
        assert one.found == reason.get(damage, one.found)
    assert CliRunner().invoke(app, ["verify", str(study)]).exit_code == 1  # and no traceback


def test_an_edited_recipe_is_named_and_a_damaged_one_is_an_error_with_its_fix(study):
    path = study / "recipe.toml"
    whole = path.read_text()
    path.write_text(f"{whole}# a comment\n")
    assert named(of_records(study)) == {("recipe.toml", SHA256)}
    path.write_text(whole.replace("epochs = 3", "epochs = 4"))
    assert named(of_records(study)) == {("recipe.toml", SHA256), ("recipe.toml", "student")}
    path.write_text(whole[:-40])
    message = r"(?s)recipe\.toml is not valid TOML: .* put the unchanged file back"
    for command in ("verify", "export", "explain", "report", "status"):
        with pytest.raises(StudyError, match=message):
            kdtool(command, study)
    path.unlink()
    with pytest.raises(StudyError, match=r"recipe\.toml is missing; copy the whole folder"):
        kdtool("verify", study)


def test_a_report_that_shows_another_number_is_named(study):
    (study / "stages" / "report.json").unlink()  # so its SHA-256 is not known
    for name, old in (("report.html", "</h2>"), ("report.md", "\n## ")):
        text = (study / name).read_text()
        (study / name).write_text(text.replace(old, f"99.9 {old}", 1))
    assert named(of_records(study)) == {
        ("stages/report.json", SHA256),
        ("report.html", "text"),
        ("report.md", "text"),
    }
    kdtool("report", study)
    assert of_records(study).passed
    (study / "report.md").unlink()
    assert named(of_records(study)) == {("report.md", SHA256), ("report.md", "text")}


def test_each_record_that_is_gone_is_named(study):
    for path in (study / "stages").iterdir():
        path.unlink()
    found = of_records(study)
    listed = {one.file for one in found.mismatches}
    for name in (
        "student-seed3-*",
        "cost-teacher",
        "export-student.int8",
        "latency",
        "explain",
        "report",
        "finished",
    ):
        assert f"stages/{name}.json" in listed


def test_weights_and_predictions_of_no_record_are_named(study):
    record = study / "stages" / "answers-student.int8.json"
    record.unlink()
    for name in ("checkpoints/other.safetensors", "checkpoints/student-seed3-0.state.pt"):
        (study / name).write_bytes(b"x")
    assert named(of_records(study)) == {
        ("checkpoints/other.safetensors", SHA256),
        ("predictions/student.int8.onnx.npy", SHA256),
    }


def test_the_table_of_answers_is_compared_with_the_predictions(study):
    path = study / "predictions" / "test.csv"
    path.write_text(path.read_text().replace("0.9", "0.8", 1))
    status, found, _ = verify(study)
    assert (status, named(found)) == (1, {("predictions/test.csv", "content")})


def change_array(path, change):
    """Change the arrays of a .npz, or the one of a .npy; in a .npy `change` sees the name ""."""
    if path.suffix == ".npy":
        np.save(path, change("", np.load(path)))
        return
    with np.load(path) as arrays:
        np.savez(path, **{name: change(name, array) for name, array in arrays.items()})


FORMS = {
    "an image less": lambda name, array: array[:-1],
    "a class less": lambda name, array: array[..., :-1] if array.ndim == 2 else array,
    "wider": lambda name, array: np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, 3)]),
    "flat": lambda name, array: array.reshape(-1) if array.ndim == 2 else array,
    "other labels": lambda name, array: array + 7 if "labels" in name else array,
    "labels below 0": lambda name, array: array - 20 if "labels" in name else array,
    "text": lambda name, array: array.astype(str),
    "complex": lambda name, array: array.astype(complex),
    "one number": lambda name, array: np.float32(1),
    "empty": lambda name, array: array[:0],
}


@pytest.mark.parametrize("form", FORMS)
def test_predictions_of_another_form_are_named_without_a_traceback(study, form):
    names = [file_of(study, FILES[kind]) for kind in ("predictions", "answers of a file")]
    before = {name: sha256_of(study / name) for name in names}
    for name in names:
        change_array(study / name, FORMS[form])
    changed = {(name, SHA256) for name in names if sha256_of(study / name) != before[name]}
    assert (names[0], SHA256) in changed
    assert {one for one in named(of_records(study)) if one[1] == SHA256} == changed
    if form in {"flat", "text"}:  # with PyTorch and the images too
        assert {one for one in named(verify(study)[1]) if one[1] == SHA256} == changed


def test_swapped_predictions_are_named_with_the_scores_that_they_change(study):
    first, second = (
        study / file_of(study, f"predictions/{role}-seed3-*.npz") for role in ("teacher", "student")
    )
    first.rename(study / "other")
    second.rename(first)
    (study / "other").rename(second)
    status, found, error = verify(study)
    assert status == 1
    assert {(f"predictions/{path.name}", SHA256) for path in (first, second)} <= named(found)
    for role in ("teacher", "student"):
        assert ("results.json", f"models.{role}.seeds[0].test.nll") in named(found)
    assert ("results.json", "verdicts[0].difference") in named(found)
    assert "do not match; put the original files back" in error


EDITED = {
    "models.student.seeds[0].test.accuracy": 0.999,
    "models.student.seeds[1].test.confusion[2][2]": 1000,
    "models.teacher.seeds[0].test.per_class[4].recall": 0.5,
    "models.control.test.accuracy.mean": 0.1,
    "models.student.seeds[0].epochs[1].validation_accuracy": 0.99,
    "models.student.num_macs": 1,
    "models.student.files.fp32.accuracy": 0.999,
    "models.student.files.fp32.size_bytes": 10,
    "models.student.files.fp32.opset": 7,
    "models.student.files.int8.latency.p50_ms": 1e-6,
    "models.student.files.int8.gate.time_ratio": 0.1,
    "models.student.files.int8.parity.agreement": 0.5,
    "verdicts[0].difference": 0.5,
    "flips[0].gained": 400,
    "data.class_counts.test[3]": 7,
    "decision.because": "It is the best.",
    "explain.method": "another",
}


@pytest.mark.parametrize("seal", [False, True], ids=["by hand", "with a fitting hash"])
def test_each_value_that_was_edited_is_named(study, seal):
    keys = {"models.student.files.int8.sha256": "0" * 64, "data.fingerprint": "0" * 64}
    keys["data.classes[4]"] = "another"
    edit(study, lambda content: [put(content, *one) for one in (EDITED | keys).items()], seal=seal)
    found = named(of_records(study))
    assert {("results.json", field) for field in EDITED} <= found
    assert {
        ("student.int8.onnx", SHA256),
        ("student.onnx", "kdtool.provenance.data"),
        ("teacher.onnx", "kdtool.classes[4]"),
    } <= found
    assert (("results.json", SHA256) in found) != seal


def test_one_edited_value_is_named_and_no_other(study):
    edit(study, lambda content: put(content, "models.student.seeds[0].test.accuracy", 0.999))
    expected = {("results.json", SHA256), ("results.json", "models.student.seeds[0].test.accuracy")}
    assert named(of_records(study)) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["data"]["classes"].pop(),
        lambda content: content["models"]["student"]["seeds"].pop(),
        lambda content: content["models"].pop("teacher"),
        lambda content: put(content, "models.student.exported_seed", 77),
        lambda content: put(content, "models.student.seeds[0].seed", 77),
        lambda content: put(content, "models.student.seeds[0].best_epoch", 77),
        lambda content: put(content, "models.student.files", {}),
        lambda content: put(content, "verdicts[0].seeds", [77]),
        lambda content: put(content, "data.image_shape", [3, 1, 1]),
        lambda content: put(content, "data.positive", "ill"),
        lambda content: content["models"]["student"]["seeds"][0]["test"]["per_class"].pop(),
    ],
    ids=map(str, range(11)),
)
def test_results_whose_parts_do_not_fit_together_are_named_without_a_traceback(study, change):
    edit(study, change)
    status, found, _ = verify(study, *NO_IMAGES)
    assert status == 1
    assert len(named(found)) > 1
    assert ("results.json", SHA256) in named(found)


COMPUTED = {  # by the functions of the study only
    "models.student.seeds[0].test.roc_auc": 0.5,
    "models.student.test.accuracy.ci95[0]": 0.01,
    "models.student.seeds[0].calibration.temperature": 9.0,
    "models.student.per_class[3].f1.mean": 0.01,
    "models.student.coverage.curve[0].accuracy": 0.01,
    "verdicts[0].p_value": 0.9,
    "verdicts[0].ci_holm[1]": 0.9,
    "verdicts[0].mcnemar_p[0]": 0.9,
    "verdicts[0].per_class[2].difference": 0.9,
    "flips[1].gained_images": [1, 2],
    "models.student.files.int8.gate.reason": "it is fast",
    "models.student.files.fp32.against_teacher.difference": 0.9,
    "models.student.int8_ladder.rungs[0].difference": 0.9,
    "data.num_train": 7,
    "shipped": "subclass-student",
}


def test_values_that_only_the_functions_of_a_study_compute_are_named(study):
    edit(
        study,
        lambda content: [put(content, *one) for one in COMPUTED.items()],
        seal=True,
    )
    status, found, error = verify(study)
    assert status == 1
    missed = [
        field
        for field in COMPUTED
        if field != "shipped" and ("results.json", field) not in named(found)
    ]
    assert missed == []
    assert "match" in error


def test_a_forged_record_and_results_still_contradict_the_predictions(study):
    """Whoever changes a score in all records, with fitting hashes, has not changed the answers."""
    name = file_of(study, "stages/evaluate-student-seed3-*.json")
    record = read_record(study / name)
    write_record(
        study / name, StageRecord(record.key, record.files, record.result | {"accuracy": 0.999})
    )
    edit(study, lambda one: put(one, "models.student.seeds[0].test.accuracy", 0.999), seal=True)
    assert named(of_records(study)) == {("results.json", "models.student.seeds[0].test.accuracy")}


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda path: path.write_text(path.read_text().replace("0.", "1.", 1)), "was changed"),
        (lambda path: path.write_text("{"), "is not JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is not JSON"),
        (lambda path: path.write_text("[]"), "is not the record of a stage"),
        (lambda path: (path.unlink(), path.mkdir()), "Is a directory"),
    ],
    ids=["edited", "cut", "no text", "a list", "a folder"],
)
def test_a_damaged_record_is_named(study, damage, fault):
    name = file_of(study, "stages/evaluate-student-seed3-*.json")
    damage(study / name)
    found = of_records(study)
    (one,) = [one for one in found.mismatches if one.file == name]
    assert one.field == SHA256
    assert fault in one.found


def test_an_edited_result_is_refused_by_every_command_that_would_show_it(study, tmp_path):
    (tmp_path / "profile.json").write_text(
        kdtool("profile", study / "student.onnx", "--seconds", "0.01", "--json").stdout
    )
    edit(study, lambda content: put(content, "models.student.test.accuracy.mean", 0.999))
    before = {path: path.read_bytes() for path in study.glob("*.*") if path.is_file()}
    for command in (
        ["report", study],
        ["profile", study, "--merge", tmp_path / "profile.json"],
        ["profile", study, "--seconds", "0.01"],
        ["export", study],
        ["explain", study],
        ["status", study],
    ):
        with pytest.raises(StudyError, match=r"results\.json was changed: .* `kdtool verify"):
            kdtool(*command)
    assert {path: path.read_bytes() for path in study.glob("*.*") if path.is_file()} == before
    shutil.rmtree(study)


def test_predict_and_profile_warn_of_a_file_that_is_not_the_one_on_record(study, tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "black.png")
    shutil.copy(study / "teacher.onnx", study / "student.onnx")
    for command in (
        ["predict", study / "student.onnx", tmp_path / "black.png"],
        ["profile", study, "--seconds", "0.01"],
    ):
        warning = " ".join(kdtool(*command).stderr.split())
        assert "student.onnx was changed: it does not match its SHA-256" in warning
        assert f"`kdtool export {study}` writes it again" in warning
    assert "warning" not in kdtool("predict", study / "control.onnx", tmp_path / "black.png").stderr


def with_another_weight(study):
    """Change a bias of the student's file, as one who also writes fitting hashes."""
    path = study / "student.onnx"
    old = sha256_of(path)
    model = onnx.load(path)
    biases = [one for one in model.graph.initializer if one.dims == [10]]
    (bias,) = (one for one in biases if one.data_type == TensorProto.FLOAT)
    changed = numpy_helper.to_array(bias) + np.eye(10, dtype=np.float32)[0] * 50
    bias.CopyFrom(numpy_helper.from_array(changed, bias.name))
    onnx.save(model, path)
    for record in (study / "stages").glob("*.json"):
        content = json.loads(record.read_text().replace(old, sha256_of(path)))
        del content["sha256"]
        write_record(record, StageRecord(**content))
    results = study / "results.json"
    results.write_text(results.read_text().replace(old, sha256_of(path)))
    edit(study, lambda content: None, seal=True)
    kdtool("report", study)


def test_a_forged_file_contradicts_the_answers_that_are_stored(study):
    """With fitting hashes, only running it on the images finds it."""
    with_another_weight(study)
    status, found, _ = verify(study)
    assert status == 1
    assert ("predictions/student.onnx.npy", "answers of student.onnx") in named(found)
    assert ("student.onnx", SHA256) not in named(found)


@pytest.fixture
def made_elsewhere(study):
    """A study that was made on another processor."""
    edit(study, lambda content: put(content, "environment.cpu", "Cortex-A76"), seal=True)
    kdtool("report", study)
    return study


def test_a_study_of_another_machine_is_verified_here(made_elsewhere):
    status, found, _ = verify(made_elsewhere)
    assert (status, named(found)) == (0, set())
    left = [text for part in found["parts"] for text in part["not_checked"]]
    assert any(text.startswith("student.int8.onnx was run on another processor") for text in left)


def test_fp32_files_of_another_machine_must_give_the_classes_of_pytorch_here(made_elsewhere):
    with_another_weight(made_elsewhere)
    status, found, _ = verify(made_elsewhere)
    assert status == 1
    assert ("results.json", "classes of student.onnx on this machine") in named(found)


def test_a_copy_without_its_images_is_verified_as_far_as_possible(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "elsewhere" / "renamed")
    status, found, _ = verify(copy, *NO_IMAGES)
    left = [text for part in found["parts"] for text in part["not_checked"]]
    assert (status, named(found)) == (0, set())
    assert any(text.startswith("the images: ") and "none.npz" in text for text in left)
    assert any("--set data.root=FOLDER says where they are" in text for text in left)
    assert sum(part["num_compared"] for part in found["parts"]) > 5000

    edit(copy, lambda content: put(content, "verdicts[0].p_value", 0.9), seal=True)
    status, found, _ = verify(copy, *NO_IMAGES)
    assert (status, named(found)) == (1, {("results.json", "verdicts[0].p_value")})


def test_other_images_are_named(study):
    """The same source, of which another part is set aside for validation."""
    status, found, _ = verify(study, "--set", "data.validation=0.2")
    assert status == 1
    assert ("results.json", "data.fingerprint") in named(found)
    assert ("results.json", "data.num_validation") in named(found)


def test_without_pytorch_the_rest_is_verified(study, tmp_path):
    for package in ("torch", "scipy"):
        (tmp_path / f"{package}.py").write_text(
            f"raise ModuleNotFoundError('blocked', name='{package}')"
        )
    edit(study, lambda content: put(content, "models.student.test.accuracy.mean", 0.5))
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from kdtool.cli.app import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "verify", str(study), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert ("results.json", "models.student.test.accuracy.mean") in named(found)
    left = [text for part in found["parts"] for text in part["not_checked"]]
    assert any("install" in text for text in left)


def test_measurements_of_another_machine_are_compared_with_its_profile(study, tmp_path):
    profile = tmp_path / "board.json"
    content = json.loads(
        kdtool("profile", study / "student.onnx", "--seconds", "0.01", "--json").stdout
    )
    content["environment"]["cpu"] = "another processor"
    profile.write_text(json.dumps(content))
    kdtool("profile", study, "--merge", profile)
    options = ["--device-file", profile]

    (reason,) = [text for text in of_records(study).not_checked if "another processor" in text]
    assert reason.endswith("give its profile with --device-file")
    assert verify(study, *options, *NO_IMAGES)[0] == 0

    field = "devices[0].files[0].timings[0].latency.p50_ms"
    edit(study, lambda one: put(one, field, 1e-6), seal=True)
    status, found, _ = verify(study, *options, *NO_IMAGES)
    assert (status, named(found)) == (1, {("results.json", field)})

    content["models"][0]["num_macs"] = 1
    profile.write_text(json.dumps(content))
    _, found, _ = verify(study, *options, *NO_IMAGES)
    assert ("board.json", "models[0].num_macs") in named(found)


def test_results_without_a_hash_of_an_older_kdtool_are_read_and_said(study):
    edit(study, lambda content: content.pop("sha256"))
    assert load_results(study / "results.json").sha256 is None
    found = of_records(study)
    assert found.passed
    assert "results.json itself: the kdtool that wrote it did not record its SHA-256" in (
        found.not_checked
    )


def test_what_differs_is_printed_with_both_values_and_how_to_go_on(study):
    flip(study / file_of(study, "checkpoints/student-seed3-*.safetensors"))
    done = CliRunner().invoke(
        app, ["verify", str(study), "--quiet", *NO_IMAGES], catch_exceptions=False
    )
    text = " ".join(done.stdout.split())
    assert done.exit_code == 1
    assert "does not match: checkpoints/student-seed3-" in text
    assert "SHA-256: " in text
    assert "on record, found " in text
    assert "what does not match its SHA-256 is made again" in " ".join(done.stderr.split())
