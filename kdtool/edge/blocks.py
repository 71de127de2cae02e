"""What blocks of timed runs say, and how far it can be trusted.

Successive runs are not independent: the processor's clock and its other users change within
seconds. Intervals from single runs were 3 to 8 times too narrow, so whole blocks are resampled.
"""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from kdtool.record import Interval

Blocks = list[NDArray[np.float64]]  # run times in ms, `(num_runs,)` a block

NUM_RESAMPLES = 2000
NUM_GRID = 2000  # candidates for a resampled median
# Runs from which a percentile is known well enough. Source: MLPerf's early stopping.
LEAST_RUNS = {90: 64, 99: 662}
# What a quiet machine stays below; chosen by hand, from tests with and without a busy neighbour.
MAX_SPREAD = 0.10  # of block medians, relative
MAX_OTHER_CORES = 0.1


def percentile_ms(runs_ms: NDArray[np.float64], percent: int) -> float | None:
    """Return a high percentile over all runs, or None where they are too few to tell.

    Args:
        runs_ms: `(num_runs,)`.
        percent: Key of `LEAST_RUNS`.
    """
    enough = len(runs_ms) >= LEAST_RUNS[percent]
    return float(np.percentile(runs_ms, percent)) if enough else None


def median_interval(blocks: Blocks, seed: int = 0) -> Interval:
    """Return the 95 % interval of the median over all runs."""
    picks = _resampled_blocks(len(blocks), seed)  # (R, num_blocks)
    pooled = np.sort(np.concatenate(blocks))
    # Every run is a candidate up to NUM_GRID runs; beyond, a finer grid would change nothing.
    places = np.linspace(0, len(pooled) - 1, min(len(pooled), NUM_GRID)).astype(int)
    grid = pooled[places]  # (G,)
    below = np.stack([np.searchsorted(np.sort(b), grid, side="right") for b in blocks])
    num_runs = picks @ np.array([len(b) for b in blocks])  # (R,)
    reached = 2 * (picks @ below) >= num_runs[:, None]  # (R, G)
    return _expanded_interval(grid[np.argmax(reached, axis=1)], len(blocks))


def ratio_to_baseline(blocks: Blocks, baseline: Blocks, seed: int = 0) -> tuple[float, Interval]:
    """Compare two models that were timed in turn, block by block.

    Args:
        blocks: Of one model.
        baseline: Of the other; block i was timed right before or after block i of the first.
        seed: Of the resampling.

    Returns:
        Geometric mean over the blocks of the ratio of their medians, below 1 where the model is
        faster than the baseline, and its 95 % interval. What slows both for a while cancels out.
    """
    medians, baselines = ([np.median(block) for block in side] for side in (blocks, baseline))
    log_ratios = np.log(np.divide(medians, baselines))
    picks = _resampled_blocks(len(blocks), seed)
    resampled = np.exp(picks @ log_ratios / len(blocks))
    return float(np.exp(log_ratios.mean())), _expanded_interval(resampled, len(blocks))


def noise_note(blocks: Blocks, other_cores: float | None) -> str | None:
    """Say in words why the figures should not be trusted; None if the machine was quiet.

    Args:
        blocks: Of one model.
        other_cores: Cores that other processes kept busy meanwhile; None if unknown.
    """
    medians = [float(np.median(block)) for block in blocks]
    spread = (max(medians) - min(medians)) / float(np.median(medians))
    notes = []
    if spread > MAX_SPREAD:
        notes.append(f"the median changed by {100 * spread:.0f} % between blocks of runs")
    if other_cores is not None and other_cores > MAX_OTHER_CORES:
        notes.append(f"other processes kept {other_cores:.1f} cores busy")
    return " and ".join(notes) or None


def _resampled_blocks(num_blocks: int, seed: int) -> NDArray[np.int64]:
    """How often each resample holds each block, `(R, num_blocks)`; the same for equal seeds."""
    share = np.full(num_blocks, 1 / num_blocks)
    return np.random.default_rng(seed).multinomial(num_blocks, share, size=NUM_RESAMPLES)


def _expanded_interval(resampled: NDArray[np.float64], num_blocks: int) -> Interval:
    """Return the bootstrap's percentile interval, widened for the small number of blocks.

    With 10 blocks the plain interval covers 90 % instead of 95 %.

    Source: expanded percentile interval, Hesterberg 2015, arXiv:1411.5279, section 4.2; quantile
    of Student's t by Abramowitz and Stegun, 26.7.5.
    """
    z = NormalDist().inv_cdf(0.975)
    df = num_blocks - 1
    t = z + (z**3 + z) / (4 * df) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)
    tail = NormalDist().cdf(-t * (num_blocks / df) ** 0.5)
    lower, upper = np.quantile(resampled, [tail, 1 - tail])
    return float(lower), float(upper)
