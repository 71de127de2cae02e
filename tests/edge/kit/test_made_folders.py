"""What `kdtool verify` says of the kit, the folders of other runtimes and the card of a study."""

import json
import shutil

import pytest
from sample_files import sample_targets
from sample_study import build_results

from kdtool.edge.verify.folders import made_folders
from kdtool.files import sha256_of


@pytest.fixture
def study(tmp_path, make_kit):
    """The folder of a study with a kit, a target and a card, and its results."""
    kit, _ = make_kit()
    model = sha256_of(kit / "model.onnx")
    shutil.copytree(kit, tmp_path / "targets" / "ort")  # of a kit's form, but for its names
    (tmp_path / "card" / "onnx").mkdir(parents=True)
    shutil.copy(kit / "model.onnx", tmp_path / "card" / "onnx" / "model.onnx")
    (tmp_path / "checkpoints").mkdir()
    for folder, name in (("checkpoints", "student-seed0-1"), ("card", "model")):
        (tmp_path / folder / f"{name}.safetensors").write_bytes(b"weights")
    results = of_file(build_results(classes=("a", "b", "c"), num_test=40), model)
    (target,) = [one for one in sample_targets() if one.name == "ort"]
    return tmp_path, results.model_copy(update={"targets": [target]})


def of_file(results, sha256):
    """Results whose student's fp32 file has that hash."""
    student = results.models["student"]
    file = student.files["fp32"].model_copy(update={"sha256": sha256})
    changed = student.model_copy(update={"files": student.files | {"fp32": file}})
    return results.model_copy(update={"models": results.models | {"student": changed}})


def named(study):
    return {(one.file, one.field, one.found) for one in made_folders(*study).mismatches}


def test_folders_of_the_study_match(study):
    part = made_folders(*study)
    # twice: the manifest, 16 golden images, 9 other files, the source; and two files of the card
    assert (part.num_compared, part.mismatches) == (2 * (1 + 16 + 9 + 1) + 2, [])


CHANGED, NO_FILE = "the file was changed", "of no file of this study"


@pytest.mark.parametrize("folder", ["kit", "targets/ort"])
@pytest.mark.parametrize(
    ("damage", "name", "field", "found"),
    [
        (lambda f: (f / "model.onnx").write_bytes(b"x"), "model.onnx", "SHA-256", CHANGED),
        (
            lambda f: (f / "golden/03.png").unlink(),
            "golden/03.png",
            "SHA-256",
            "the file is missing",
        ),
        (
            lambda f: (f / "more.py").write_text("x"),
            "more.py",
            "SHA-256",
            "the file does not belong to the folder of kdtool",
        ),
        (
            lambda f: (f / "manifest.json").write_text("{"),
            "manifest.json",
            "SHA-256",
            "missing, or cannot be read",
        ),
        (
            lambda f: edit(f / "manifest.json", role="teacher"),
            "manifest.json",
            "SHA-256",
            CHANGED,
        ),
    ],
)
def test_each_change_is_named(study, folder, damage, name, field, found):
    damage(study[0] / folder)
    assert named(study) == {(f"{folder}/{name}", field, found)}


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("source", [[], {}, 3, None])
def test_a_manifest_of_another_kind_is_named(study, source):
    edit(study[0] / "kit" / "manifest.json", source=source)
    assert named(study) == {
        ("kit/manifest.json", "SHA-256", CHANGED),
        ("kit/manifest.json", "source", NO_FILE),
    }


def test_what_was_made_from_another_model_is_named(study):
    folder, results = study
    assert named((folder, of_file(results, "0" * 64))) == {
        ("kit/manifest.json", "source", NO_FILE),
        ("targets/ort/manifest.json", "source", NO_FILE),
        ("card/onnx/model.onnx", "SHA-256", NO_FILE),
    }


def test_a_target_that_is_gone_is_named_and_a_kit_need_not_exist(study):
    for name in ("kit", "targets", "card"):
        shutil.rmtree(study[0] / name)
    gone = ("targets/ort/manifest.json", "SHA-256", "missing, or cannot be read")
    assert named(study) == {gone}
