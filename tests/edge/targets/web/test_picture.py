"""Image files become the same pixels in the page as in `kdtool predict`."""

import base64
import io
import struct
import zlib
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image, ImageCms
from web_pages import serving

from kdtool.edge.portable.picture import read_image
from kdtool.edge.targets.web.write import columns_first

READ = """async ([text, shape]) => {
    const { readImage } = await import("/picture.js");
    const file = new Blob([Uint8Array.from(atob(text), letter => letter.charCodeAt(0))]);
    const { image, size, note } = await readImage(file, shape);
    let binary = "";
    for (const byte of image.pixels) binary += String.fromCharCode(byte);
    return [image.width, image.height, btoa(binary), size, note];
}"""
ANY_SIZE = (None, None)
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))


@pytest.fixture(scope="module")
def modules(browser):
    """A page with nothing in it, on a server of the page's modules."""
    with serving(files("kdtool.edge.targets.web") / "page") as address:
        page = browser.new_page()
        page.goto(f"{address}/README.md")
        yield page
        page.close()


def read(page, data, channels, size=ANY_SIZE):
    """Pixels `(H, W, C)` of a file in the page, the size of its image, and the note."""
    shape = {"height": size[0], "width": size[1], "channels": channels}
    shape["columns_first"] = columns_first()
    width, height, text, found, note = page.evaluate(READ, [base64.b64encode(data).decode(), shape])
    pixels = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, channels)
    return pixels, tuple(found), note


def check_equal(page, tmp_path, data, channels, size=ANY_SIZE):
    path = tmp_path / "image"
    path.write_bytes(data)
    wanted, wanted_size = read_image(path, [*size, channels])
    pixels, found_size, _ = read(page, data, channels, size)
    assert found_size == wanted_size
    np.testing.assert_array_equal(pixels, wanted)


def png(samples, bits, colour, interlaced=False, **chunks):
    """A PNG file of samples `(H, W, C)`; its rows have all five filters in turn."""
    height, width, channels = samples.shape

    def packed(part):
        if bits == 16:
            return part.astype(">u2").reshape(len(part), -1).view(np.uint8)
        flat = part.reshape(len(part), -1).astype(np.uint8)
        if bits == 8:
            return flat
        each = np.unpackbits(flat[:, :, None], axis=2)[:, :, 8 - bits :]
        return np.packbits(each.reshape(len(part), -1), axis=1)

    step = max(1, channels * bits // 8)
    passes = [*PASSES, (0, 1, 1, 2)] if interlaced else [(0, 0, 1, 1)]
    data = b""
    for left, top, step_x, step_y in passes:
        part = samples[top::step_y, left::step_x]
        if part.size:
            rows = packed(part)
            above = np.zeros_like(rows[0])
            for index, row in enumerate(rows):
                data += filtered(index % 5, row, above, step)
                above = row
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    parts = [(b"IHDR", header), *((name.encode(), value) for name, value in chunks.items())]
    parts += [(b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(value)) + name + value + struct.pack(">I", zlib.crc32(name + value))
        for name, value in parts
    )


def filtered(kind, row, above, step):
    """Source: PNG specification, third edition, section 9."""
    left = np.concatenate([np.zeros(step, np.uint8), row])[: len(row)].astype(int)
    corner = np.concatenate([np.zeros(step, np.uint8), above])[: len(row)].astype(int)
    up = above.astype(int)
    guess = left + up - corner
    options = np.stack([left, up, corner])
    nearest = np.abs(guess - options).argmin(axis=0)  # the first of equal ones
    paeth = np.take_along_axis(options, nearest[None], axis=0)[0]
    predicted = [np.zeros_like(up), left, up, (left + up) // 2, paeth][kind]
    return bytes([kind]) + ((row - predicted) % 256).astype(np.uint8).tobytes()


CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
KINDS = [
    *((bits, 0) for bits in (1, 2, 4, 8, 16)),
    *((bits, 3) for bits in (1, 2, 4, 8)),
    *((bits, colour) for colour in (2, 4, 6) for bits in (8, 16)),
]


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize(("bits", "colour"), KINDS)
def test_png_files_of_every_kind(modules, tmp_path, bits, colour, transparent, interlaced):
    generator = np.random.default_rng(bits * 10 + colour)
    samples = generator.integers(0, 2**bits, (13, 11, CHANNELS[colour]))
    chunks = {}
    if colour == 3:
        chunks["PLTE"] = generator.integers(0, 256, 3 * 2**bits, dtype=np.uint8).tobytes()
        if transparent:
            chunks["tRNS"] = generator.integers(0, 256, 2**bits, dtype=np.uint8).tobytes()
    elif transparent and colour in (0, 2):
        chunks["tRNS"] = samples[3, 3].astype(">u2").tobytes()
    for channels in (1, 3):
        check_equal(modules, tmp_path, png(samples, bits, colour, interlaced, **chunks), channels)


def photo(width, height, channels=3):
    """A smooth picture with some noise, so that JPEG has something to do."""
    generator = np.random.default_rng(width)
    small = generator.integers(0, 256, (9, 12, channels), dtype=np.uint8)
    image = Image.fromarray(small.squeeze() if channels == 1 else small)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    noisy = pixels + generator.integers(-8, 9, pixels.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


FORMATS = {
    "JPEG": ("JPEG", {"quality": 90}),
    "JPEG 4:4:4": ("JPEG", {"quality": 90, "subsampling": 0}),
    "progressive JPEG": ("JPEG", {"quality": 80, "progressive": True}),
    "BMP": ("BMP", {}),
    "GIF": ("GIF", {}),
    "WebP": ("WEBP", {"quality": 80}),
    "lossless WebP": ("WEBP", {"lossless": True}),
}


@pytest.mark.parametrize("source", [1, 3])
@pytest.mark.parametrize("name", FORMATS)
def test_photos_of_other_formats(modules, tmp_path, name, source):
    kind, options = FORMATS[name]
    data = saved(photo(150, 101, source), kind, **options)
    for channels in (1, 3):
        check_equal(modules, tmp_path, data, channels)
        check_equal(modules, tmp_path, data, channels, (32, 24))


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_photos_are_rotated_upright(modules, tmp_path, kind, turned):
    exif = Image.Exif()
    exif[0x112] = turned
    data = saved(photo(40, 24), kind, exif=exif.tobytes())
    check_equal(modules, tmp_path, data, 3)
    check_equal(modules, tmp_path, data, 1, (16, 12))


BY_DEFAULT = """async text => {
    const file = new Blob([Uint8Array.from(atob(text), letter => letter.charCodeAt(0))]);
    const { pixelsOf } = await import("/picture.js");
    const bitmap = await createImageBitmap(file);
    return [...pixelsOf(bitmap, bitmap.width, bitmap.height).rgba.subarray(0, 400)];
}"""


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_colour_profiles_are_ignored(modules, tmp_path, kind):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")
    data = saved(photo(60, 40), kind, icc_profile=swapped)
    check_equal(modules, tmp_path, data, 3)
    shown = modules.evaluate(BY_DEFAULT, base64.b64encode(data).decode())
    ignored = modules.evaluate(BY_DEFAULT, base64.b64encode(saved(photo(60, 40), kind)).decode())
    assert shown != ignored  # a page that does not ask for the pixels as they are gets others


def test_a_large_photo(modules, tmp_path):
    data = saved(photo(2400, 1800), "JPEG", quality=85)
    check_equal(modules, tmp_path, data, 3, (96, 96))
    check_equal(modules, tmp_path, data, 1, (28, 28))


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_half_transparent_pixels_are_put_on_white(modules, tmp_path, kind):
    pixels = np.random.default_rng(3).integers(0, 256, (40, 30, 4), dtype=np.uint8)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    for mode in ("RGBA", "LA"):
        data = saved(Image.fromarray(pixels).convert(mode), kind, **options)
        for channels in (1, 3):
            check_equal(modules, tmp_path, data, channels)


def test_the_page_says_that_cmyk_may_differ(modules):
    data = saved(photo(30, 20).convert("CMYK"), "JPEG")
    _, _, note = read(modules, data, 3)
    assert note.startswith("This JPEG has CMYK colours, which browsers convert in their own way")
    assert read(modules, saved(photo(30, 20), "JPEG"), 3)[2] == ""


TRANSPARENT = png(np.full((9, 9, 4), 99), 8, 6)
BROKEN = {
    "empty": (b"", "it is an empty file, of 0 bytes"),
    "text": (b"not an image", "it is damaged, not an image, or in a format that this browser does"),
    "a truncated PNG": (TRANSPARENT[:60], "it is damaged or truncated"),
    "a PNG of a damaged stream": (
        TRANSPARENT.replace(b"IDAT\x78", b"IDAT\x00"),
        "it is damaged or truncated",
    ),
    "a PNG without pixels": (TRANSPARENT[:33], "it is damaged or truncated"),
    "a PNG without a palette": (png(np.ones((2, 2, 1)), 8, 3, tRNS=b"\0"), "it has no palette"),
    "a PNG of 5 bits": (png(np.ones((2, 2, 4)), 5, 6), "its header is damaged"),
    "a huge PNG": (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 20000, 20000, 8, 6, 0, 0, 0),
        "it has 400 million pixels, and the limit is 89 million",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_gets_a_message(modules, name):
    data, message = BROKEN[name]
    with pytest.raises(Exception, match=message):
        read(modules, data, 3)
