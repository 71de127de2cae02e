"""A folder of images that several tests of data use."""

import pytest
from pictures import save_number


@pytest.fixture
def tree(tmp_path):
    """A folder for each of three classes, with 20, 10 and 10 images of different numbers."""
    for label, (name, count) in enumerate({"b": 20, "a": 10, "ö c": 10}.items()):
        for index in range(count):
            save_number(tmp_path / "set" / name, f"{index}", 100 * label + index)
    return tmp_path / "set"
