"""How often a verdict is wrong: simulated studies of equal and of unequal methods.

    uv run python tests/benchmarks/false_verdicts.py

A simulated model is right on an image if the image's margin, plus what this seed adds on all
images, plus what this seed adds on this image, is above 0. Accuracy is about 95 % and the seeds of
one method differ by about 0.4 points (standard deviation).
"""

import argparse

import numpy as np

from kdtool.stats.intervals import LEVEL, holm, interval_and_p, paired_interval_and_p

SEED_SHIFT = 0.06  # standard deviation, in units of the margin
GAIN_SHIFT = 0.21  # about 1.5 points of accuracy


def runs(rng, margins, num_seeds, gain=0.0):
    """Return whether each seed's model is right on each image, `(S, N)`."""
    shift = gain + rng.normal(0, SEED_SHIFT, (num_seeds, 1))
    return margins + shift + rng.normal(0, 0.6, (num_seeds, len(margins))) > 0


def p_of(one, other, rng):
    if len(one) == 1:
        return paired_interval_and_p(one[0], other[0])[1]
    return interval_and_p(one.astype(float) - other, rng)[1]


def study(rng, num_seeds, num_images, gain):
    """Return the p values of one comparison, and of three corrected by Holm, and the gain."""
    margins = rng.normal(2.4, 1.3, num_images)
    methods = [runs(rng, margins, num_seeds, shift) for shift in (gain, 0.0, gain / 2)]
    pairs = [(0, 1), (2, 1), (2, 0)]
    p_values = [p_of(methods[of], methods[against], rng) for of, against in pairs]
    return p_values[0], holm(p_values), methods[0].mean() - methods[1].mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=400, help="simulated studies of each kind")
    args = parser.parse_args()
    print(f"share of {args.trials:,} studies with p < 0.05, in percent")
    print("seeds  images   equal: one  equal: any of three   better by: points   found")
    for num_seeds, num_images in ((1, 1000), (2, 1000), (3, 1000), (5, 1000), (5, 10_000)):
        rng = np.random.default_rng(num_seeds)
        equal = [study(rng, num_seeds, num_images, 0.0) for _ in range(args.trials)]
        better = [study(rng, num_seeds, num_images, GAIN_SHIFT) for _ in range(args.trials)]
        one = np.mean([p < LEVEL for p, _, _ in equal])
        any_of_three = np.mean([min(p_values) < LEVEL for _, p_values, _ in equal])
        found = np.mean([p_values[0] < LEVEL for _, p_values, _ in better])
        gain = np.mean([gain for _, _, gain in better])
        print(
            f"{num_seeds:5}  {num_images:6,}  {100 * one:11.1f}  {100 * any_of_three:19.1f}  "
            f"{100 * gain:18.2f}  {100 * found:6.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
