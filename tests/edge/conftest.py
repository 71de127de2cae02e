"""Image classifiers with answers in closed form."""

import pytest
from classifiers import write_classifier


@pytest.fixture
def make_classifier(tmp_path):
    """A function that writes a classifier of 4 x 6 images, see `write_classifier`."""

    def make(form="pixels", channels=1, classes=("a", "b", "c"), name="model.onnx", decision=None):
        return write_classifier(tmp_path / name, form, channels, classes, decision)

    return make
