"""Time models in turn and summarize each as a `Latency`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import median

import numpy as np
import onnx
from onnx import TensorProto, helper

from kdtool.edge.latency.driver import ModelRound, Worker, run_rounds, started_workers
from kdtool.edge.latency.job import Job
from kdtool.edge.latency.statistics import (
    Rounds,
    median_interval,
    noise_note,
    percentile_ms,
    ratio_of_rounds,
)
from kdtool.edge.model_file import check_file
from kdtool.environment import cores
from kdtool.errors import KdtoolError
from kdtool.files import scratch_folder
from kdtool.results.base import Interval
from kdtool.results.profile import Latency, MatrixRate


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """The latency of a model, and the times of all its runs."""

    latency: Latency
    rounds: Rounds


def measure(
    paths: Sequence[Path],
    *,
    threads: int = 1,
    batch_size: int = 1,
    seconds: float = 3.0,
    provider: str = "cpu",
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> list[Measurement]:
    """Time models on random images in ONNX Runtime, in turn, a block of runs each.

    Models in turn: what slows the machine for a while then slows all of them alike. No run is
    dropped.

    Args:
        paths: ONNX files, at least one.
        threads: Threads of each model, at least 1.
        batch_size: Images per run.
        seconds: Measuring time for each model, without loading and warm-up.
        provider: Of ONNX Runtime, as in `open_session`.
        shapes: Of inputs with dynamic dimensions, see `input_shapes`.

    Raises:
        KdtoolError: A model cannot be loaded or run as asked, or a process died.
    """
    jobs = [
        Job(
            path=str(path),
            threads=threads,
            batch_size=batch_size,
            provider=provider,
            shapes=dict(shapes or {}),
        )
        for path in paths
    ]
    for path in paths:
        check_file(path)
    with started_workers(len(jobs)) as workers:
        return measure_jobs(workers, jobs, seconds)


def measure_jobs(
    workers: Sequence[Worker], jobs: Sequence[Job], seconds: float
) -> list[Measurement]:
    """Time models in turn, each in a worker of its own.

    Args:
        workers: At least as many as jobs.
        jobs: At least one.
        seconds: Measuring time for each model.

    Raises:
        KdtoolError: A model cannot be loaded or run as asked, or a worker died.
    """
    if not (seconds > 0 and isfinite(seconds)):
        raise KdtoolError(f"seconds is {seconds}; it must be a positive number")
    for job in jobs:
        for name, value in (("threads", job.threads), ("batch_size", job.batch_size)):
            if value < 1:
                raise KdtoolError(f"{name} is {value}; it must be at least 1")
    rounds, other_cores = run_rounds(workers, jobs, seconds)
    return [
        Measurement(latency=_latency(job, own, other_cores), rounds=[one.blocks for one in own])
        for job, own in zip(jobs, rounds, strict=True)
    ]


def ratio_of(of: Measurement, against: Measurement) -> tuple[float, Interval]:
    """Return time of one model / time of another, and its 95 % interval.

    Args:
        of: The numerator.
        against: The denominator, from the same call of `measure`, so that both were timed in turn.
    """
    return ratio_of_rounds(of.rounds, against.rounds)


def _latency(job: Job, rounds: Sequence[ModelRound], other_cores: float | None) -> Latency:
    blocks = [one.blocks for one in rounds]
    all_ms = np.concatenate([block for own in blocks for block in own])
    mean_ms = float(all_ms.mean())
    peaks = [one.peak_memory_bytes for one in rounds if one.peak_memory_bytes is not None]
    return Latency(
        runtime=job.runtime,
        arithmetic=rounds[0].arithmetic,
        threads=job.threads,
        provider=rounds[0].provider,
        provider_share=rounds[0].provider_share,
        batch_size=job.batch_size,
        num_runs=len(all_ms),
        p50_ms=float(np.median(all_ms)),
        p50_ci95_ms=median_interval(blocks),
        p90_ms=percentile_ms(all_ms, 90),
        p95_ms=percentile_ms(all_ms, 95),
        p99_ms=percentile_ms(all_ms, 99),
        min_ms=float(all_ms.min()),
        mean_ms=mean_ms,
        images_per_second=1000 * job.batch_size / mean_ms,
        load_ms=median(one.load_ms for one in rounds),
        first_run_ms=median(one.first_run_ms for one in rounds),
        peak_memory_bytes=max(peaks, default=None),
        runtime_memory_bytes=rounds[0].runtime_memory_bytes,
        other_cores=other_cores,
        noise=noise_note(
            blocks,
            threads=job.threads,
            cores=cores(),
            own_cores=sum(one.cpu_seconds for one in rounds) / (float(all_ms.sum()) / 1e3),
            other_cores=other_cores,
        ),
    )


SIDE = 384  # of square matrices; 256 to 512 gave equal rates, larger ones exceed the cache
SECONDS = 0.3
WARM_UP = (10, 0.1)  # runs, seconds


def matrix_rate(workers: Sequence[Worker], threads: int) -> MatrixRate:
    """Measure the speed of float32 matrix products in ONNX Runtime, on the CPU.

    Args:
        workers: At least one; the first is used.
        threads: Threads that share a product, at least 1.

    Raises:
        KdtoolError: The worker died.
    """
    with scratch_folder() as folder:
        path = folder / "matmul.onnx"
        onnx.save(_product(), path)
        job = Job(path=str(path), threads=threads, batch_size=SIDE)
        ((only,),), _ = run_rounds(workers, [job], SECONDS, num_rounds=1, first_warm_up=WARM_UP)
    best_ms = min(float(np.median(block)) for block in only.blocks)
    return MatrixRate(threads=threads, gflop_per_second=2 * SIDE**3 / best_ms / 1e6)


def _product() -> onnx.ModelProto:
    weight = helper.make_node(
        "ConstantOfShape",  # keeps the file small; constant-folded at load
        ["shape"],
        ["weight"],
        value=helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
    )
    graph = helper.make_graph(
        [weight, helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "matmul",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", SIDE])],
        [helper.make_tensor("shape", TensorProto.INT64, [2], [SIDE, SIDE])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
