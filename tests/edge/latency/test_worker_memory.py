"""Resident memory, each in a fresh process: one that ran other tests has room to spare."""

import subprocess
import sys

import pytest


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_the_peak_counts_from_its_last_reset():
    run("""
import numpy as np
from kdtool.edge.latency.worker import forget_peak, peak_bytes
MIB = 2**20
forget_peak()
before = peak_bytes()
large = np.ones(64 * MIB, np.uint8)
with_it = peak_bytes()
del large
without_it = peak_bytes()
forget_peak()
assert 63 * MIB < with_it - before < 80 * MIB, (with_it, before)
assert abs(without_it - with_it) < MIB  # the kernel counts pages a little late
assert peak_bytes() < before + 16 * MIB
""")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no getrusage")
def test_systems_without_proc_count_in_bytes_as_well():
    run("""
from pathlib import Path
from kdtool.edge.latency import worker
large = b"x" * 2**28
from_proc = worker.peak_bytes()
worker.STATUS = Path("/nowhere")
# getrusage inherits the peak of the parent; a wrong unit is a factor of 1024
assert 0.05 < from_proc / worker.peak_bytes() < 20, (from_proc, memory.peak_bytes())
""")
