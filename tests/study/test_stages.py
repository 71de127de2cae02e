"""Damage to the files of a stage is reported and never becomes a result."""

import json
import os
import re
from dataclasses import replace

import pytest

from kdtool.errors import StudyError
from kdtool.files import sha256_of, write_atomic
from kdtool.results.base import Summary
from kdtool.study import folder
from kdtool.study.folder import Study
from kdtool.study.keys import key_of
from kdtool.study.stages import read_record, write_record

SCORE = Summary(mean=0.5, std=None, ci95=(0.4, 0.6))
KEY = key_of("evaluate", "settings")


class Counted:
    """A study with one stage, which counts its runs and keeps the warnings."""

    def __init__(self, folder):
        self.warnings, self.runs = [], []
        self.study = Study(folder, self.warnings.append)
        self.file = folder / "out.txt"
        self.record = folder / "stages" / "stage.json"

    def run(self, key=KEY):
        def make():
            self.runs.append(key)
            write_atomic(self.file, "content")
            return SCORE, [self.file]

        return self.study.stage("stage", key, Summary, make)


@pytest.fixture
def stage(tmp_path):
    counted = Counted(tmp_path)
    assert counted.run() == SCORE
    return counted


def edited(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_a_stage_runs_once_for_a_key(stage):
    assert stage.run() == SCORE
    assert stage.runs == [KEY]
    other = key_of("evaluate", "other settings")
    stage.run(other)
    stage.run(other)
    assert stage.runs == [KEY, other]
    stage.study.forget("stage")
    stage.run(other)
    assert stage.runs == [KEY, other, other]
    assert stage.warnings == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"mean": 0.5', '"mean": 0.6'),  # a digit of the result
        ('"mean"', '"meam"'),  # a name in it
        ("out.txt", "out.txs"),  # the name of a file
        (":", ";"),  # no JSON any more; see below
        ("evaluate.1", "evaluate.2"),  # the key
        ('"sha256"', '"sha255"'),  # the hash itself
    ],
)
def test_an_edited_record_is_reported_and_the_stage_runs_again(stage, old, new):
    if old == ":":
        stage.record.write_text(stage.record.read_text().replace(old, new))
    else:
        edited(stage.record, old, new)
    assert stage.run() == SCORE
    assert stage.runs == [KEY, KEY]
    (warning,) = stage.warnings
    assert warning.startswith(str(stage.record))
    assert warning.endswith("; stage stage runs again")
    assert stage.run() == SCORE
    assert stage.runs == [KEY, KEY]


def test_every_flipped_bit_of_a_record_is_noticed(stage):
    content = stage.record.read_bytes()
    whole = read_record(stage.record)
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1
        stage.record.write_bytes(flipped)
        try:
            record = read_record(stage.record)
        except ValueError:
            continue
        assert record == whole  # the bit was in white space


@pytest.mark.parametrize(
    ("damage", "fault"),
    [("changed", "was changed"), ("gone", "is missing"), ("cut", "is not JSON")],
)
def test_a_damaged_file_is_reported_once_and_made_again(stage, damage, fault):
    path = stage.record if damage == "cut" else stage.file
    if damage == "changed":
        path.write_text("contemt")
    elif damage == "gone":
        path.unlink()
    else:
        path.write_text(path.read_text()[:20])
    assert stage.study.done("stage", KEY, Summary) is None
    stage.run()
    assert stage.runs == [KEY, KEY]
    assert stage.file.read_text() == "content"
    (warning,) = stage.warnings
    assert warning.startswith(f"{path} {fault}")


def test_damage_is_an_error_where_nothing_can_run_again(stage, tmp_path):
    edited(stage.record, "0.5", "0.6")
    with pytest.raises(StudyError, match=r"stage\.json was changed"):
        Study(tmp_path).done("stage", KEY, Summary)


def test_a_file_that_cannot_be_read_is_an_error_with_its_name(stage):
    # a folder in the place of the file: the reader gets an OSError, even as root
    for path in (stage.file, stage.record):
        path.unlink()
        path.mkdir()
        with pytest.raises(StudyError, match=rf"cannot read .*{path.name}: .*; make it readable"):
            stage.run()
    assert stage.runs == [KEY]


@pytest.mark.parametrize("path", ["../out.txt", "/etc/hostname", r"..\out.txt", "C:out.txt", ""])
def test_a_record_names_no_file_outside_of_its_study(stage, path):
    record = read_record(stage.record)
    write_record(stage.record, replace(record, files={path: record.files["out.txt"]}))
    with pytest.raises(ValueError, match=re.escape(f"a file outside of the study: {path!r}")):
        read_record(stage.record)
    assert stage.run() == SCORE
    assert stage.runs == [KEY, KEY]


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_pipe_in_place_of_a_file_is_an_error_and_not_waited_for(stage):
    stage.file.unlink()
    os.mkfifo(stage.file)
    with pytest.raises(StudyError, match=r"cannot read .*out\.txt: it is not a file"):
        stage.run()


def test_a_folder_in_place_of_a_record_that_is_to_go_is_an_error_with_its_name(stage):
    stage.record.unlink()
    stage.record.mkdir()
    with pytest.raises(StudyError, match=r"cannot delete .*stage\.json: .*; delete it yourself"):
        stage.study.forget("stage")


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="root reads every file")
def test_a_file_without_permission_is_an_error_with_its_name(stage):
    stage.record.chmod(0)
    with pytest.raises(StudyError, match=r"cannot read .*stage\.json: Permission denied"):
        stage.run()


def test_a_record_of_kdtool_0_1_0_is_read_but_is_of_no_new_key(stage):
    """Its format: key, files and result, without a hash; the key a plain hash of 16 digits."""
    content = json.loads(stage.record.read_text())
    old = {"key": "0123456789abcdef", "files": content["files"], "result": content["result"]}
    stage.record.write_text(json.dumps(old, indent=1))
    record = read_record(stage.record)
    assert (record.key, record.result, record.is_sealed) == (old["key"], old["result"], False)
    stage.run()
    assert stage.runs == [KEY, KEY]
    assert stage.warnings == []
    stage.record.write_text(json.dumps(old | {"key": KEY}))  # a new key needs the hash
    stage.run()
    assert stage.runs == [KEY, KEY, KEY]
    assert len(stage.warnings) == 1


def test_a_file_is_hashed_again_only_if_it_was_written(stage, monkeypatch):
    hashed = []

    def counted(path):
        hashed.append(path)
        return sha256_of(path)

    monkeypatch.setattr(folder, "sha256_of", counted)
    for _ in range(3):
        assert stage.study.done("stage", KEY, Summary) == SCORE
    assert hashed == [stage.file]
    write_atomic(stage.file, "contemt")  # as long, but another file
    assert stage.study.done("stage", KEY, Summary) is None
    assert len(hashed) == 2
