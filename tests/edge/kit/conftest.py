"""Kits of small classifiers, and how to run their scripts."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from kdtool.edge.kit.build import Answered, build_kit
from kdtool.edge.kit.readme import KitFacts
from kdtool.environment import collect_environment
from kdtool.files import sha256_of
from kdtool.results.study import FileResult, Parity

NUM_IMAGES = 40


@pytest.fixture
def make_kit(tmp_path, make_classifier):
    """A function that builds a kit, and returns its folder and the output of its check."""

    def make(folder="kit", form="pixels", channels=1, classes=("a", "b", "c"), **changes):
        model = make_classifier(form, channels, classes, decision=changes.pop("decision", None))
        path = model.path
        shape = (NUM_IMAGES, 4, 6, channels)
        images = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
        probabilities = model.answer(images).astype(np.float32)
        parity = Parity(
            num_images=NUM_IMAGES, agreement=1, max_abs_error=0, flipped=[], passed=True
        )
        file = FileResult(
            path=path.name,
            sha256=sha256_of(path),
            size_bytes=path.stat().st_size,
            opset=changes.pop("opset", 18),
            accuracy=0.9,
            parity=parity,
        )
        facts = KitFacts(
            study="ring",
            role="student",
            precision="fp32",
            file=file,
            reason="The int8 file is not faster here.",
            data="40 test images of noise",
            rates=None,
            environment=collect_environment(),
        )
        output = build_kit(
            tmp_path / folder,
            path,
            replace(facts, **changes.pop("facts", {})),
            Answered(
                images=images,
                labels=np.arange(NUM_IMAGES) % len(classes),
                probabilities=changes.pop("probabilities", probabilities),
            ),
            changes.pop("wheel", None),
        )
        assert not changes
        return tmp_path / folder, output

    return make


@pytest.fixture
def run():
    """A function that runs a script with arguments, from another folder."""

    def run_script(script, *arguments, env=None):
        return subprocess.run(
            [sys.executable, script, *arguments],
            capture_output=True,
            encoding="utf-8",
            cwd="/",
            env=env,
            check=False,
        )

    return run_script
