"""When one model counts as faster than another: the only rule, for gate, tables and sentences.

A ratio of times is the time of a model divided by that of its reference, so below 1 is faster. It
is known to about 1 %: copies of one file, timed in turn, were up to 0.5 % apart, with intervals
that excluded 1, for minutes at a time. So a model is called faster, or slower, only if the whole
95 % interval of the ratio is more than 1 % away from 1.
"""

from typing import Literal

from kdtool.results.base import Interval

RESOLUTION = 0.01  # of a ratio of times; measured by tests/benchmarks/same_file.py

Speed = Literal["faster", "slower", "no measurable difference"]


def speed_of(ratio_ci95: Interval) -> Speed:
    """Return whether a model is faster or slower than its reference, or neither.

    Args:
        ratio_ci95: 95 % interval of time of the model / time of its reference.
    """
    low, high = ratio_ci95
    if high < 1 - RESOLUTION:
        return "faster"
    return "slower" if low > 1 + RESOLUTION else "no measurable difference"


def is_faster(ratio_ci95: Interval) -> bool:
    """Return whether a model is measurably faster than its reference; see `speed_of`."""
    return speed_of(ratio_ci95) == "faster"


def speed_phrase(ratio: float, ratio_ci95: Interval) -> str:
    """Return the comparison in words, such as "2.09 times faster".

    Args:
        ratio: Time of a model / time of its reference.
        ratio_ci95: Its 95 % interval.
    """
    speed = speed_of(ratio_ci95)
    if speed == "no measurable difference":
        return speed
    return f"{1 / ratio if speed == 'faster' else ratio:.2f} times {speed}"


def ratio_interval(of_ci95: Interval, against_ci95: Interval) -> Interval:
    """Return an interval of the ratio of two times that were not compared in turn.

    It holds the ratio wherever the two intervals hold their times, so it is wider than that of
    `kdtool.edge.latency.statistics.ratio_of_rounds`, where what slows both models cancels out.

    Args:
        of_ci95: Of the time of a model, above 0.
        against_ci95: Of the time of its reference, in the same unit.
    """
    return of_ci95[0] / against_ci95[1], of_ci95[1] / against_ci95[0]
