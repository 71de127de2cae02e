"""How often a verdict is wrong: simulated studies of equal and of unequal methods.

    uv run python tests/benchmarks/false_verdicts.py

A simulated model is right on an image if the image's margin, plus what this seed adds on all
images, plus what this seed adds on this image, is above 0. Accuracy is about 95 % and the seeds of
one method differ by about 0.4 points (standard deviation).
"""

import argparse
from itertools import combinations

import numpy as np

from kdtool.stats.intervals import LEVEL, difference_interval_and_p, holm, paired_interval_and_p

SEED_SHIFT = 0.06  # standard deviation, in units of the margin
GAIN_SHIFT = 0.21  # about 1.5 points of accuracy


def runs(rng, margins, num_seeds, gain=0.0):
    """Return whether each seed's model is right on each image, `(S, N)`."""
    shift = gain + rng.normal(0, SEED_SHIFT, (num_seeds, 1))
    return margins + shift + rng.normal(0, 0.6, (num_seeds, len(margins))) > 0


def p_of(one, other, rng):
    if len(one) == 1:
        return paired_interval_and_p(one[0], other[0])[1]
    return difference_interval_and_p(one.astype(float) - other, rng)[1]


def equal_methods(rng, num_seeds, num_images):
    """Return the p value of one comparison, and the smallest of three corrected by Holm."""
    margins = rng.normal(2.4, 1.3, num_images)
    methods = [runs(rng, margins, num_seeds) for _ in range(3)]
    p_values = [p_of(one, other, rng) for one, other in combinations(methods, 2)]
    return p_values[0], min(holm(p_values))


def better_method(rng, num_seeds, num_images):
    """Return the p value of a better method against a worse one, and its gain in accuracy."""
    margins = rng.normal(2.4, 1.3, num_images)
    better, worse = (runs(rng, margins, num_seeds, gain) for gain in (GAIN_SHIFT, 0.0))
    return p_of(better, worse, rng), better.mean() - worse.mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=400, help="simulated studies of each kind")
    args = parser.parse_args()
    print(f"share of {args.trials:,} studies with p < 0.05, in percent")
    print("seeds  images   equal: one  equal: any of three   better by: points   found")
    for num_seeds, num_images in ((1, 1000), (2, 1000), (3, 1000), (5, 1000)):
        rng = np.random.default_rng(num_seeds)
        setting = rng, num_seeds, num_images
        equal = np.array([equal_methods(*setting) for _ in range(args.trials)]) < LEVEL
        p_values, gains = zip(*(better_method(*setting) for _ in range(args.trials)), strict=True)
        found = np.mean(np.array(p_values) < LEVEL)
        print(
            f"{num_seeds:5}  {num_images:6,}  {100 * equal[:, 0].mean():11.1f}  "
            f"{100 * equal[:, 1].mean():19.1f}  {100 * np.mean(gains):18.2f}  {100 * found:6.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
