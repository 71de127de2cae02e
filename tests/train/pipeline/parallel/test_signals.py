"""Ctrl-C and SIGTERM while models train in several processes: one message, nothing left over."""

import os
import signal
import subprocess
import sys

import pytest
from processes import in_group
from shell import RECIPE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc"),
]


@pytest.mark.parametrize(("number", "to_all"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_signal_during_training_ends_all_processes(tmp_path, number, to_all):
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("epochs = 10", "epochs = 5000"))
    (tmp_path / "temporary").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "kdtool", "distill", "tiny.toml", "--anyway", "--jobs", "2"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
        start_new_session=True,
    )
    for line in process.stderr:
        if "teacher, seed 3: " in line:  # it trains, in a process of its own
            break
    (os.killpg if to_all else os.kill)(process.pid, number)
    rest = process.stderr.read()
    assert process.wait(60) == 128 + number
    said = "error: interrupted; run the same command again to resume\n"
    assert rest.endswith(said)
    assert "Traceback" not in rest
    assert in_group(process.pid) == []
    kept = [path.name for path in (tmp_path / "temporary").iterdir()]
    assert [name for name in kept if not name.startswith("torchinductor")] == []
    assert [*tmp_path.rglob("*unfinished*")] == []
