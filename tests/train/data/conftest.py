"""Images that several tests of data use."""

import pytest
from pictures import save_number
from PIL import Image


@pytest.fixture
def tree(tmp_path):
    """A folder for each of three classes, with 20, 10 and 10 images of different numbers."""
    for label, (name, count) in enumerate({"b": 20, "a": 10, "ö c": 10}.items()):
        for index in range(count):
            save_number(tmp_path / "set" / name, f"{index}", 100 * label + index)
    return tmp_path / "set"


@pytest.fixture
def patient_rows(tmp_path):
    """The rows of a table of 40 images of 10 patients, which are there; header first.

    Image n is grey of value n, of patient n // 4 and class "a" or "b" by turns of patients.
    """
    rows = [["file", "label", "split", "patient"]]
    for index in range(40):
        name, patient = f"{index:02}.png", index // 4
        Image.new("L", (4, 4), index).save(tmp_path / name)
        split = ("train", "Val", "TEST")[min(patient // 2, 2)]
        rows.append([name, "ab"[patient % 2], split, f"p{patient}"])
    return rows
