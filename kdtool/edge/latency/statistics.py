"""Medians, percentiles, intervals and noise of timed runs.

Successive runs are not independent: the processor's clock and other programs change within
seconds, and a process stays faster or slower for its whole life because of its memory layout.
Intervals from single runs were 3 to 8 times too narrow. So the bootstrap resamples whole rounds,
each a fresh process.
"""

from statistics import NormalDist, median

import numpy as np
from numpy.typing import NDArray

from kdtool.results.base import Interval

Blocks = list[NDArray[np.float64]]  # run times in ms, `(num_runs,)` for each block
Rounds = list[Blocks]  # the blocks of each process

NUM_RESAMPLES = 2000
NUM_GRID = 2000  # candidates for a resampled median
# Runs that a percentile needs. Source: early stopping of MLPerf Inference.
LEAST_RUNS = {90: 64, 95: 130, 99: 662}
# Limits of a quiet machine, chosen from tests with and without a busy neighbour.
MAX_SPREAD = 0.10  # of the medians of the blocks of a process, relative
MAX_DRIFT = 0.05  # between the halves of the measurement, relative
MAX_OTHER_CORES = 0.1
MIN_OWN_CORES = 0.9  # of one thread


def percentile_ms(runs_ms: NDArray[np.float64], percent: int) -> float | None:
    """Return a high percentile over all runs, or None if the runs are too few.

    Args:
        runs_ms: `(num_runs,)`.
        percent: Key of `LEAST_RUNS`.
    """
    enough = len(runs_ms) >= LEAST_RUNS[percent]
    return float(np.percentile(runs_ms, percent)) if enough else None


def median_interval(rounds: Rounds) -> Interval:
    """Return the 95 % interval of the median over all runs."""
    pooled = [np.sort(np.concatenate(blocks)) for blocks in rounds]
    picks = _resampled_rounds(len(rounds))  # (R, num_rounds)
    runs = np.sort(np.concatenate(pooled))
    # Every run is a candidate up to NUM_GRID runs; beyond, a finer grid would change nothing.
    places = np.linspace(0, len(runs) - 1, min(len(runs), NUM_GRID)).astype(int)
    grid = runs[places]  # (G,)
    below = np.stack([np.searchsorted(one, grid, side="right") for one in pooled])
    num_runs = picks @ np.array([len(one) for one in pooled])  # (R,)
    reached = 2 * (picks @ below) >= num_runs[:, None]  # (R, G)
    return _expanded_interval(grid[np.argmax(reached, axis=1)], len(rounds))


def ratio_of_rounds(of: Rounds, against: Rounds) -> tuple[float, Interval]:
    """Compare two models that were timed in turn, block by block.

    Args:
        of: Rounds of one model.
        against: Rounds of the other; each block was timed next to the same block of the first.

    Returns:
        Geometric mean of the ratios of the medians of the blocks, below 1 if `of` is faster, and
        its 95 % interval. What slows both models for a while cancels out.
    """
    log_ratios = np.array(
        [
            np.mean([np.log(np.median(a) / np.median(b)) for a, b in zip(*pair, strict=True)])
            for pair in zip(of, against, strict=True)
        ]
    )
    picks = _resampled_rounds(len(log_ratios))
    resampled = np.exp(picks @ log_ratios / len(log_ratios))
    return float(np.exp(log_ratios.mean())), _expanded_interval(resampled, len(log_ratios))


def noise_note(
    rounds: Rounds, *, threads: int, cores: int, own_cores: float, other_cores: float | None
) -> str | None:
    """Return the reasons not to trust the figures, as text; None if there are none.

    Args:
        rounds: Of one model.
        threads: Threads of the model.
        cores: Available cores.
        own_cores: Cores that the model used.
        other_cores: Cores that other processes used meanwhile; None: unknown.
    """
    notes = []
    if threads > cores:
        notes.append(f"{threads} threads shared {cores} core{'s' * (cores > 1)}")
    elif threads == 1 and own_cores < MIN_OWN_CORES:  # further threads wait now and then
        notes.append(f"it got a core for {100 * own_cores:.0f} % of the time only")
    if other_cores is not None and other_cores > MAX_OTHER_CORES:
        notes.append(f"other processes kept {other_cores:.1f} cores busy")
    medians = [[float(np.median(block)) for block in blocks] for blocks in rounds]
    spread = median((max(own) - min(own)) / median(own) for own in medians)
    if spread > MAX_SPREAD:
        notes.append(f"the median changed by {100 * spread:.0f} % between blocks of runs")
    return " and ".join([*notes, *_drift([median(own) for own in medians])]) or None


def _drift(levels: list[float]) -> list[str]:
    """Return a note if a model became slower or faster, by more than single rounds vary."""
    half = len(levels) // 2
    first, second = levels[:half], levels[-half:]
    if not half or not (max(first) < min(second) or max(second) < min(first)):
        return []
    change = median(second) / median(first) - 1
    direction = "slower" if change > 0 else "faster"
    if abs(change) <= MAX_DRIFT:
        return []
    return [f"it was {100 * abs(change):.0f} % {direction} in the second half"]


def _resampled_rounds(num_rounds: int) -> NDArray[np.int64]:
    """Return the count of each round in each resample, `(R, num_rounds)`; always the same."""
    share = np.full(num_rounds, 1 / num_rounds)
    return np.random.default_rng(0).multinomial(num_rounds, share, size=NUM_RESAMPLES)


def _expanded_interval(resampled: NDArray[np.float64], num_rounds: int) -> Interval:
    """Return the percentile interval of the bootstrap, widened for the small number of rounds.

    With 10 rounds the plain interval covers 90 % instead of 95 %.

    Source: expanded percentile interval, Hesterberg 2015, arXiv:1411.5279, section 4.2.
    """
    df = num_rounds - 1
    tail = NormalDist().cdf(-t_quantile(df) * (num_rounds / df) ** 0.5)
    lower, upper = np.quantile(resampled, [tail, 1 - tail])
    return float(lower), float(upper)


def t_quantile(df: float) -> float:
    """Return the 97.5 % quantile of Student's t, within 1 % from 3 degrees of freedom on.

    Source: Abramowitz and Stegun, 26.7.5.
    """
    z = NormalDist().inv_cdf(0.975)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / df**power for power, term in enumerate(terms, start=1))
