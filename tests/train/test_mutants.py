"""A few hundred changed files of every format: each is used, or refused with one message."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "reliability" / "mutants.py"


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_changed_files_are_used_or_refused():
    command = [sys.executable, str(SCRIPT), "--count", "280", "--jobs", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (total,) = (line for line in done.stdout.splitlines() if line.startswith("all "))
    mutants, used, refused, faults = total.replace(",", "").split()[1:]
    assert int(mutants) >= 280
    assert int(used) > 0
    assert int(refused) > 0
    assert int(faults) == 0
