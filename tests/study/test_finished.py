"""A finished study has nothing left to do, unless anything that its results depend on changed."""

import os
from pathlib import Path

import pytest

from kdtool.environment import collect_environment
from kdtool.files import write_atomic
from kdtool.recipe.load import make_recipe, with_settings
from kdtool.results.base import to_json
from kdtool.results.study import DataResult, Results
from kdtool.study import finished
from kdtool.study.finished import command_key, finished_results, record_finished
from kdtool.study.folder import Study
from kdtool.study.keys import ALGORITHMS

COMMAND = {"subclasses": False, "sweep": {}, "device": "auto"}
DATA = DataResult(
    source="folder",
    description="pictures",
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
FILES = ("report.html", "report.md", "student.onnx", "stages/train.json", "figures/verdict.svg")


class Done:
    """A finished study of a folder of images."""

    def __init__(self, folder):
        self.images = folder / "images"
        write_atomic(self.images / "cats" / "1.png", "image")
        self.recipe = make_recipe(
            {
                "name": "tiny",
                "data": {"source": "folder", "root": str(self.images)},
                "teacher": {"model": "mnist-cnn"},
                "student": {"model": "mnist-mlp"},
            },
            "test",
        )
        self.study = Study(folder / "runs" / "tiny")
        self.study.record_recipe(self.recipe)
        self.results = Results(
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
        write_atomic(self.study.results_path, to_json(self.results))
        for name in FILES:
            write_atomic(self.study.folder / name, f"content of {name}")
        record_finished(self.study, command_key(self.recipe, **COMMAND), [self.images])

    def results_of(self, recipe=None, **changed):
        key = command_key(recipe or self.recipe, **COMMAND | changed)
        return finished_results(self.study, key)


@pytest.fixture
def done(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Done(tmp_path)


def test_the_same_command_on_the_same_files_has_nothing_left_to_do(done):
    assert done.results_of() == done.results
    with done.study.locked():
        pass
    (done.images / "cats" / "1.png").read_bytes()
    write_atomic(done.study.results_path, to_json(done.results))  # equal content, another time
    assert done.results_of() == done.results


@pytest.mark.parametrize("name", ["results.json", "recipe.toml", *FILES])
@pytest.mark.parametrize("change", ["edited", "deleted"])
def test_a_changed_file_of_the_study_has_the_command_run(done, name, change):
    path = done.study.folder / name
    if change == "edited":
        content, times = bytearray(path.read_bytes()), path.stat()
        content[-3] ^= 1
        path.write_bytes(content)
        if path.parent == done.study.folder:  # known by its content, even with its old time
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    else:
        path.unlink()
    assert done.results_of() is None


def test_changed_images_have_the_command_run(done):
    image = done.images / "cats" / "1.png"
    times = image.stat()
    image.write_text("other")
    assert done.results_of() is None
    os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert done.results_of() == done.results
    added = done.images / "dogs" / "2.png"
    write_atomic(added, "image")
    assert done.results_of() is None
    added.unlink()
    assert done.results_of() == done.results
    image.rename(image.with_name("3.png"))
    assert done.results_of() is None


def test_another_command_runs(done):
    other = with_settings(done.recipe, {"distill.temperature": 9})
    assert done.results_of(other) is None
    assert done.results_of(subclasses=True) is None
    assert done.results_of(sweep={"distill.temperature": [1, 4]}) is None
    assert done.results_of(device="cpu") is None


def test_another_kdtool_or_machine_has_the_command_run(done, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(ALGORITHMS, "evaluate", ALGORITHMS["evaluate"] + 1)
        assert done.results_of() is None
    with monkeypatch.context() as patch:
        patch.setattr(finished.kdtool, "__version__", "99.0.0")
        assert done.results_of() is None
    machine = collect_environment(None).model_copy(update={"cpu": "another processor"})
    with monkeypatch.context() as patch:
        patch.setattr(finished, "collect_environment", lambda _gpu: machine)
        assert done.results_of() is None
    assert done.results_of() == done.results


def test_another_working_folder_has_the_command_run(done, monkeypatch):
    """A network of the user's is imported from there."""
    monkeypatch.chdir(done.images)
    assert done.results_of() is None


def test_a_damaged_or_absent_record_has_the_command_run(done):
    path = done.study.folder / "stages" / finished.NAME
    text = path.read_text()
    path.write_text(text.replace('"inputs"', '"inputz"'))
    assert done.results_of() is None
    path.unlink()
    assert done.results_of() is None
    assert finished_results(Study(Path("nowhere")), command_key(done.recipe, **COMMAND)) is None


def test_a_link_that_leads_back_ends_the_walk(done):
    (done.images / "loop").symlink_to(done.images)
    record_finished(done.study, command_key(done.recipe, **COMMAND), [done.images])
    assert done.results_of() == done.results


def test_a_study_inside_the_folder_of_its_images_is_no_image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = Done(tmp_path)
    record_finished(done.study, command_key(done.recipe, **COMMAND), [tmp_path])
    assert done.results_of() == done.results


def test_a_link_to_nowhere_is_no_file_until_it_leads_somewhere(done):
    (done.images / "cats" / ".#1.png").symlink_to("nobody@nowhere")
    record_finished(done.study, command_key(done.recipe, **COMMAND), [done.images])
    assert done.results_of() == done.results
    (done.images / "cats" / "nobody@nowhere").write_text("image")
    assert done.results_of() is None


def test_a_log_that_is_written_afterwards_changes_nothing(done):
    write_atomic(done.study.folder / "tensorboard" / "study" / "events", "log")
    assert done.results_of() == done.results
    write_atomic(done.images / "tensorboard" / "1.png", "image")  # of a class with that name
    assert done.results_of() is None
