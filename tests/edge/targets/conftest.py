"""Targets written from small classifiers with answers in closed form."""

from types import SimpleNamespace

import numpy as np
import pytest

from kdtool.edge.targets.form import write_form
from kdtool.edge.targets.target import target_of
from kdtool.edge.targets.write import TargetFacts, write_target


@pytest.fixture
def make_target(tmp_path):
    """A function that writes a target from sources; returns the result and its folder."""

    def make(name, sources, images, classes=("a", "b", "c"), **changes):
        facts = {
            "study": "ring",
            "role": "student",
            "classes": classes,
            "positive": None,
            "threshold": None,
            "num_golden": 6,
            "seconds": 0.01,
        }
        folder = tmp_path / "targets" / name
        labels = np.arange(len(images)) % len(classes)
        facts = TargetFacts(**facts | changes)
        target = target_of(name)

        def write_model(source, path):
            write_form(target, source.path, path)

        result = write_target(folder, target, sources, facts, images, labels, write_model)
        return SimpleNamespace(result=result, folder=folder)

    return make
