"""How messages describe files and the errors of libraries; the recipe fragments of docs/data.md."""

import io
import re
import tomllib
import urllib.error
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError
from pydantic import TypeAdapter

from kdtool.errors import reason
from kdtool.recipe.data import TABLES, DataTable
from kdtool.train.data.source import beginning

GUIDE = Path(__file__).parents[3] / "docs" / "data.md"
BEGINNINGS = [
    (b"", "is empty"),
    (b"# kdtool\n\nmore", "begins with the text '# kdtool'"),
    (b"id,label\r\n1,2\r\n", "begins with the text 'id,label'"),
    ("größer als ähnlich".encode(), "begins with the text 'größer als äh'"),
    ("xääääääääääää".encode(), "begins with the text 'xäääääää'"),
    (b"\x89PNG\r\n\x1a\n", "begins with the bytes 0x89504e470d0a1a0a"),
    (b"\xff\xd8", "begins with the bytes 0xffd8"),
    (bytes(100), "begins with the bytes 0x0000000000000000"),
    (b"\n\n", "begins with the bytes 0x0a0a"),
]


@pytest.mark.parametrize(("content", "expected"), BEGINNINGS)
def test_a_file_begins_with_a_line_of_text_or_with_bytes(content, expected):
    assert beginning(content) == expected


def raised(call, *arguments):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call(*arguments)
    return caught.value


def test_bytes_in_a_reason_are_text_or_hex():
    error = raised(np.lib.format.read_magic, io.BytesIO(bytes(9)))
    assert reason(error).endswith("expected 0x934e554d5059, got 0x000000000000")
    assert reason(ValueError("got b'ab' and b\"c'd\", not b'\\xff'")) == (
        "got 'ab' and 'c'd', not 0xff"
    )


def test_a_reason_names_no_object_of_python(tmp_path):
    (tmp_path / "a.png").write_bytes(b"# kdtool")
    with (tmp_path / "a.png").open("rb") as file:
        error = raised(Image.open, file)
    assert isinstance(error, UnidentifiedImageError)
    assert "_io.BufferedReader" in str(error)
    assert reason(error) == "cannot identify image file the file"
    assert reason(ValueError(f"no {tmp_path!r}")) == f"no {tmp_path}"


def test_a_reason_of_the_network_is_that_of_the_system():
    error = urllib.error.URLError(ConnectionRefusedError(111, "Connection refused"))
    assert reason(error) == "Connection refused"


def test_a_reason_of_the_disk_is_that_of_the_system():
    assert reason(PermissionError(13, "Permission denied", "x")) == "Permission denied"


def test_an_error_without_text_has_its_name():
    assert reason(EOFError()) == "EOFError"


FRAGMENTS = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_each_fragment_of_the_guide_is_a_valid_data_table(fragment):
    given = tomllib.loads(fragment)["data"]
    table = TypeAdapter(DataTable).validate_python(given)
    assert table.source == given["source"]


def test_the_guide_has_every_source():
    listed = {source for source in TABLES if f'"{source}"' in GUIDE.read_text(encoding="utf-8")}
    assert listed == set(TABLES)
