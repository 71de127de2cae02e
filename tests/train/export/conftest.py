"""What the tests of targets need to be installed."""

import os
from pathlib import Path

import pytest

from kdtool.edge.targets.target import target_of

CACHE = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))  # of the user


@pytest.fixture
def needs(monkeypatch):
    """A function that skips the test where a target is not installed, or its converter."""

    def check(name):
        target = target_of(name)
        for module in filter(None, (target.module, target.converter)):
            pytest.importorskip(module)
        if name == "litert":
            from kdtool.train.export.targets.litert import CONVERTER

            monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
            if not CONVERTER.is_made():
                pytest.skip(f"{CONVERTER.folder} does not exist")

    return check
