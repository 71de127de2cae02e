import zipfile

import numpy as np
import pytest

from kdtool.errors import did_you_mean, nearest, reason


def raised(action):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        action()
    return caught.value


def test_the_reason_of_a_system_error_has_neither_its_number_nor_the_file(tmp_path):
    assert reason(raised((tmp_path / "absent").read_bytes)) == "No such file or directory"
    assert reason(raised(tmp_path.read_bytes)) == "Is a directory"


def test_the_reason_of_text_in_another_encoding_names_the_byte():
    error = raised(lambda: b"caf\xe9".decode())
    assert reason(error) == "byte 0xe9 at position 3 is not UTF-8"


def test_the_reason_of_a_missing_array_has_no_quotes_of_python(tmp_path):
    np.savez(tmp_path / "a.npz", labels=np.zeros(1))
    with np.load(tmp_path / "a.npz") as arrays:
        error = raised(lambda: arrays["images"])
    assert isinstance(error, KeyError)
    assert reason(error) == "images is not a file in the archive"


def test_the_reason_is_one_line_and_never_empty():
    assert reason(ValueError("first\n  second")) == "first second"
    assert reason(zipfile.BadZipFile()) == "BadZipFile"


def test_the_reason_of_another_process_is_the_last_line_of_its_traceback():
    error = RuntimeError(
        'Failure from server:\nTraceback (most recent call last):\n  File "a.py", line 1\n'
        "RuntimeError: it did not start\n"
    )
    assert reason(error) == "RuntimeError: it did not start"


def test_the_closest_known_word_is_suggested_and_none_if_none_is_close():
    assert did_you_mean("flop", iter(["crop", "flip"])) == '; did you mean "flip"?'
    assert did_you_mean("flop", ["flip"], "`data.{}`") == "; did you mean `data.flip`?"
    assert did_you_mean("flop", ["flip"], cutoff=0.9) == did_you_mean("x", ["flip"]) == ""
    assert (nearest("flop", ["crop", "flip"]), nearest("x", [])) == ("flip", "")
