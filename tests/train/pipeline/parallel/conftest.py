"""A small study, opened in the test's own folder."""

import pytest
from small_study import OWN_NETS, RECIPE

from kdtool.recipe.load import load_recipe, with_settings
from kdtool.study.folder import Study
from kdtool.train.reporter import Silent
from kdtool.train.run import open_run


@pytest.fixture
def open_study(tmp_path, monkeypatch):
    """A function that opens the study, with other settings or in another folder."""
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "own_nets.py").write_text(OWN_NETS)
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(tmp_path / "tiny.toml")

    def open_it(out="runs", reporter=None, **settings):
        changed = with_settings(recipe, settings)
        study = Study(tmp_path / out / recipe.name)
        return open_run(study, changed, "cpu", reporter or Silent())

    return open_it
