"""A small file that claims a huge picture is refused by its header, before its pixels."""

import io
import struct
import tracemalloc
import zlib

import pytest
from PIL import Image

from kdtool.edge.portable.picture import ALWAYS_READ, open_image, read_image

WIDE, HIGH = 9000, 8000


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, content=b""):
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(content)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg():
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "JPEG")
    content = bytearray(stream.getvalue())
    place = content.find(b"\xff\xc0") + 5  # of height and width in the start of a frame
    content[place : place + 4] = struct.pack(">HH", HIGH, WIDE)
    return bytes(content)


CLAIMS = {"a.png": png(WIDE, HIGH), "a.jpg": jpeg(), "a.ppm": b"P6 9000 8000 255\n" + bytes(50)}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_small_file_that_claims_a_huge_picture_takes_no_memory(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(CLAIMS[name])
    tracemalloc.start()
    message = (
        rf"claims {WIDE} x {HIGH} pixels \(width x height\) in a file of {len(CLAIMS[name])} b"
    )
    with pytest.raises(ValueError, match=message):
        read_image(path, [8, 8, 3])
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_picture_of_one_colour_is_read_whatever_it_packs_to(tmp_path):
    width, height = 4096, ALWAYS_READ // 4096
    path = tmp_path / "a.png"
    path.write_bytes(png(width, height, bytes((width + 1) * height)))
    assert path.stat().st_size < width * height / 900
    assert open_image(path, 1).size == (width, height)
