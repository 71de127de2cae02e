import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from kdtool.edge.portable.classifier import decide, decision, image_shape, load, predict
from kdtool.edge.portable.picture import read_image
from kdtool.edge.predict import predict_files
from kdtool.errors import KdtoolError, ModelFileError
from kdtool.install import pip
from kdtool.results.base import to_json

ANY = ["height", "width"]


def random_images(num_images, channels, height=4, width=6):
    generator = np.random.default_rng(1)
    return generator.integers(0, 256, (num_images, height, width, channels), dtype=np.uint8)


def save(pixels, path):
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)
    return path


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", ["pixels", "resize", "tensor"])
def test_every_input_form_gives_the_probabilities_in_closed_form(make_classifier, form, channels):
    model = make_classifier(form, channels)
    session = load(model.path)
    height, width, last = image_shape(session)
    assert last == channels
    assert (height, width) == (("height", "width") if form == "resize" else (4, 6))
    images = random_images(5, channels)
    np.testing.assert_allclose(predict(session, images), model.answer(images), atol=1e-6)


@pytest.mark.parametrize("form", ["pixels", "resize", "tensor"])
def test_files_are_predicted_with_their_classes_most_probable_first(
    tmp_path, make_classifier, form
):
    classes = ["chat", "café", "犬"]
    model = make_classifier(form, channels=3, classes=classes)
    pixels = random_images(1, 3)
    report = predict_files(model.path, [save(pixels[0], tmp_path / "bild-ü.png")], top=2)
    expected = model.answer(pixels)[0]
    (prediction,) = report.predictions
    assert prediction.error is None
    assert prediction.resized_from is None
    best = np.argsort(-expected)[:2]
    assert [entry.name for entry in prediction.classes] == [classes[k] for k in best]
    given = [entry.probability for entry in prediction.classes]
    np.testing.assert_allclose(given, expected[best], atol=1e-6)


POSITIVES = [("a", 0), ("b", 1)]


@pytest.mark.parametrize(("positive", "place"), POSITIVES)
def test_the_threshold_in_the_file_decides_the_class(tmp_path, make_classifier, positive, place):
    images = random_images(30, 1)
    probabilities = make_classifier(classes="ab").answer(images)[:, place]
    low, high = np.sort(probabilities)[[19, 20]]  # not in the middle, where argmax decides
    chosen = {"rule": "youden", "positive": positive, "threshold": (low + high) / 2}
    model = make_classifier(classes="ab", decision=chosen)
    session = load(model.path)
    assert decision(session) == (place, chosen["threshold"])
    called = decide(session, predict(session, images))
    np.testing.assert_array_equal(called == place, probabilities >= high)

    paths = [save(image, tmp_path / f"{k}.png") for k, image in enumerate(images)]
    report = predict_files(model.path, paths)
    assert (report.positive, report.threshold) == (positive, chosen["threshold"])
    assert [each.decided for each in report.predictions] == ["ab"[k] for k in called]
    for each, probability in zip(report.predictions, probabilities, strict=True):
        assert each.classes[0].probability == pytest.approx(max(probability, 1 - probability))


@pytest.mark.parametrize("chosen", [None, {"rule": "argmax", "positive": "b", "threshold": 0.5}])
def test_without_a_threshold_the_most_probable_class_is_predicted(
    tmp_path, make_classifier, chosen
):
    model = make_classifier(classes="ab", decision=chosen)
    dark_to_bright = np.linspace(0, 255, 8, dtype=np.uint8)[:, None, None, None]
    images = np.broadcast_to(dark_to_bright, (8, 4, 6, 1))
    assert decision(load(model.path)) is None
    paths = [save(image, tmp_path / f"{k}.png") for k, image in enumerate(images)]
    report = predict_files(model.path, paths)
    assert (report.positive, report.threshold) == (None, None)
    best = model.answer(images).argmax(axis=1)
    assert [each.decided for each in report.predictions] == ["ab"[k] for k in best]
    assert len(set(best)) == 2


@pytest.mark.parametrize(
    ("classes", "chosen"),
    [
        ("ab", ["youden"]),
        ("ab", {"positive": "b", "threshold": 0.5}),
        ("ab", {"rule": "youden", "threshold": 0.5}),
        ("ab", {"rule": "youden", "positive": "b"}),
        ("ab", {"rule": "youden", "positive": "c", "threshold": 0.5}),
        ("ab", {"rule": "youden", "positive": "b", "threshold": "half"}),
        ("ab", {"rule": "youden", "positive": "b", "threshold": "nan"}),
        ("abc", {"rule": "youden", "positive": "b", "threshold": 0.5}),
    ],
)
def test_an_invalid_threshold_is_refused(make_classifier, classes, chosen):
    model = make_classifier(classes=classes, decision=chosen)
    message = r"model\.onnx has the metadata kdtool\.decision = .*; expected a rule, .*; export"
    with pytest.raises(ModelFileError, match=message):
        predict_files(model.path, [])


def test_an_image_of_another_size_is_resized_and_its_size_reported(tmp_path, make_classifier):
    model = make_classifier("pixels", channels=1)
    # Two flat halves: bilinear with antialiasing over a factor of 2 leaves all but the seam.
    large = np.zeros((8, 12, 1), np.uint8)
    large[:, 6:] = 200
    (prediction,) = predict_files(model.path, [save(large, tmp_path / "large.png")]).predictions
    assert prediction.resized_from == (12, 8)
    pixels, size = read_image(tmp_path / "large.png", [4, 6, 1])
    assert (pixels.shape, size) == ((4, 6, 1), (12, 8))
    np.testing.assert_array_equal(pixels[:, [0, 1, 4, 5], 0], [[0, 0, 200, 200]] * 4)
    # Without antialiasing the seam would stay sharp.
    assert 0 < pixels[0, 2, 0] < pixels[0, 3, 0] < 200


def test_an_image_of_another_shape_is_cropped_and_not_squashed(tmp_path):
    wide = np.repeat(np.array([0, 100, 200], np.uint8), 8)[None, :, None].repeat(8, axis=0)
    pixels, _ = read_image(save(wide, tmp_path / "wide.png"), [8, 8, 1])
    np.testing.assert_array_equal(pixels, np.full((8, 8, 1), 100))


def test_a_model_that_resizes_gets_the_image_unchanged(tmp_path, make_classifier):
    model = make_classifier("resize", channels=3)
    pixels = random_images(1, 3, height=9, width=7)
    (prediction,) = predict_files(model.path, [save(pixels[0], tmp_path / "a.png")]).predictions
    assert prediction.resized_from is None
    assert prediction.classes[0].probability == pytest.approx(model.answer(pixels).max(), abs=1e-6)


def palette():
    image = Image.new("P", (6, 4))
    image.putpalette([10, 20, 30] * 256)
    return image


# What a file holds -> what a model of RGB images gets, everywhere.
KINDS = {
    "16-bit": ("a.png", lambda: Image.fromarray(np.full((4, 6), 0x7512, np.uint16)), [0x75] * 3),
    "gray": ("a.png", lambda: Image.new("L", (6, 4), 7), [7, 7, 7]),
    "bilevel": ("a.png", lambda: Image.new("1", (6, 4), 1), [255, 255, 255]),
    "palette": ("a.png", palette, [10, 20, 30]),
    "gif": ("a.gif", palette, [10, 20, 30]),
    "CMYK": ("a.tif", lambda: Image.new("CMYK", (6, 4), (0, 255, 255, 0)), [255, 0, 0]),
    "transparent black": ("a.png", lambda: Image.new("RGBA", (6, 4), (0, 0, 0, 0)), [255] * 3),
    "gray, 20 % opaque": ("a.png", lambda: Image.new("LA", (6, 4), (0, 51)), [204] * 3),
}


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_all_modes_become_pixels(tmp_path, kind):
    name, make, expected = KINDS[kind]
    make().save(tmp_path / name)
    pixels, size = read_image(tmp_path / name, [*ANY, 3])
    assert size == (6, 4)
    np.testing.assert_array_equal(pixels, np.full((4, 6, 3), expected, np.uint8))


def test_transparent_entries_of_a_palette_become_white(tmp_path):
    palette().save(tmp_path / "a.png", transparency=0)
    assert (read_image(tmp_path / "a.png", [*ANY, 1])[0] == 255).all()


def test_colours_become_gray_by_their_luma(tmp_path):
    Image.new("RGB", (6, 4), (255, 0, 0)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", [*ANY, 1])[0] == round(0.299 * 255)).all()


def test_a_photo_is_turned_upright(tmp_path):
    picture = np.arange(24, dtype=np.uint8).reshape(4, 6)
    image = Image.fromarray(picture)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was held upright: turn it by 90 degrees, clockwise
    image.save(tmp_path / "a.png", exif=exif)
    pixels, size = read_image(tmp_path / "a.png", [*ANY, 1])
    assert size == (4, 6)
    np.testing.assert_array_equal(pixels[..., 0], np.rot90(picture, -1))


def cut(tmp_path):
    save(random_images(1, 3, 64, 64)[0], tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-5000])
    return tmp_path / "cut.png"


def bomb(tmp_path):
    Image.new("1", (10_000, 10_000)).save(tmp_path / "bomb.png")
    return tmp_path / "bomb.png"


def empty(tmp_path):
    (tmp_path / "empty.png").touch()
    return tmp_path / "empty.png"


def text(tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    return tmp_path / "text.jpg"


def program(tmp_path):
    """An EPS file, which Pillow would have Ghostscript run, with the name of another format."""
    Image.new("RGB", (9, 9)).save(tmp_path / "program.png", "EPS")
    return tmp_path / "program.png"


BAD_IMAGES = {
    "missing": (lambda tmp_path: tmp_path / "missing.png", "No such file or directory"),
    "empty": (empty, "it is an empty file, of 0 bytes"),
    "text": (text, "it is not an image, or in a format that Pillow does not read"),
    "cut": (cut, "it is damaged or truncated (image file is truncated"),
    "bomb": (bomb, "exceeds limit of 89478485 pixels"),
    "program": (program, "an EPS file is a program; save it as PNG"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_an_unreadable_image_is_reported_and_the_others_are_predicted(
    tmp_path, make_classifier, kind
):
    make, message = BAD_IMAGES[kind]
    good = save(random_images(1, 1)[0], tmp_path / "good.png")
    bad = make(tmp_path)
    first, second = predict_files(make_classifier().path, [bad, good]).predictions
    assert first.error.startswith(f"cannot read {bad}: ")
    assert message in first.error
    assert "\n" not in first.error
    assert first.classes == []
    assert second.error is None
    assert len(second.classes) == 3


def test_a_folder_is_classified_in_order_with_the_labels_of_its_folders(tmp_path, make_classifier):
    model = make_classifier(classes=["a", "é", "c"])
    root = tmp_path / "root"
    # Below a split; a folder of a folder; in Unicode's other form, as macOS writes it; no class.
    places = ["test/a/2.png", "a/c/10.png", "a/c/9.png", "e\N{COMBINING ACUTE ACCENT}/1.png",
              "bird/1.png", "0.png"]  # fmt: skip
    images = random_images(len(places), 1)
    for image, place in zip(images, places, strict=True):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        save(image, root / place)
    for left_out in (".DS_Store", "a/Thumbs.db", "a/notes.txt", "__MACOSX/1.png"):
        (root / left_out).parent.mkdir(exist_ok=True)
        (root / left_out).write_text("no image")
    report = predict_files(model.path, [root, root / places[0]])
    order = ["0.png", "a/c/10.png", "a/c/9.png", "bird/1.png", places[3], "test/a/2.png"]
    assert [one.path for one in report.predictions] == [
        str(root / place) for place in (*order, places[0])
    ]
    labels = [one.label for one in report.predictions]
    assert labels == [None, "a", "a", None, "é", "a", None]  # a file alone has no label
    assert report.other_folders == ["bird"]
    called = {
        place: "aéc"[k] for place, k in zip(places, model.answer(images).argmax(1), strict=True)
    }
    expected = {place: label for place, label in zip(order, labels, strict=False) if label}
    assert report.accuracy.num_images == 4
    assert report.accuracy.num_right == sum(called[one] == expected[one] for one in expected)


def test_an_answer_less_probable_than_asked_for_is_refused(tmp_path, make_classifier):
    model = make_classifier()
    images = random_images(40, 1)
    paths = [save(image, tmp_path / f"{k:02}.png") for k, image in enumerate(images)]
    best = model.answer(images).max(axis=1)
    limit = float(np.median(best))
    report = predict_files(model.path, paths, min_confidence=limit)
    answered = [one.decided is not None for one in report.predictions]
    assert answered == [bool(one) for one in best >= limit]
    assert all((one.decided is None) == (one.refused is not None) for one in report.predictions)
    assert (report.num_answered, report.num_refused) == (sum(answered), 40 - sum(answered))
    assert (report.accuracy, report.accuracy_answered) == (None, None)
    for extreme, number in ((0.0, 40), (1.0, 0)):
        assert predict_files(model.path, paths, min_confidence=extreme).num_answered == number


def test_what_cannot_be_an_image_in_a_folder_is_reported(tmp_path, make_classifier):
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    save(random_images(1, 1)[0], root / "real" / "good.png")
    (root / "link").symlink_to(root / "real")
    os.mkfifo(root / "pipe")  # reading it would never end
    (root / "gone.png").symlink_to(root / "nothing")
    (root / "\udcff.png").touch()  # a name that is no text
    report = predict_files(make_classifier().path, [root])
    reasons = {one.path.removeprefix(f"{root}/"): one.error for one in report.predictions}
    assert reasons == {
        "gone.png": f"cannot read {root}/gone.png: No such file or directory",
        "pipe": f"cannot read {root}/pipe: it is not a file",
        "real/good.png": None,
        "\\udcff.png": f"cannot read {root}/\\udcff.png: it is an empty file, of 0 bytes",
        "link": f"cannot read {root}/link: it is a link to a folder, which is not followed; give "
        "the folder itself",
    }
    assert (report.num_unreadable, report.num_answered) == (4, 1)
    assert "udcff.png" in to_json(report)
    (tmp_path / "empty").mkdir()
    with pytest.raises(KdtoolError, match="empty holds no images; expected image files, or fold"):
        predict_files(make_classifier().path, [tmp_path / "empty"])


def without_metadata(path):
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    return path


def test_a_file_without_metadata_takes_its_classes_from_labels_next_to_it(
    tmp_path, make_classifier
):
    path = without_metadata(make_classifier().path)
    image = save(random_images(1, 1)[0], tmp_path / "good.png")
    with pytest.raises(ModelFileError, match=r"has no class names.*labels\.txt, one per line"):
        predict_files(path, [image])
    (tmp_path / "labels.txt").write_text("x\ny\n犬\n", encoding="utf-8")
    (prediction,) = predict_files(path, [image]).predictions
    assert {entry.name for entry in prediction.classes} == {"x", "y", "犬"}
    (tmp_path / "labels.txt").write_text("x\n", encoding="utf-8")
    with pytest.raises(ModelFileError, match=r'its class names are \["x"\]'):
        predict_files(path, [image])
    (tmp_path / "labels.txt").write_bytes("café\n".encode("latin-1"))
    with pytest.raises(ModelFileError, match=r"labels\.txt: .*; save it as text in UTF-8"):
        predict_files(path, [image])


def test_a_float_file_without_metadata_is_refused(tmp_path, make_classifier):
    path = without_metadata(make_classifier("tensor").path)
    (tmp_path / "labels.txt").write_text("x\ny\nz\n")
    with pytest.raises(ModelFileError, match="do not say how they are scaled"):
        predict_files(path, [])


def test_models_that_are_not_image_classifiers_are_refused(make_onnx, make_classifier, tiny_onnx):
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    flat = make_onnx(relu, {"x": (TensorProto.FLOAT, ["batch", 8])}, name="flat.onnx")
    with pytest.raises(ModelFileError, match=r"has the input x: tensor\(float\).*one input"):
        predict_files(flat, [])
    with pytest.raises(ModelFileError, match="images with 4 channels; image files are read with 1"):
        predict_files(make_classifier(channels=4).path, [])
    with pytest.raises(
        ModelFileError, match="has the outputs logits, probs, and none is 'probabilities'"
    ):
        predict_files(tiny_onnx, [])
    with pytest.raises(KdtoolError, match="threads is 0"):
        predict_files(make_classifier().path, [], threads=0)


def test_without_pillow_the_message_says_what_to_install():
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "from kdtool.errors import KdtoolError\n"
        "try: import kdtool.edge.predict\n"
        "except KdtoolError as error: sys.exit(str(error))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == f"reading images needs Pillow: {pip()} install pillow"
