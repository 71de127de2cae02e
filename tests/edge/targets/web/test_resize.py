"""The resize in JavaScript equals Pillow's to the last bit."""

import base64
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image
from web_pages import serving

from kdtool.edge.portable.picture import fit
from kdtool.edge.targets.web.write import columns_first

NUM_SIZES = 150
COLUMNS_FIRST = columns_first()
SIZES = [  # width and height of the image, width and height of the model
    ((1, 1), (28, 28)),
    ((1, 300), (5, 7)),
    ((28, 28), (28, 28)),
    ((29, 28), (28, 28)),
    ((28, 30), (28, 28)),
    ((56, 28), (28, 28)),
    ((800, 603), (224, 224)),
    ((403, 700), (96, 96)),
    ((320, 240), (1, 1)),
    ((3, 2), (224, 160)),
    ((333, 1000), (300, 299)),
]
FITTED = """async ([cases, columnsFirst]) => {
    const { fit } = await import("/resize.js");
    return cases.map(([text, width, height, channels, newWidth, newHeight]) => {
        const pixels = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
        const result = fit({ width, height, channels, pixels }, newWidth, newHeight, columnsFirst);
        let binary = "";
        for (const byte of result.pixels) binary += String.fromCharCode(byte);
        return [result.width, result.height, btoa(binary)];
    });
}"""


@pytest.fixture(scope="module")
def modules(browser):
    """A page with nothing in it, on a server of the page's modules."""
    with serving(files("kdtool.edge.targets.web") / "page") as address:
        page = browser.new_page()
        page.goto(f"{address}/README.md")
        yield page
        page.close()


def random_sizes():
    generator = np.random.default_rng(7)
    for _ in range(NUM_SIZES):
        yield (
            tuple(generator.integers(1, 130, 2).tolist()),
            tuple(generator.integers(1, 90, 2).tolist()),
        )


@pytest.mark.parametrize("channels", [1, 3])
def test_fit_equals_pillow_on_any_size(modules, channels):
    generator = np.random.default_rng(channels)
    cases, expected = [], []
    for (wide, high), (width, height) in [*SIZES, *random_sizes()]:
        # Noise has all values; half of the images have only the extreme ones, which overflow first.
        pixels = generator.integers(0, 256, (high, wide, channels), dtype=np.uint8)
        if generator.random() < 0.5:
            pixels = (pixels > 127).astype(np.uint8) * 255
        image = Image.fromarray(pixels.squeeze(axis=2) if channels == 1 else pixels)
        expected.append(np.asarray(fit(image, width, height)).tobytes())
        text = base64.b64encode(pixels.tobytes()).decode()
        cases.append([text, wide, high, channels, width, height])
    found = modules.evaluate(FITTED, [cases, COLUMNS_FIRST])
    for (width, height, text), case, wanted in zip(found, cases, expected, strict=True):
        assert [width, height] == case[4:]
        assert base64.b64decode(text) == wanted, case[1:]


def test_rows_come_first_where_pillow_is_older_than_13(modules):
    wide, high, width, height = 90, 400, 60, 50
    pixels = np.random.default_rng(1).integers(0, 256, (high, wide), dtype=np.uint8)
    bilinear = Image.Resampling.BILINEAR
    rows = Image.fromarray(pixels).resize((width, high), bilinear)
    scaled = width * high // wide
    top = (scaled - height) // 2
    box = (0, top * high / scaled, width, (top + height) * high / scaled)
    wanted = np.asarray(rows.resize((width, height), bilinear, box)).tobytes()
    case = [base64.b64encode(pixels.tobytes()).decode(), wide, high, 1, width, height]
    ((*_, text),) = modules.evaluate(FITTED, [[case], False])
    assert base64.b64decode(text) == wanted
    ((*_, text),) = modules.evaluate(FITTED, [[case], True])
    assert base64.b64decode(text) != wanted
