"""`kdtool explain MODEL.onnx IMAGE...`, end to end on a classifier in closed form."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from kdtool.cli.app import app
from kdtool.errors import KdtoolError


def run(*arguments):
    return CliRunner().invoke(app, ["explain", *map(str, arguments)])


@pytest.fixture
def picture(tmp_path):
    def save(name="one.png", size=(6, 4)):
        pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0]), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
        return tmp_path / name

    return save


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.names, self.sources = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.sources += [value for key, value in attrs if key in ("src", "href")]


@pytest.mark.parametrize("form", ["pixels", "tensor"])
@pytest.mark.parametrize("method", ["occlusion", "rise"])
def test_each_picture_gets_a_map_and_a_place_on_the_page(
    tmp_path, make_classifier, picture, form, method
):
    model = make_classifier(form)
    files = [picture("a.png"), picture("b.png", (20, 16))]
    out = tmp_path / "out"
    done = run(model.path, *files, "--method", method, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["method"] == method
    assert [one["path"] for one in report["images"]] == [str(file) for file in files]
    for one in report["images"]:
        assert Image.open(out / one["heatmap"]).size == (6, 4)
        assert one["predicted"] == one["explained"]
        assert 0 <= one["deletion"] <= 1
        assert one["insertion"] > one["deletion"]  # the model is linear: its map is faithful
        assert not one["is_constant"]
    tags = Tags((out / "index.html").read_text())
    assert len(tags.sources) == 4
    assert all(source.startswith("data:image/png") for source in tags.sources)


def test_probabilities_are_those_of_predict_and_another_class_can_be_explained(
    tmp_path, make_classifier, picture
):
    model = make_classifier(classes=("a", "b", "<i>c"))
    file = picture()
    expected = model.answer(np.asarray(Image.open(file))[None, ..., None])[0]
    called = int(expected.argmax())
    other = next(name for name in ("a", "<i>c") if name != ("a", "b", "<i>c")[called])
    done = run(model.path, file, "--class", other, "--out", tmp_path / "out", "--json")
    (one,) = json.loads(done.stdout)["images"]
    assert one["explained"] == other
    assert one["explained_probability"] == pytest.approx(
        expected[("a", "b", "<i>c").index(other)], abs=1e-5
    )
    assert one["probability"] == pytest.approx(expected.max(), abs=1e-5)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<i>" not in page
    shown = run(model.path, file, "--class", other, "--out", tmp_path / "more")
    assert f"explained: {other}" in " ".join(shown.stdout.split())


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(tmp_path, make_classifier, picture):
    model, bad = make_classifier(), tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    done = run(model.path, bad, picture(), "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "cannot read" in done.stderr
    assert len(list((tmp_path / "out").glob("*.png"))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["MODEL"], "give the images to explain: kdtool explain"),
        (["MODEL", "one.png", "--images", "3"], "is explained as an ONNX file; remove --images"),
        (["MODEL", "one.png", "--device", "cpu"], "is explained as an ONNX file; remove --device"),
        (["MODEL", "one.png", "--masks", "50"], "--masks is of --method rise"),
        (["MODEL", "one.png", "--method", "rice"], "did you mean rise"),
        (["MODEL", "one.png", "--class", "aa"], "the model has no class 'aa'"),
        (["MODEL", "missing.png"], "cannot read missing.png"),
        (["MODEL", "empty"], "empty holds no images"),
        (["MODEL", "one.png", "--out", "empty"], "empty exists; choose another folder with --out"),
        (["one.png", "MODEL"], "the model comes first"),
        (["missing.onnx", "one.png"], "missing.onnx"),
        (["nowhere"], "nowhere"),
        (["nowhere", "--masks", "20"], "is explained as a study; remove --masks"),
        (["nowhere", "--method", "rise"], "expected gradient, smoothgrad, integrated-gradients"),
    ],
)
def test_what_cannot_be_explained_gets_one_message(
    tmp_path, monkeypatch, make_classifier, picture, arguments, message
):
    monkeypatch.chdir(tmp_path)
    model = make_classifier()
    picture()
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = run(*[model.path if one == "MODEL" else one for one in arguments])
    assert done.exit_code != 0
    said = done.stderr if done.stderr else str(done.exception)
    assert isinstance(done.exception, (SystemExit, KdtoolError))
    assert message in " ".join(said.split())
    assert sorted(tmp_path.rglob("*")) == before
