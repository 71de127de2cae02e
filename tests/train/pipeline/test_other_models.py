"""A model that finetune trains joins the others of its study only where these fit it."""

from kdtool.files import write_atomic
from kdtool.results.base import to_json
from kdtool.study.folder import Study
from kdtool.study.ownership import same_but_for_files
from kdtool.train.pipeline.commands import with_other_models


def recorded(folder, results):
    study = Study(folder)
    write_atomic(study.results_path, to_json(results))
    return study


def test_an_unchanged_model_keeps_the_others_and_its_files(build, tmp_path):
    old = build(int8=True)
    teacher = old.models["teacher"].model_copy(update={"files": {}, "recommended": None})
    new = build(roles=("teacher",)).model_copy(update={"models": {"teacher": teacher}})
    assert with_other_models(recorded(tmp_path, old), new).models == old.models


def test_a_new_role_joins_the_others(build, tmp_path):
    old, new = build(roles=("control",)), build(roles=("teacher",))
    joined = with_other_models(recorded(tmp_path, old), new)
    assert list(joined.models) == ["teacher", "control"]


def test_a_changed_model_stands_alone_as_the_verdicts_are_about_the_one_before(build, tmp_path):
    """Such as a control that was trained again on another device or with another algorithm."""
    old = build(int8=True)
    new = build(roles=("control",), accuracy={"control": 0.9})
    assert with_other_models(recorded(tmp_path, old), new) == new


def test_a_study_of_a_kdtool_without_methods_learned_by_kd():
    old = {"distill": {"temperature": 4.0}, "name": "tiny"}
    for method, same in (("kd", True), ("dist", False)):
        new = {"distill": {"method": method, "temperature": 4.0}, "name": "tiny"}
        assert same_but_for_files(old, new) == same_but_for_files(new, old) == same
