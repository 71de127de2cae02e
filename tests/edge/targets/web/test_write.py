"""What is written next to the page, and what is refused."""

import json
import os
import re

import numpy as np
import pytest
from web_pages import CLASSES, write_page

from kdtool.edge.kit.folder import changed_files
from kdtool.edge.targets.web.browser import Browser, find_chromium
from kdtool.errors import GateError, KdtoolError, ModelFileError, StudyError

needs_chromium = pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed")
SITE = {
    "app.js",
    "classifier.js",
    "index.html",
    "model.onnx",
    "ort-wasm-simd-threaded.wasm",
    "ort.wasm.bundle.min.mjs",
    "page.json",
    "picture.js",
    "png.js",
    "resize.js",
    "style.css",
    "golden/expected.json",
    *(f"golden/{index:02}.png" for index in range(16)),
}


@pytest.fixture
def no_chromium(monkeypatch):
    monkeypatch.setenv("PATH", "")


def test_without_a_browser_to_check_it_the_page_is_refused(tmp_path, no_chromium):
    with pytest.raises(GateError, match="no Chromium is installed here"):
        write_page(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.skipif(os.name == "nt", reason="a program of the shell")
def test_where_the_browser_ends_by_itself_the_page_is_refused(tmp_path, monkeypatch):
    """As where the page is refused for its answers: other targets are written all the same."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "chromium").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "bin" / "chromium").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    with pytest.raises(GateError, match="chromium ended by itself; see whether "):
        write_page(tmp_path)


@needs_chromium
def test_the_folder_holds_both_forms_and_is_a_kit(tmp_path):
    written = write_page(tmp_path)
    names = {path.relative_to(written.site).as_posix() for path in written.site.rglob("*.*")}
    assert names == SITE
    assert {path.name for path in written.page.parent.iterdir()} == {
        "README.md",
        "classifier.html",
        "manifest.json",
        "site",
    }
    assert changed_files(written.page.parent) == []
    facts = json.loads((written.site / "page.json").read_bytes())
    assert facts["classes"] == list(CLASSES)
    assert (facts["height"], facts["width"], facts["channels"]) == (28, 20, 3)
    text = (written.page.parent / "README.md").read_text(encoding="utf-8")
    assert not re.search(r"\$\w|\{\w", text)


@needs_chromium
def test_a_page_is_written_again_in_the_same_bytes_unless_it_was_edited(tmp_path):
    written = write_page(tmp_path)
    before = written.page.read_bytes()
    assert write_page(tmp_path).page.read_bytes() == before
    (written.site / "style.css").write_text("body {}")
    with pytest.raises(StudyError, match=r"is a kit with changes .*site/style\.css was changed"):
        write_page(tmp_path)


@needs_chromium
def test_nothing_in_the_page_is_an_address(tmp_path):
    written = write_page(tmp_path)
    for path in [written.page, *written.site.glob("*.[hjc]*")]:
        assert not re.search(rb"(?:https?:)?//[\w.]+\.\w", path.read_bytes()), path


REFUSED = {
    "int8": ({"precision": "int8"}, "a browser gets the fp32 file, not int8: in WebAssembly int8"),
    "fp16": (
        {"precision": "fp16"},
        "a browser gets the fp32 file, not fp16: WebAssembly has no",
    ),
    "a changed file": ({"sha256": "0" * 64}, "was changed since it was checked"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_shipped_is_refused(tmp_path, name):
    changes, message = REFUSED[name]
    with pytest.raises(ModelFileError, match=message):
        write_page(tmp_path, **changes)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "notes.txt").write_text("mine")
    with pytest.raises(StudyError, match="exists and is not a kit; move it away"):
        write_page(tmp_path)


@needs_chromium
def test_chromium_compares_every_test_image(tmp_path):
    written = write_page(tmp_path)
    assert (written.check.num_images, written.check.ties) == (40, [])
    assert written.check.max_difference < 1e-6
    assert written.check.num_golden == 16
    text = (written.page.parent / "README.md").read_text(encoding="utf-8")
    assert f"Opened in {written.check.browser} where it was made: 40 of 40 test images" in text


@needs_chromium
def test_other_answers_stop_the_page(tmp_path):
    written = write_page(tmp_path)
    answers = written.model_answers.astype(np.float32)
    golden = json.loads((written.site / "golden" / "expected.json").read_bytes())["images"]
    shown = {tuple(entry["probabilities"]) for entry in golden}
    rows = [tuple(round(float(one), 7) for one in row) for row in answers]
    unseen = next(k for k, row in enumerate(rows) if row not in shown)
    answers[unseen] += 0.0015  # not enough for a golden image to be chosen in another way
    with pytest.raises(GateError, match="otherwise than ONNX Runtime: 40 of 40 test images"):
        write_page(tmp_path, probabilities=answers)
    with pytest.raises(GateError, match=r"the page fails its own check: 0 of 16 golden images"):
        write_page(tmp_path, probabilities=np.roll(answers, 1, axis=1))
    assert changed_files(written.page.parent) == []  # the old page is as it was


@needs_chromium
def test_a_browser_reports_exceptions_and_its_end(tmp_path):
    with Browser(find_chromium()) as browser:
        browser.open("about:blank")
        assert browser.evaluate("Promise.resolve([1, 'ü'])") == [1, "ü"]
        with pytest.raises(KdtoolError, match="the page failed in Chromium: TypeError: no"):
            browser.evaluate("(() => { throw new TypeError('no') })()")
        with pytest.raises(KdtoolError, match=r"cannot open file:.*absent: net::ERR_FILE_NOT"):
            browser.open((tmp_path / "absent").as_uri())
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    with Browser(program) as browser, pytest.raises(KdtoolError, match="broken ended by itself"):
        browser.version()
