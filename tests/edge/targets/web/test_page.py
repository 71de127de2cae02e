"""The page in Chromium: from the disk and from a server, by mouse, keyboard and screen reader."""

import base64
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from web_pages import CLASSES, SIZE, serving, write_page

from kdtool.edge.predict import predict_files

SMALLEST, PHONE, DESKTOP = 320, 390, 1280  # pixels
ISOLATED = (
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
)
OUTCOME = "kdtool.ready.then(({results, classifier, ...rest}) => rest)"


@pytest.fixture(scope="module", params=["stand-in", "onnxruntime-web"])
def written(request, tmp_path_factory):
    """The page of a classifier of RGB images, written and checked by `write_web`."""
    return write_page(tmp_path_factory.mktemp("page"), request.param)


@pytest.fixture(scope="module")
def shared(browser, written):
    page = browser.new_page()
    page.goto(written.page.as_uri())
    page.locator("body[data-state=passed]").wait_for()
    yield page
    page.close()


@pytest.fixture
def page(shared):
    """The page from the disk, light and 1280 pixels wide."""
    show(shared, DESKTOP)
    return shared


def show(page, width, scheme="light"):
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)


def requests_of(page):
    """The addresses that a page asks for, from here on."""
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    return asked


def test_the_check_passes_from_the_disk_and_no_request_leaves(browser, written):
    page = browser.new_page()
    asked, faults = requests_of(page), []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(written.page.as_uri())
    outcome = page.evaluate(OUTCOME)
    assert outcome["numSame"] == outcome["numPixels"] == outcome["numImages"] == 16
    assert outcome["largest"] < 1e-5
    said = page.locator("#check").inner_text()
    assert "Check passed: 16 of 16 golden images have the expected answers." in said
    assert "Largest difference of a probability: " in said
    drop(page, picture("PNG"), "a.png")
    page.locator("#bars li").first.wait_for()
    assert asked == [written.page.as_uri()]
    assert faults == []
    page.close()


@pytest.mark.parametrize("headers", [(), ISOLATED])
def test_the_check_passes_from_a_server_and_no_request_leaves(browser, written, headers):
    with serving(written.site, headers) as address:
        page = browser.new_page()
        asked = requests_of(page)
        page.goto(f"{address}/index.html")
        assert page.evaluate(OUTCOME)["passed"]
        drop(page, picture("PNG"), "a.png")
        page.locator("#bars li").first.wait_for()
        assert all(url.startswith((f"{address}/", "blob:")) for url in asked)
        expected = min(4, page.evaluate("navigator.hardwareConcurrency")) if headers else 1
        unit = "thread" if expected == 1 else "threads"
        assert page.locator("#time").inner_text().endswith(f" ms, {expected} {unit}")
        page.close()


def test_a_request_of_the_page_is_blocked(page):
    """The policy stops it, also in a script that means ill."""
    asked = requests_of(page)
    failed = page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'blocked')")
    assert failed == "blocked"
    assert asked == []


def test_a_folder_opened_from_the_disk_says_that_it_needs_a_server(browser, written):
    page = browser.new_page()
    page.goto((written.site / "index.html").as_uri())
    late = page.get_by_text("A page in a folder needs a server")
    assert late.is_hidden()
    page.evaluate("document.getAnimations().forEach(one => one.finish())")  # after 3 seconds
    assert late.is_visible()
    assert page.locator("body").get_attribute("data-state") == "loading"
    page.close()


def picture(kind, width=150, height=200, mode="RGB", **options):
    generator = np.random.default_rng(5)
    image = Image.fromarray(generator.integers(0, 256, (9, 12, 4), dtype=np.uint8))
    buffer = io.BytesIO()
    image.resize((width, height)).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    return exif.tobytes()


DROP = """([text, name]) => {
    const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name));
    document.getElementById("image").dispatchEvent(
        new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""


def drop(page, data, name):
    page.evaluate(DROP, [base64.b64encode(data).decode(), name])


def classified(page, data):
    """Class and probabilities, by the function for programs."""
    text = base64.b64encode(data).decode()
    return page.evaluate(
        """text => kdtool
            .classify(new Blob([Uint8Array.from(atob(text), letter => letter.charCodeAt(0))]))
            .then(({classes, probabilities}) => [classes[0].name, probabilities])""",
        text,
    )


PICTURES = {
    "a.png": picture("PNG"),
    "a.jpg": picture("JPEG"),
    "turned.jpg": picture("JPEG", exif=turned(6)),
    "mirrored.jpg": picture("JPEG", exif=turned(7)),
    "transparent.png": picture("PNG", mode="RGBA"),
    "gray.png": picture("PNG", mode="L"),
    "gray and transparent.png": picture("PNG", mode="LA"),
    "palette.gif": picture("GIF", mode="P"),
    "large.jpg": picture("JPEG", 3000, 2250),
    "tall.png": picture("PNG", 90, 1500),
    "of the size.png": picture("PNG", SIZE[1], SIZE[0]),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_dropped_picture_gets_the_answer_of_predict(page, written, tmp_path, name):
    (tmp_path / name).write_bytes(PICTURES[name])
    (expected,) = predict_files(written.model, [tmp_path / name], top=None).predictions
    drop(page, PICTURES[name], name)
    page.get_by_text(f"{name}: what the model sees").wait_for()
    shown = [text.split("\n") for text in page.locator("#bars li").all_inner_texts()]
    wanted = [[one.name, f"{100 * one.probability:.1f} %"] for one in expected.classes[:5]]
    assert shown == wanted
    assert page.locator("#said").inner_text().split()[0] == expected.decided.split()[0]
    decided, probabilities = classified(page, PICTURES[name])
    assert decided == expected.decided
    for one in expected.classes:
        assert abs(probabilities[CLASSES.index(one.name)] - one.probability) < 1e-4
    assert page.locator("#problem").inner_text() == ""


def test_a_broken_file_gets_a_message_and_the_next_one_is_read(page):
    drop(page, b"no image", "broken.png")
    problem = page.get_by_role("alert")
    problem.get_by_text("Cannot read broken.png: it is damaged, not an image").wait_for()
    drop(page, picture("PNG"), "fine.png")
    page.get_by_text("fine.png: what the model sees, 20 x 28, resized and cropped from").wait_for()
    assert problem.inner_text() == ""


def test_a_picture_is_pasted(page):
    paste = DROP.replace("dataTransfer,", "clipboardData: dataTransfer,")
    paste = paste.replace("DragEvent", "ClipboardEvent").replace('"drop"', '"paste"')
    page.evaluate(paste, [base64.b64encode(picture("PNG")).decode(), "pasted.png"])
    page.get_by_text("pasted.png: what the model sees").wait_for()


def test_a_clipboard_that_is_not_allowed_gets_a_message(page):
    page.get_by_role("button", name="Paste").click()
    page.get_by_role("alert").get_by_text("press Ctrl+V").wait_for()


def test_the_camera_films_and_its_picture_is_classified(page):
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take the picture").wait_for()
    page.wait_for_timeout(300)  # until the camera delivers
    page.keyboard.press("Enter")  # the button has the focus
    page.get_by_text("Camera: what the model sees").wait_for()
    assert page.locator("#video").is_hidden()
    assert page.evaluate("document.activeElement.id") == "camera"


def test_the_camera_is_closed_again(page):
    button = page.locator("#camera")
    button.click()
    page.get_by_role("button", name="Close the camera").click()
    assert button.inner_text() == "Use the camera"
    assert page.evaluate("document.getElementById('video').srcObject") is None
    assert page.get_by_role("button", name="Choose an image").is_visible()


def test_a_page_without_a_camera_says_so(page):
    page.evaluate(
        "Object.defineProperty(navigator, 'mediaDevices', {value: undefined, configurable: true})"
    )
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("alert").get_by_text(
        "This page has no camera: browsers allow it only"
    ).wait_for()
    page.evaluate("delete navigator.mediaDevices")


REACHABLE = """[...document.querySelectorAll("button, summary")]
    .filter(one => one.checkVisibility())
    .map(one => one.getAttribute("aria-label") || one.textContent)"""
FOCUSED = """() => {
    const one = document.activeElement, style = getComputedStyle(one);
    return [one == document.body ? null : one.getAttribute("aria-label") || one.textContent,
            style.outlineStyle == "solid" && parseFloat(style.outlineWidth)];
}"""


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page):
    page.locator("h1").evaluate("one => { one.tabIndex = -1; one.focus(); }")
    reached = []
    for expected in page.evaluate(REACHABLE):
        page.keyboard.press("Tab")
        name, ring = page.evaluate(FOCUSED)
        assert name == expected
        assert ring >= 2, name
        reached.append(name)
    assert {"Choose an image", "Paste", "Use the camera", "About this file"} <= set(reached)
    assert sum(name.startswith("Golden image ") for name in reached) == 16


def test_the_keyboard_alone_gets_an_answer(page, tmp_path):
    page.get_by_role("button", name="Golden image 3:").focus()
    page.keyboard.press("Enter")
    page.get_by_text("Golden image 3, of class ").first.wait_for()
    said = page.locator("#said[role=status]").inner_text()
    assert said.endswith(" %")
    path = tmp_path / "chosen.png"
    path.write_bytes(picture("PNG"))
    page.on("filechooser", lambda chooser: None)  # it is caught from here on
    page.get_by_role("button", name="Choose an image").focus()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(path)
    page.get_by_text("chosen.png: what the model sees").wait_for()


CUT = """width => [...document.querySelectorAll("body *")]
    .filter(one => one.getBoundingClientRect().right > width + 1)
    .map(one => `${one.tagName} ${one.className} ${one.textContent.slice(0, 40)}`)"""


def test_axe_finds_no_fault_and_nothing_is_wider_than_the_page(page):
    from chromium import AXE, AXE_TAGS, violations

    drop(page, picture("PNG"), "a.png")
    page.get_by_text("a.png: what the model sees").wait_for()
    page.locator("details").evaluate("one => one.open = true")
    page.evaluate(AXE)
    for width in (PHONE, DESKTOP):
        for scheme in ("light", "dark"):
            show(page, width, scheme)
            assert violations(page, AXE_TAGS) == []
    for width in (SMALLEST, PHONE, DESKTOP):
        show(page, width)
        assert page.evaluate(CUT, width) == [], width
    page.locator("details").evaluate("one => one.open = false")


CHANGES = {
    "another answer": (lambda one: one["probabilities"].reverse(), "15 of 16 golden images"),
    "other pixels": (
        lambda one: one.update(adler32=1),
        "This browser changes the pixels of images, perhaps to prevent fingerprinting: only 15 of",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_failed_check_is_red_and_says_so(browser, written, tmp_path, name):
    from chromium import AXE, violations

    site = shutil.copytree(written.site, tmp_path / "site")
    change, message = CHANGES[name]
    expected = json.loads((site / "golden" / "expected.json").read_bytes())
    change(expected["images"][0])
    (site / "golden" / "expected.json").write_text(json.dumps(expected), encoding="utf-8")
    with serving(site) as address:
        page = browser.new_page()
        page.goto(f"{address}/index.html")
        page.locator("body[data-state=failed]").wait_for()
        said = page.get_by_role("status").first.inner_text()
        assert "Check FAILED: " in said
        assert "Do not rely on this page." in said
        assert message in said
        page.evaluate(AXE)
        for scheme in ("light", "dark"):
            show(page, DESKTOP, scheme)
            assert violations(page, {"type": "rule", "values": ["color-contrast"]}) == []
        page.close()


def test_a_server_without_a_file_gets_a_message(browser, written, tmp_path):
    site = shutil.copytree(written.site, tmp_path / "site")
    (site / "model.onnx").unlink()
    with serving(site) as address:
        page = browser.new_page()
        page.goto(f"{address}/index.html")
        page.get_by_text("model.onnx is missing on the server (status 404)").wait_for()
        page.close()


def test_a_threshold_decides(browser, tmp_path):
    first = write_page(tmp_path, classes=("a", "b"), channels=1)
    threshold = float(np.median(first.model_answers[:12, 1]).round(4))
    decision = {"rule": "cost:5", "positive": "b", "threshold": threshold}
    written = write_page(tmp_path, classes=("a", "b"), decision=decision, channels=1)
    page = browser.new_page()
    page.goto(written.page.as_uri())
    page.locator("body[data-state=passed]").wait_for()
    paths = []
    for index, image in enumerate(written.images[:12]):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(image.squeeze(axis=2)).save(paths[-1])
    answers = predict_files(written.model, paths).predictions
    assert any(one.decided != one.classes[0].name for one in answers)
    for path, answer in zip(paths, answers, strict=True):
        drop(page, path.read_bytes(), path.name)
        page.get_by_text(f"{path.name}: what the model sees").wait_for()
        assert page.locator("#said strong").inner_text() == answer.decided
        assert f"(threshold {100 * threshold:.1f} %)" in page.locator("#bars").inner_text()
    page.close()


@pytest.mark.parametrize(("form", "channels"), [("resize", 1), ("tensor", 3)])
def test_files_with_other_inputs_answer_as_predict_does(browser, tmp_path, form, channels):
    written = write_page(tmp_path, "onnxruntime-web", form, channels)
    assert (written.check.num_images, written.check.ties) == (len(written.images), [])
    path = tmp_path / "a.png"
    path.write_bytes(picture("PNG"))
    (expected,) = predict_files(written.model, [path], top=None).predictions
    page = browser.new_page()
    page.goto(written.page.as_uri())
    assert page.evaluate(OUTCOME)["passed"]
    decided, probabilities = classified(page, picture("PNG"))
    assert decided == expected.decided
    for one in expected.classes:
        assert abs(probabilities[CLASSES.index(one.name)] - one.probability) < 1e-4
    page.close()
