import json
import subprocess
import sys
import threading

import pytest

from kdtool.environment import collect_environment
from kdtool.errors import StudyError
from kdtool.files import write_atomic
from kdtool.recipe.load import make_recipe, with_settings
from kdtool.recipe.schema import QatTable
from kdtool.results.base import to_json
from kdtool.results.study import DataResult, Results
from kdtool.study.folder import Study, load_study
from kdtool.study.ownership import check_owner, claim, files_made_otherwise

RECIPE = make_recipe(
    {
        "name": "tiny",
        "data": {"source": "digits"},
        "teacher": {"model": "mnist-cnn"},
        "student": {"model": "mnist-mlp"},
    },
    "test",
)
DATA = DataResult(
    source="digits",
    description="digits",
    classes=["0", "1"],
    image_shape=(1, 8, 8),
    num_train=2,
    num_validation=2,
    num_test=2,
    class_counts={"train": [1, 1], "validation": [1, 1], "test": [1, 1]},
    num_duplicates=0,
    duplicates=[],
    fingerprint="a",
    warnings=[],
)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    study = Study(tmp_path / "runs" / "tiny")
    with pytest.raises(StudyError, match="cannot write"), study.locked():
        pass
    with pytest.raises(StudyError, match="cannot write"):
        write_atomic(study.results_path, "")


def test_the_folder_of_a_sweep_over_methods_is_free_for_the_same_sweep_only(tmp_path):
    """The recipe in the folder is then that of the method which the sweep chose."""
    study = Study(tmp_path)
    dkd = {"distill.method": "dkd", "distill.options.beta": 2}
    claim(study, with_settings(RECIPE, dkd), DATA, sweep={}, force=False)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "teacher-seed0-0.state.pt").touch()
    with pytest.raises(StudyError) as caught:
        claim(study, RECIPE, DATA, sweep={}, force=False)
    assert "distill.method: was dkd, now kd" in str(caught.value)
    assert "distill.options.dkd.beta: was 2.0, now 8.0" in str(caught.value)
    assert str(caught.value).count(": was ") == 2
    methods = {"distill.method": ["kd", "dkd"]}
    with pytest.raises(StudyError, match=r"options\.dkd\.beta"):
        claim(study, RECIPE, DATA, sweep=methods, force=False)
    for option in ("distill.options.beta", "distill.options.dkd.beta"):
        check_owner(study, RECIPE, DATA, sweep=methods | {option: [2, 8]})


def test_a_folder_of_another_recipe_is_not_taken_over(tmp_path):
    study = Study(tmp_path)
    claim(study, RECIPE, DATA, sweep={}, force=False)
    claim(study, RECIPE, DATA, sweep={}, force=False)
    distill = RECIPE.distill.model_copy(update={"temperature": 9.0})
    other = RECIPE.model_copy(update={"distill": distill})
    claim(study, other, DATA, sweep={}, force=False)  # nothing was trained: no study yet
    claim(study, RECIPE, DATA, sweep={}, force=False)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "teacher-seed0-0.state.pt").touch()
    with pytest.raises(StudyError) as caught:
        claim(study, other, DATA, sweep={}, force=False)
    assert "distill.temperature: was 4.0, now 9.0" in str(caught.value)
    assert "--force" in str(caught.value)
    claim(study, other, DATA, sweep={"distill.temperature": [4, 9]}, force=False)
    claim(study, RECIPE, DATA, sweep={}, force=True)
    subclass = {"subclass": RECIPE.subclass.model_copy(update={"per_class": 3})}
    claim(study, RECIPE.model_copy(update=subclass), DATA, sweep={}, force=False)
    (tmp_path / "checkpoints" / "subclass-teacher-seed0-0.state.pt").touch()
    with pytest.raises(StudyError, match=r"subclass\.per_class: was 3, now 5"):
        claim(study, RECIPE, DATA, sweep={}, force=False)
    claim(study, RECIPE, DATA, sweep={}, force=True)
    cheap = {"export": RECIPE.export.model_copy(update={"opset": 20})}
    claim(study, RECIPE.model_copy(update=cheap), DATA, sweep={}, force=False)


def test_other_data_are_reported_once(tmp_path):
    study = Study(tmp_path)
    study.record_recipe(RECIPE)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "teacher-seed0-0.state.pt").touch()
    results = Results(
        name="tiny",
        recipe={},
        environment=collect_environment(None),
        data=DATA,
        models={},
        verdicts=[],
        sweep=[],
        explain=None,
        devices=[],
    )
    write_atomic(study.results_path, to_json(results))
    other = DATA.model_copy(update={"fingerprint": "b"})
    with pytest.raises(StudyError, match="labels or their splits differ"):
        claim(study, RECIPE, other, sweep={}, force=False)
    smaller = RECIPE.model_copy(update={"data": RECIPE.data.model_copy(update={"validation": 0.3})})
    with pytest.raises(StudyError) as caught:
        claim(study, smaller, other, sweep={}, force=False)
    assert "data.validation: was 0.1, now 0.3" in str(caught.value)
    assert "training images" not in str(caught.value)


def test_files_made_with_other_settings_are_reported_with_the_settings_that_keep_them(tmp_path):
    study = Study(tmp_path)
    exported = RECIPE.export.model_copy(
        update={
            "operating_point": "sensitivity:0.95",
            "precisions": ["fp32", "int8"],
            "qat": QatTable(epochs=7),
        }
    )
    study.record_recipe(RECIPE.model_copy(update={"export": exported}))
    assert files_made_otherwise(study, RECIPE) == []  # there are no files yet
    study.results_path.touch()
    found = files_made_otherwise(study, RECIPE)
    assert [text.partition(":")[0] for text in found] == [
        "export.precisions",
        "export.qat.epochs",
        "export.operating_point",
    ]
    assert found[2] == (
        "export.operating_point: the files of this study were made with sensitivity:0.95 and are "
        "now made with argmax; --set 'export.operating_point=sensitivity:0.95' keeps the old ones"
    )
    # the settings that it suggests do keep them
    kept = [text.split("'")[1].partition("=") for text in found]
    settings = {key: value if ":" in value else json.loads(value) for key, _, value in kept}
    assert files_made_otherwise(study, with_settings(RECIPE, settings)) == []


def test_unfinished_files_of_a_killed_run_are_removed(tmp_path):
    study = Study(tmp_path)
    with study.locked():
        pass
    orphan = tmp_path / "stages" / ".export.x1y2.unfinished.json"
    orphan.parent.mkdir()
    orphan.touch()
    (tmp_path / "stages" / "export.json").touch()
    with study.locked():
        assert [path.name for path in orphan.parent.iterdir()] == ["export.json"]


def test_a_run_that_fails_before_it_writes_leaves_no_folder(tmp_path):
    study = Study(tmp_path / "new")
    with pytest.raises(ValueError, match="bad"), study.locked():
        raise ValueError("bad")
    assert not study.folder.exists()
    with study.locked():
        write_atomic(study.results_path, "a result")
    assert study.results_path.read_text() == "a result"


def test_an_error_inside_the_lock_is_not_blamed_on_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError), Study(tmp_path).locked():
        (tmp_path / "missing").read_bytes()


def test_a_folder_in_use_is_refused_and_freed_when_its_process_dies(tmp_path):
    hold = (
        "import sys, pathlib; from kdtool.study.folder import Study\n"
        "with Study(pathlib.Path(sys.argv[1])).locked():\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"held\n"
    study = Study(tmp_path)
    with pytest.raises(StudyError, match="in use by another kdtool run"), study.locked():
        pass
    holder.kill()
    holder.communicate()
    with study.locked():
        pass


def test_a_folder_without_a_study(tmp_path):
    with pytest.raises(StudyError, match="holds no finished study"):
        load_study(tmp_path)
    write_atomic(tmp_path / "results.json", '{"schema": 7}')
    Study(tmp_path).record_recipe(RECIPE)
    with pytest.raises(StudyError, match="newer kdtool: it has schema 7, and this kdtool reads"):
        load_study(tmp_path)
    write_atomic(tmp_path / "results.json", '{"schema": 1}')
    with pytest.raises(StudyError, match=r"not a results\.json of schema 1: .*"):
        load_study(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="its locks are of another kind")
def test_who_only_looks_at_the_lock_stops_no_run(tmp_path, monkeypatch):
    import fcntl

    monkeypatch.setattr("kdtool.study.folder.SECONDS_TO_WAIT", 30)  # a busy machine is slow

    study = Study(tmp_path / "study")
    assert study.is_locked() is False
    with study.locked():
        study.record_recipe(RECIPE)
        assert study.is_locked() is True
    assert study.is_locked() is False
    looking = (study.folder / ".lock").open("rb")
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.05, looking.close).start()
    with study.locked():
        pass


@pytest.mark.parametrize("content", [b"name = ", b"\xff", b"", None])
def test_a_damaged_recipe_of_a_study_is_reported_with_the_cure(tmp_path, content):
    study = Study(tmp_path / "runs" / "tiny")
    if content is not None:
        write_atomic(study.recipe_path, content)
    with pytest.raises(
        StudyError, match="it is the recipe of a study: put the unchanged file back"
    ):
        study.load_recipe()
    study.record_recipe(RECIPE)
    assert study.load_recipe() == RECIPE


def test_what_ended_processes_left_is_deleted_files_and_folders_alike(tmp_path):
    study = Study(tmp_path / "tiny")
    (tmp_path / "tiny" / "checkpoints").mkdir(parents=True)
    (tmp_path / "tiny" / "kept.txt").touch()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept.txt").touch()

    def leave(name):
        folder = tmp_path / "tiny" / "checkpoints"
        (folder / f".a{name}.unfinished.npz").touch()
        (folder / f".b{name}.unfinished").mkdir()
        (folder / f".b{name}.unfinished" / "inside").touch()
        (folder / f".c{name}.unfinished").symlink_to(tmp_path / "outside")

    leave(1)
    with study.locked():
        assert [*(tmp_path / "tiny" / "checkpoints").iterdir()] == []
        leave(2)
    assert [*(tmp_path / "tiny" / "checkpoints").iterdir()] == []
    assert (tmp_path / "outside" / "kept.txt").exists()
    assert (tmp_path / "tiny" / "kept.txt").exists()
