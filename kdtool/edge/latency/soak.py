"""Run a model for minutes: does its memory grow, does it get slower, does the machine throttle?"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdtool.edge.latency.driver import WARM_UP, started_workers
from kdtool.edge.latency.job import Job
from kdtool.edge.latency.statistics import t_quantile
from kdtool.results.profile import Soak, SoakPoint, Trend
from kdtool.stats.speed import speed_phrase

NUM_POINTS = 120  # at most; a shorter run has one for each second
SETTLING = 0.1  # share of the run that no trend is computed from: caches fill, clocks settle
LEAST_POINTS = 10  # of a trend
SYSTEM = Path("/sys")


def soak(name: str, job: Job, minutes: float, system: Path = SYSTEM) -> Soak:
    """Run a model without a pause and record its times and memory.

    Args:
        name: Of the model, in the report.
        job: The model with its setting.
        minutes: More than 0.
        system: Where Linux reports temperatures and clocks.

    Raises:
        KdtoolError: The model cannot be loaded or run as asked, or the process died.
    """
    seconds = 60 * minutes
    step = max(1.0, seconds / NUM_POINTS)
    points: list[SoakPoint] = []
    num_runs, throttled = 0, throttle_count(system)
    with started_workers(1) as (worker,):
        worker.open(job)
        worker.ask("warm up", *WARM_UP)
        started = time.monotonic()
        while (elapsed := time.monotonic() - started) < seconds:
            block = worker.ask("block", min(step, seconds - elapsed))
            runs_ms = np.array(block["runs_ns"]) / 1e6
            num_runs += len(runs_ms)
            points.append(
                SoakPoint(
                    seconds=time.monotonic() - started,
                    p50_ms=float(np.median(runs_ms)),
                    max_ms=float(runs_ms.max()),
                    memory_bytes=worker.ask("memory")["memory_bytes"],
                    temperature_c=max(
                        _numbers(system, "class/thermal/thermal_zone*/temp", 1e3), default=None
                    ),
                    clock_mhz=_mean(
                        _numbers(system, "devices/system/cpu/cpu*/cpufreq/scaling_cur_freq", 1e3)
                    ),
                )
            )
        worker.ask("close")
    times = np.array([point.seconds for point in points])
    memory = [point.memory_bytes for point in points if point.memory_bytes is not None]
    # the logarithm's trend over the whole run, as a ratio of its end to its start
    slower = _ratio(trend(times, np.log([point.p50_ms for point in points]), seconds))
    after = throttle_count(system)
    return Soak(
        name=name,
        minutes=minutes,
        num_runs=num_runs,
        memory_bytes_per_hour=trend(times, np.array(memory), 3600)
        if len(memory) == len(points)
        else None,
        slower_by=slower,
        verdict=speed_phrase(slower.value, slower.ci95) if slower else None,
        num_throttled=None if throttled is None or after is None else after - throttled,
        points=points,
    )


def trend(times: NDArray[np.float64], values: NDArray[np.floating], unit: float) -> Trend | None:
    """Return the slope of a series and its 95 % interval; None: too few points.

    Neighbours resemble each other, so the interval counts fewer points than there are: n (1 - r) /
    (1 + r) with the autocorrelation r of the residuals, as of an autoregressive series.

    Args:
        times: `(n,)` in seconds, rising. The first tenth of the time is left out.
        values: `(n,)`.
        unit: Seconds that the slope is for.

    Source: Santer et al. 2000, doi:10.1029/1999JD901105, section 4.
    """
    kept = times >= SETTLING * times[-1] if len(times) else np.zeros(0, bool)
    x, y = times[kept], values[kept].astype(np.float64)
    if len(x) < LEAST_POINTS:
        return None
    x, y = x - x.mean(), y - y.mean()
    spread = float(x @ x)
    slope = float(x @ y) / spread
    rest = y - slope * x
    total = float(rest @ rest)
    alike = float(rest[1:] @ rest[:-1]) / total if total else 0.0
    effective = len(x) * (1 - alike) / (1 + alike)
    effective = min(max(effective, LEAST_POINTS / 2), len(x))
    half = t_quantile(effective - 2) * (total / (effective - 2) / spread) ** 0.5
    return Trend(value=slope * unit, ci95=((slope - half) * unit, (slope + half) * unit))


def throttle_count(system: Path) -> int | None:
    """Return how often the cores were slowed because they were hot; None: unknown."""
    counts = [*_numbers(system, "devices/system/cpu/cpu*/thermal_throttle/core_throttle_count", 1)]
    return int(sum(counts)) if counts else None


def _ratio(found: Trend | None) -> Trend | None:
    if found is None:
        return None
    low, high = (float(np.exp(end)) for end in found.ci95)
    return Trend(value=float(np.exp(found.value)), ci95=(low, high))


def _numbers(system: Path, pattern: str, divisor: float) -> Iterator[float]:
    for path in system.glob(pattern):
        try:
            yield float(path.read_text(encoding="ascii")) / divisor
        except (OSError, ValueError):  # a sensor that is off
            continue


def _mean(numbers: Iterator[float]) -> float | None:
    values = [*numbers]
    return sum(values) / len(values) if values else None
