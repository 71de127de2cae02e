"""The command in messages about missing packages."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from kdtool.install import install_command

PYPROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_install_command_lists_the_packages_of_an_extra_and_not_kdtool(extra):
    program, _, packages = install_command(extra).partition(" install ")
    assert program in {"pip", "uv pip"}
    listed = [Requirement(one) for one in packages.strip('"').split('" "')]
    assert listed == [Requirement(one) for one in EXTRAS[extra]]
