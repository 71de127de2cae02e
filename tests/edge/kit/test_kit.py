import json
import os
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from kdtool.edge.kit.build import Answered, pick_golden, write_golden
from kdtool.edge.kit.check import check_kit, importable
from kdtool.edge.kit.folder import changed_files
from kdtool.edge.predict import predict_files
from kdtool.errors import GateError, ModelFileError, StudyError
from kdtool.files import sha256_of
from kdtool.results.base import to_json
from kdtool.results.evidence import Rates
from kdtool.results.study import FileResult

NUM_IMAGES, NUM_GOLDEN = 40, 16
CONTENT = [
    "README.md",
    "check.py",
    "classifier.py",
    *(f"golden/{place:02}.png" for place in range(NUM_GOLDEN)),
    "golden/expected.json",
    "labels.txt",
    "manifest.json",
    "model.onnx",
    "picture.py",
    "predict.py",
    "requirements.txt",
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", ["pixels", "resize", "tensor"])
def test_a_kit_gives_the_probabilities_in_closed_form(make_kit, form, channels):
    folder, output = make_kit(form=form, channels=channels)
    assert output.startswith(f"ok: {NUM_GOLDEN} of {NUM_GOLDEN} images as expected")
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert sorted(names) == sorted(CONTENT)
    assert list(folder.parent.glob(".kit*")) == []
    assert changed_files(folder) == []


def test_predict_prints_the_classes_and_continues_after_a_bad_image(tmp_path, make_kit, run):
    folder, _ = make_kit("kit ü 犬", classes=["chat", "café", "犬"])
    entry = json.loads((folder / "golden/expected.json").read_text(encoding="utf-8"))["images"][0]
    golden = folder / "golden" / entry["file"]
    Image.new("L", (12, 8)).save(tmp_path / "large.png")
    # What a bare machine has: no locale, and a home where nothing may be written.
    (tmp_path / "home").mkdir()
    env = {"LC_ALL": "C", "HOME": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    images = [str(golden), "/missing.png", str(tmp_path / "large.png")]
    done = run(folder / "predict.py", "--threads", "2", *images, env=env)
    best = np.argsort(-np.array(entry["probabilities"]))
    labels = ["chat", "café", "犬"]
    classes = ", ".join(f"{labels[k]} {100 * entry['probabilities'][k]:.1f} %" for k in best)
    first, second = done.stdout.splitlines()
    assert first == f"{golden}: {classes}"
    assert second.startswith(f"{images[2]}: ")
    assert done.stderr.splitlines() == [
        "error: cannot read /missing.png: No such file or directory",
        f"{images[2]}: resized from 12 x 8 to 6 x 4",
    ]
    assert done.returncode == 1
    assert list((tmp_path / "home").rglob("*")) == []
    assert run(folder / "predict.py", images[0]).returncode == 0


RATES = Rates(
    sensitivity=0.875,
    sensitivity_ci95=(0.5, 0.95),
    specificity=0.75,
    specificity_ci95=(0.6, 0.9),
    precision=0.5,
    precision_ci95=(0.1, 0.9),
    accuracy=0.775,
    f1=0.5,
)


def test_a_kit_predicts_the_positive_class_from_its_threshold(make_kit, run):
    threshold = 0.9
    folder, output = make_kit(
        classes=["HP", "a|`b`, c"],
        decision={"rule": "cost:5", "positive": "a|`b`, c", "threshold": threshold},
        facts={"rates": RATES},
    )
    assert output.startswith("ok: ")
    entries = json.loads((folder / "golden/expected.json").read_text(encoding="utf-8"))["images"]
    done = run(folder / "predict.py", *(folder / "golden" / entry["file"] for entry in entries))
    expected = []
    for entry in entries:
        hp, positive = (100 * probability for probability in entry["probabilities"])
        texts = [
            f"HP {hp:.1f} %",
            f"a|`b`, c {positive:.1f} % (threshold {100 * threshold:g} %)",
        ]
        called = positive >= 100 * threshold
        line = ", ".join(reversed(texts) if called else texts)
        expected.append((called, f"{folder / 'golden' / entry['file']}: {line}"))
    assert done.stdout.splitlines() == [line for _, line in expected]
    assert len({called for called, _ in expected}) == 2

    text = " ".join((folder / "README.md").read_text(encoding="utf-8").split())
    for sentence in (
        "The predicted class is `` a|`b`, c `` if its probability is at least 0.90, else `HP`; "
        "`decide` returns its index. The threshold was chosen on validation images by the rule "
        "`cost:5`.",
        "Sensitivity (share of the images of `` a|`b`, c `` that get this class): 87.50 % (95 % "
        "interval 50.00 % to 95.00 %).",
        "Specificity (share of the other images that do not get it): 75.00 % (95 % interval "
        "60.00 % to 90.00 %).",
    ):
        assert sentence in text


def test_the_readme_of_argmax_lists_sensitivity_too(make_kit):
    chosen = {"rule": "argmax", "positive": "b", "threshold": 0.5}
    folder, _ = make_kit(classes=["a", "b"], decision=chosen, facts={"rates": RATES})
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "The predicted class is the most probable one; `decide`" in text
    assert "Sensitivity (share of the images of `b` that get this class): 87.50 %" in text
    assert "With the threshold" not in text


NAMES = [
    " with space ",
    "a, b",
    "a|b",
    "犬 и ё",
    "*_[x](y)_*",
    "<b>",
    "n" * 250,
    "#",
    '"quoted"\\n',
]


def test_names_of_classes_are_the_same_everywhere(make_kit, run):
    folder, _ = make_kit(classes=NAMES)
    assert (folder / "labels.txt").read_text(encoding="utf-8").splitlines() == NAMES
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "\n".join(f"    {name}" for name in NAMES) in text
    golden = folder / "golden"
    done = run(folder / "predict.py", *sorted(golden.glob("*.png")))
    report = predict_files(folder / "model.onnx", sorted(golden.glob("*.png")))
    for line, prediction in zip(done.stdout.splitlines(), report.predictions, strict=True):
        assert prediction.decided == prediction.classes[0].name
        assert line.startswith(f"{prediction.path}: {prediction.decided} ")
    back = type(report).model_validate_json(to_json(report))
    assert {entry.name for one in back.predictions for entry in one.classes} <= set(NAMES)


def test_a_terminal_that_lacks_a_letter_gets_its_escape(make_kit, run):
    folder, _ = make_kit(classes=["chat", "café", "犬"])
    env = {"PYTHONIOENCODING": "ascii"}
    done = run(folder / "predict.py", folder / "golden/00.png", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\u72ac" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_name_of_a_file_never_controls_the_terminal(make_kit, run, tmp_path):
    folder, _ = make_kit()
    image, missing = tmp_path / "a\x1b[2Jb\u202ec.png", tmp_path / "no\x1b[2J.png"
    shutil.copy(folder / "golden" / "00.png", image)
    done = run(folder / "predict.py", image, missing)
    assert r"/a\x1b[2Jb\u202ec.png: " in done.stdout
    assert r"no\x1b[2J.png: No such file" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_a_copy_works_elsewhere_and_the_check_detects_another_model(tmp_path, make_kit, run):
    folder, _ = make_kit()
    copy = Path(shutil.move(folder, tmp_path / "elsewhere"))
    assert run(copy / "check.py").returncode == 0
    model = onnx.load(copy / "model.onnx")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "bias")
    shifted = np.frombuffer(bias.raw_data, np.float32) + np.array([0, 0, 0.02], np.float32)
    bias.raw_data = shifted.tobytes()
    onnx.save(model, copy / "model.onnx")
    done = run(copy / "check.py")
    assert done.returncode == 1
    assert "FAILED: missing or changed: model.onnx; copy the kit again" in done.stdout
    assert changed_files(copy) == ["model.onnx was changed"]
    # A machine that computes otherwise looks like another model of the same bytes.
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["model.onnx"] = sha256_of(copy / "model.onnx")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    done = run(copy / "check.py")
    assert done.returncode == 1
    assert "00.png: a probability differs by 0.00" in done.stdout
    assert f"FAILED: 0 of {NUM_GOLDEN} images as expected" in done.stdout


@pytest.mark.parametrize("name", ["model.onnx", "labels.txt", "golden/03.png", "manifest.json"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_the_check_lists_the_files_that_a_bad_copy_lost(make_kit, name, how, run):
    folder, _ = make_kit()
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    done = run(folder / "check.py")
    assert done.returncode == 1
    assert done.stdout == f"FAILED: missing or changed: {name}; copy the kit again\n"
    assert "Traceback" not in done.stderr


def test_the_check_runs_where_only_three_packages_and_their_needs_are():
    modules, _ = importable()
    assert {"numpy", "onnxruntime", "PIL"} <= set(modules)
    assert not {"kdtool", "onnx", "torch", "pydantic", "rich"} & set(modules)


@pytest.mark.parametrize("package", ["kdtool", "onnx", "rich"])
@pytest.mark.parametrize("script", ["classifier.py", "predict.py"])
def test_a_kit_that_needs_another_package_is_refused(make_kit, script, package):
    folder, _ = make_kit()
    script = folder / script
    script.write_text(f"import {package}\n" + script.read_text())
    with pytest.raises(GateError, match=f"No module named '{package}'") as error:
        check_kit(folder)
    assert error.value.exit_code == 3


def test_a_kit_with_other_outputs_is_not_written_and_the_old_one_stays(make_kit):
    folder, _ = make_kit()
    before = sha256_of(folder / "manifest.json")
    wrong = np.full((NUM_IMAGES, 3), 1 / 3, np.float32)
    with pytest.raises(GateError, match=f"FAILED: 0 of {NUM_GOLDEN} images") as error:
        make_kit(probabilities=wrong)
    assert error.value.exit_code == 3
    assert sha256_of(folder / "manifest.json") == before
    assert changed_files(folder) == []
    with pytest.raises(GateError, match="FAILED"):
        make_kit("new", probabilities=wrong)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["kit", "model.onnx"]


def test_a_kit_is_replaced_but_nothing_else_is(tmp_path, make_kit, run):
    folder, _ = make_kit()
    run(folder / "predict.py", folder / "golden/00.png")  # leaves __pycache__
    make_kit(classes=["x", "y", "z"])
    assert (folder / "labels.txt").read_text() == "x\ny\nz\n"
    (tmp_path / "empty").mkdir()
    make_kit("empty")

    (folder / "photo.jpg").write_bytes(b"mine")
    (folder / "predict.py").write_text("# mine")
    (folder / "README.md").unlink()
    message = (
        r"changes that would be lost \(README\.md is missing; "
        r"photo\.jpg does not belong to the kit; predict\.py was changed\)"
    )
    with pytest.raises(StudyError, match=message):
        make_kit()
    assert (folder / "photo.jpg").read_bytes() == b"mine"


def test_an_environment_inside_the_kit_is_one_name_and_a_long_list_is_cut(make_kit):
    folder, _ = make_kit()
    (folder / "env" / "lib").mkdir(parents=True)
    for number in range(20):
        (folder / "env" / "lib" / f"{number}.py").touch()
    assert changed_files(folder) == ["env does not belong to the kit"]
    for number in range(10):
        (folder / f"{number}.jpg").touch()
    with pytest.raises(
        StudyError, match=r"\(0\.jpg does [^;]*(; \d\.jpg [^;]*){4}; 6 more\); move"
    ):
        make_kit()


def test_what_the_system_leaves_and_a_wheel_are_no_change(make_kit):
    folder, _ = make_kit()
    for name in (".DS_Store", "Thumbs.db", "kdtool-0.2.0-py3-none-any.whl"):
        (folder / name).touch()
    assert changed_files(folder) == []
    make_kit()  # replaces it


def test_a_folder_in_place_of_a_file_is_a_change(make_kit):
    folder, _ = make_kit()
    (folder / "golden" / "00.png").unlink()
    (folder / "golden" / "00.png").mkdir()
    assert changed_files(folder) == ["golden/00.png was changed"]


@pytest.mark.parametrize("manifest", [None, "", "{", "[]", '{"files": 3}', "\xff"])
def test_a_folder_that_is_not_a_kit_is_not_touched(tmp_path, make_kit, manifest):
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "thesis.tex").write_text("mine")
    if manifest is not None:
        (tmp_path / "kit" / "manifest.json").write_text(manifest, encoding="latin-1")
    with pytest.raises(StudyError, match=r"kit exists and is not a kit; move it away"):
        make_kit()
    with pytest.raises(StudyError, match=r"kit is not a kit: it has no readable manifest\.json"):
        changed_files(tmp_path / "kit")
    assert (tmp_path / "kit" / "thesis.tex").read_text() == "mine"


def test_a_file_in_place_of_the_kit_is_not_touched(tmp_path, make_kit):
    (tmp_path / "kit").write_text("mine")
    with pytest.raises(StudyError, match="exists and is not a kit"):
        make_kit()
    with pytest.raises(StudyError, match=r"cannot write .*: Not a directory"):
        make_kit("kit/inside")
    assert (tmp_path / "kit").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a read-only /proc")
def test_a_read_only_file_system_is_an_error_even_for_root(make_kit):
    with pytest.raises(StudyError, match=r"cannot write /proc/kit: "):
        make_kit("/proc/kit")
    with pytest.raises(StudyError, match=r"cannot write .*: File name too long"):
        make_kit("k" * 300)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_an_error(tmp_path, make_kit):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(StudyError, match=r"cannot write .*: Permission denied"):
        make_kit("locked/kit")


def test_a_model_that_was_changed_since_it_was_checked_is_refused(tmp_path, make_kit):
    file = FileResult.model_validate(
        {
            "path": "student.onnx",
            "sha256": "0" * 64,
            "size_bytes": 1,
            "opset": 18,
            "accuracy": 1,
            "parity": {
                "num_images": 1,
                "agreement": 1,
                "max_abs_error": 0,
                "flipped": [],
                "passed": True,
            },
        }
    )
    message = r"model\.onnx was changed since it was checked; `kdtool export STUDY` writes it again"
    with pytest.raises(ModelFileError, match=message):
        make_kit(facts={"file": file})
    assert not (tmp_path / "kit").exists()


@pytest.mark.parametrize("name", ["two\nlines", "", "carriage\r", "next\x85line", "u\u2028"])
def test_a_class_name_with_a_line_break_is_refused(tmp_path, make_kit, name):
    with pytest.raises(ModelFileError, match="is empty or has a line break, but"):
        make_kit(classes=["a", name, "c"])
    assert not (tmp_path / "kit").exists()


def test_the_readme_describes_the_file(make_kit):
    folder, _ = make_kit(classes=[f"class_{k}" for k in range(50)], channels=3)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# ring: student, fp32\n")
    assert "`image`: uint8 `(N, 4, 6, 3)`" in text
    assert "    class_39\n    ... and 10 more, see labels.txt\n" in text
    # Wilson's interval for 36 of 40.
    figures = "Accuracy: 90.00 % on 40 test images of noise (95 % interval 76.95 % to 96.04 %)."
    assert figures in text
    assert "The int8 file is not faster here." in text
    assert sha256_of(folder / "model.onnx") in text
    assert "model linear, seed 0" in text
    assert "$" not in text


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 1e-3), ("fp16", 1e-2), ("int8", 0.05)]
)
def test_the_tolerance_is_that_of_the_precision(make_kit, precision, tolerance):
    folder, _ = make_kit(facts={"precision": precision})
    assert json.loads((folder / "golden/expected.json").read_text())["tolerance"] == tolerance
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert f"may differ by up to {tolerance:g}: " in text
    assert ("it is meant for GPUs" in text) == (precision == "fp16")


def test_requirements_name_what_the_kit_was_checked_with(make_kit):
    folder, _ = make_kit()
    comment, *lines = (folder / "requirements.txt").read_text().splitlines()
    assert lines == ["numpy>=1.26", "onnxruntime>=1.20", "pillow>=11.0"]
    assert comment.startswith(f"# Checked with numpy {np.__version__}, onnxruntime ")
    folder, _ = make_kit("newer", opset=22)
    checked = comment.split("onnxruntime ")[1].split(",")[0]
    assert f"onnxruntime>={checked}\n" in (folder / "requirements.txt").read_text()


def test_a_kit_has_as_many_golden_images_as_asked_for(make_kit):
    folder, output = make_kit(facts={"num_golden": 2})
    assert output.startswith("ok: 2 of 2 images as expected")
    assert [path.name for path in sorted(folder.glob("golden/*.png"))] == ["00.png", "01.png"]
    assert "predict.py golden/00.png" in (folder / "README.md").read_text()
    folder, output = make_kit("all", facts={"num_golden": 200})  # more than there are
    assert output.startswith(f"ok: {NUM_IMAGES} of {NUM_IMAGES} images as expected")


def test_names_of_many_golden_images_sort_in_their_order(tmp_path):
    images = np.zeros((101, 2, 2, 1), np.uint8)
    write_golden(tmp_path / "golden", images, ["a"] * 101, np.ones((101, 1), np.float32), 0.1)
    names = sorted(path.name for path in tmp_path.glob("golden/*.png"))
    assert (names[0], names[-1], len(names)) == ("000.png", "100.png", 101)
    entries = json.loads((tmp_path / "golden" / "expected.json").read_text())["images"]
    assert [entry["file"] for entry in entries] == names


def answered(labels, probabilities, rounded=None):
    images = np.zeros((len(labels), 2, 2, 1), np.uint8)
    return Answered(images=images, labels=labels, probabilities=probabilities, rounded=rounded)


def test_golden_images_are_half_typical_of_all_classes_half_hard():
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.full(4, 0.3), 400).astype(np.float32)
    labels = np.arange(400) // 100  # sorted, as a folder of folders is
    tolerance = 0.1
    picked = pick_golden(answered(labels, probabilities), tolerance, NUM_GOLDEN)
    assert len(set(picked)) == len(picked) == NUM_GOLDEN
    top = np.sort(probabilities, axis=1)
    margins = top[:, -1] - top[:, -2]
    # A difference within the tolerance cannot change the class of any.
    assert (margins[picked] > 2 * tolerance).all()
    assert labels[picked[:8]].tolist() == [0, 1, 2, 3] * 2
    right = (probabilities.argmax(axis=1) == labels) & (margins > 2 * tolerance)
    for label, first, second in zip(range(4), picked[:4], picked[4:8], strict=True):
        own = np.flatnonzero(right & (labels == label))
        distances = abs(margins - np.median(margins[own]))
        assert sorted(own, key=lambda place: distances[place])[:2] == [first, second]
    others = [k for k in range(400) if margins[k] > 2 * tolerance and k not in picked]
    assert max(margins[picked[8:]]) <= min(margins[others])


def test_golden_images_of_int8_do_not_depend_on_how_integers_are_rounded():
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.full(4, 0.3), 400).astype(np.float32)
    moves = np.where(np.arange(400) % 3, 0.02, 0.04).astype(np.float32)
    rounded = probabilities + moves[:, None] * np.array([1, -1, 0, 0], np.float32)
    labels = probabilities.argmax(axis=1)
    picked = pick_golden(answered(labels, probabilities, rounded), 0.05, NUM_GOLDEN)
    assert all(index % 3 for index in picked)
    plain = pick_golden(answered(labels, probabilities), 0.05, NUM_GOLDEN)
    assert any(index % 3 == 0 for index in plain)
    # where all depend on it, a kit still gets some
    everywhere = answered(labels, probabilities, probabilities + np.float32(0.04))
    assert len(pick_golden(everywhere, 0.05, NUM_GOLDEN)) == NUM_GOLDEN


@pytest.mark.parametrize(
    ("precision", "shift", "says", "status"),
    [
        ("int8", 0.04, "ok: 16 of 16", 0),
        ("int8", 0.15, "ok, with another platform's rounding of int8: the same classes: 0 of", 0),
        ("int8", 0.3, "FAILED: 0 of 16", 1),
        ("int8", -0.15, "FAILED: 0 of 16", 1),  # the class changes
        ("fp32", 0.04, "FAILED: 0 of 16", 1),
    ],
)
def test_the_check_sets_rounding_apart_from_wrong_answers(
    make_kit, run, precision, shift, says, status
):
    """The golden answers move by `shift` from the second to the most probable class."""
    folder, _ = make_kit(facts={"precision": precision})
    path = folder / "golden" / "expected.json"
    expected = json.loads(path.read_text())
    for image in expected["images"]:
        probabilities = np.array(image["probabilities"])
        *_, second, first = probabilities.argsort()
        margin = probabilities[first] - probabilities[second]
        move = shift if shift > 0 else -max(-shift, margin / 2 + 0.01)
        probabilities[[first, second]] += [move, -move]
        image["probabilities"] = probabilities.tolist()
    path.write_text(json.dumps(expected))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["golden/expected.json"] = sha256_of(path)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    done = run(folder / "check.py")
    assert (done.returncode, says in done.stdout) == (status, True), done.stdout


def test_the_check_compares_the_classes_that_the_threshold_calls(make_kit, run):
    """An answer on the other side of the threshold is another class, however close."""
    folder, _ = make_kit(
        classes=["a", "b"],
        decision={"rule": "cost:5", "positive": "b", "threshold": 0.9},
        facts={"rates": RATES, "precision": "int8"},
    )
    path = folder / "golden" / "expected.json"
    expected = json.loads(path.read_text())
    image = next(one for one in expected["images"] if 0.5 < one["probabilities"][1] < 0.89)
    image["probabilities"] = [0.09, 0.91]  # "b", and "a" here; more probable is "b" in both
    expected["rounding"] = 0.5
    path.write_text(json.dumps(expected))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["golden/expected.json"] = sha256_of(path)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    done = run(folder / "check.py")
    assert done.returncode == 1
    assert "FAILED: " in done.stdout


def test_few_images_and_a_constant_model_give_golden_images_as_well():
    half = np.full((2, 2), 0.5, np.float32)
    assert pick_golden(answered(np.array([1, 0]), half), 0.1, 16) == [1, 0]
    assert pick_golden(answered(np.array([1, 1]), half), 0.1, 16) == [0, 1]


@pytest.mark.parametrize("script", ["predict.py", "check.py", "classifier.py", "picture.py"])
def test_scripts_are_short_and_do_not_import_kdtool(script):
    text = files("kdtool.edge.portable").joinpath(script).read_text(encoding="utf-8")
    assert len(text.splitlines()) < 120
    assert "kdtool" not in text.replace('"kdtool.', "")  # the names of metadata in the file
