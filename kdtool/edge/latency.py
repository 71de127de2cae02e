"""Latency of models in ONNX Runtime, side by side."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path

import numpy as np

from kdtool.edge.blocks import (
    Blocks,
    median_interval,
    noise_note,
    percentile_ms,
    ratio_to_baseline,
)
from kdtool.edge.model_file import check_file
from kdtool.edge.timing import Job, Runs
from kdtool.errors import KdtoolError
from kdtool.profiles import Latency
from kdtool.record import Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """How fast one of several models is."""

    latency: Latency
    ratio: float  # time of this model / time of the first model
    ratio_ci95: Interval


def measure(
    paths: Sequence[Path],
    threads: int = 1,
    seconds: float = 3.0,
    batch_size: int = 1,
    provider: str = "cpu",
) -> list[Measurement]:
    """Time models on random images, in one child process and in turn, a block of runs each.

    What slows the machine for a while so slows all of them alike. No run is dropped.

    Args:
        paths: ONNX files, at least one; all are compared with the first.
        threads: For each model, at least 1.
        seconds: Of measuring, for each model; loading and warming up come on top.
        batch_size: Images a run.
        provider: `cpu` or `cuda`.

    Raises:
        KdtoolError: A model cannot be loaded or run as asked, or the child process died.

    Source: single stream of MLPerf Inference, arXiv:1911.02549; blocks in turn are our own answer
    to drift, which made two equal files differ by 60 % when timed one after the other.
    """
    if not (seconds > 0 and isfinite(seconds)):
        raise KdtoolError(f"seconds is {seconds}; it must be a positive number")
    if batch_size < 1:
        raise KdtoolError(f"batch_size is {batch_size}; it must be at least 1")
    for path in paths:
        check_file(path)
    job = Job(
        paths=[str(path) for path in paths],
        threads=threads,
        seconds=seconds,
        batch_size=batch_size,
        provider=provider,
    )
    models, other_cores = _run_child(job)
    blocks = [[np.array(block) / 1e6 for block in runs.blocks_ns] for runs in models]
    measurements = []
    for runs, own_blocks in zip(models, blocks, strict=True):
        ratio, ratio_ci95 = ratio_to_baseline(own_blocks, blocks[0])
        latency = _latency(job, runs, own_blocks, other_cores)
        measurements.append(Measurement(latency=latency, ratio=ratio, ratio_ci95=ratio_ci95))
    return measurements


def _latency(job: Job, runs: Runs, blocks: Blocks, other_cores: float | None) -> Latency:
    all_ms = np.concatenate(blocks)
    return Latency(
        threads=job.threads,
        provider=job.provider,
        batch_size=job.batch_size,
        num_runs=len(all_ms),
        p50_ms=float(np.median(all_ms)),
        p50_ci95_ms=median_interval(blocks),
        p90_ms=percentile_ms(all_ms, 90),
        p99_ms=percentile_ms(all_ms, 99),
        min_ms=float(all_ms.min()),
        mean_ms=float(all_ms.mean()),
        load_ms=runs.load_ns / 1e6,
        first_run_ms=runs.first_run_ns / 1e6,
        noise=noise_note(blocks, other_cores),
    )


def _run_child(job: Job) -> tuple[list[Runs], float | None]:
    """Let `kdtool.edge.timing` do `job` in a process of its own."""
    # -P: a user's own numpy.py or onnx.py in the current folder must not be imported.
    done = subprocess.run(
        [sys.executable, "-P", "-m", "kdtool.edge.timing"],
        input=json.dumps(asdict(job)),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise KdtoolError(_obituary(done.returncode, done.stderr))
    answer = json.loads(done.stdout.splitlines()[-1])  # libraries may have written before it
    if "error" in answer:
        raise KdtoolError(answer["error"])
    return [Runs(**runs) for runs in answer["models"]], answer["other_cores"]


def _obituary(returncode: int, stderr: str) -> str:
    """Say how the child process died; below zero, the code is the signal that ended it."""
    if returncode == -9:
        how = "was killed, most likely for want of memory"
    elif returncode < 0:
        how = f"was ended by signal {-returncode}"
    else:
        how = f"ended with exit code {returncode}"
    last_lines = "\n".join(f"  {line}" for line in stderr.strip().splitlines()[-5:])
    return f"the process that times the models {how}; its last words:\n{last_lines or '  (none)'}"
