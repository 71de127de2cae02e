"""What `export` and `explain` do with a study that is damaged, and where they are ended."""

import os
import signal
import subprocess
import sys

import pytest
from shell import kdtool

from kdtool.errors import StudyError

pytestmark = pytest.mark.slow


def cut(study, pattern):
    """Cut a file of a study to half; return its path in the study."""
    (path,) = study.glob(pattern)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path.relative_to(study).as_posix()


@pytest.mark.parametrize("role", ["teacher", "student"])
@pytest.mark.parametrize("command", ["export", "explain"])
def test_damaged_weights_are_one_error_with_the_cure(study, role, command):
    cut(study, f"checkpoints/{role}-seed3-*.safetensors")
    message = (
        rf"{role}-seed3-\*\.safetensors or its record in .* missing or was changed; `kdtool dis"
    )
    with pytest.raises(StudyError, match=message):
        kdtool(command, study)


def test_what_explain_reads_is_made_again_where_it_is_damaged(study):
    names = [
        cut(study, pattern)
        for pattern in (
            "teacher.onnx",
            "predictions/control-seed5-*.npz",
            "predictions/gallery.npz",
            "stages/evaluate-student-seed3-*.json",
        )
    ]
    warned = " ".join(kdtool("explain", study).stderr.split())
    for name in names:
        fault = "is not JSON" if name.endswith(".json") else "was changed: it does not match its"
        assert f"{name} {fault}" in warned
    again = " ".join(kdtool("explain", study).stderr.split())
    assert "warning" not in again


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_signal_while_int8_is_made_leaves_no_temporary_folder(study, tmp_path):
    (tmp_path / "temporary").mkdir()
    (study / "student.int8.onnx").unlink()
    process = subprocess.Popen(
        [sys.executable, "-m", "kdtool", "export", study],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
    )
    for line in process.stderr:
        if line.startswith("making student.int8.onnx"):
            break
    process.terminate()
    rest = process.stderr.read()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert rest.endswith("error: interrupted; run the same command again to resume\n")
    assert [*(tmp_path / "temporary").iterdir()] == []
    assert [*study.rglob("*unfinished*")] == []
