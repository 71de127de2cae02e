"""Numbers, units, and the names of metrics and models as text.

The only place where a number becomes text that a person reads: the report, the terminal and the
README of a kit show an equal quantity in equal digits.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from unicodedata import category

from kdtool.results.base import ROLES, Interval, Metric, Role, Summary

if TYPE_CHECKING:  # an error message needs this module, and no records, which take 0.1 s
    from kdtool.results.evidence import SweepPoint
    from kdtool.results.study import Results, TestScores

TIMES = "\N{MULTIPLICATION SIGN}"
MINUS = "\N{MINUS SIGN}"
NBSP = "\N{NO-BREAK SPACE}"  # keeps a number and its unit on one line

# Categories of Unicode: controls, formats such as the direction of writing, separators of lines
UNSEEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what a cell begins with that Excel computes

# Ratios below this are shown as "same": two decimals would show 1.00.
SAME = 1.005


def percent(share: float) -> str:
    """Return a share in [0, 1] as percent, such as "98.68 %"."""
    return f"{100 * share:.2f}{NBSP}%"


def whole_percent(share: float) -> str:
    """Return a share in [0, 1] as whole percent, such as "54 %"."""
    return f"{100 * share:.0f}{NBSP}%"


def percent_number(share: float, digits: int = 1) -> str:
    """Return a share in [0, 1] in percent, but without the sign, for tables: "98.7"."""
    return f"{100 * share:.{digits}f}"


def percent_range(interval: Interval) -> str:
    """Return an interval of shares in percent, but without the sign, such as "98.52 to 98.83"."""
    low, high = interval
    return f"{100 * low:.2f} to {100 * high:.2f}"


def decimals(score: float) -> str:
    """Return a score in [0, 1] in three decimals, for F1 and AUC, such as "0.828"."""
    return f"{score:.3f}"


def decimals_range(interval: Interval) -> str:
    """Return an interval of scores, such as "0.803 to 0.850"."""
    low, high = interval
    return f"{low:.3f} to {high:.3f}"


def signed(difference: float, digits: int) -> str:
    """Return a difference with its sign, such as "+0.012"; no sign where it rounds to zero."""
    text = f"{difference:+.{digits}f}"
    return text[1:] if not float(text) else text.replace("-", MINUS)


def signed_range(interval: Interval, digits: int) -> str:
    """Return an interval of differences; without signs if no end is negative."""
    low, high = interval
    if low >= 0:
        return f"{low:.{digits}f} to {high:.{digits}f}"
    return f"{signed(low, digits)} to {signed(high, digits)}"


def points(difference: float) -> str:
    """Return a difference of shares in signed percentage points, such as "+0.73"."""
    return signed(100 * difference, 2)


def points_range(interval: Interval) -> str:
    """Return an interval of differences in points; see `signed_range`."""
    low, high = interval
    return signed_range((100 * low, 100 * high), 2)


def count(number: int) -> str:
    """Return a whole number with separated thousands, such as "1,238,730"."""
    return f"{number:,}"


def plural(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 seed" or "3 seeds"."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def short_count(number: int) -> str:
    """Return a whole number in three digits and a prefix, such as "1.24 M"."""
    value, prefix = _scaled(number)
    return f"{three_digits(value)}{NBSP}{prefix}" if prefix else str(number)


def bounded(text: str, *, at_least: bool) -> str:
    """Return a count as text, with a sign if it is only a lower bound: "≥ 1.24 M"."""
    return f"≥{NBSP}{text}" if at_least else text


def _scaled(number: float) -> tuple[float, str]:
    """Return a number below 1,000 and the prefix that it is counted in; empty below 1,000."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * factor:  # what rounds to 1,000 is counted in the next prefix
            return number / factor, prefix
    return number, ""


def three_digits(value: float) -> str:
    """Return three significant digits without an exponent, such as "0.412", "12.3" or "1,234"."""
    if value >= 99.95:
        return f"{value:,.0f}"
    if value >= 9.995:
        return f"{value:.1f}"
    if value >= 0.9995 or value <= 0:
        return f"{value:.2f}"
    return f"{value:.{2 - math.floor(math.log10(value))}f}"


def file_size(num_bytes: int) -> str:
    """Return a size in decimal units, such as "4.96 MB"."""
    value, prefix = _scaled(num_bytes)
    return f"{three_digits(value)}{NBSP}{prefix}B" if prefix else f"{num_bytes}{NBSP}bytes"


def milliseconds(value: float) -> str:
    """Return a time in milliseconds, such as "0.142 ms"."""
    return f"{three_digits(value)}{NBSP}ms"


def duration(seconds: float) -> str:
    """Return a length of time, such as "2 min 14 s"."""
    if seconds < 59.95:
        return f"{three_digits(seconds)}{NBSP}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{NBSP}h {minutes}{NBSP}min" if hours else f"{minutes}{NBSP}min {rest}{NBSP}s"


def log_likelihood(nats: float) -> str:
    """Return a mean (negative) log-likelihood, such as "0.0523"."""
    return f"{nats:.4f}"


def effective_number(number: float) -> str:
    """Return how many subclasses are used effectively, such as "3.82"."""
    return f"{number:.2f}"


def temperature(value: float) -> str:
    """Return what divides the logits, such as "1.37"."""
    return f"{value:.2f}"


def two_digits(value: float) -> str:
    """Return two significant digits, below 0.001 with an exponent: "0.41", "3.1e-6"."""
    if value >= 9.95:
        return f"{value:,.0f}"
    if value >= 0.000995:
        return f"{value:.{1 - math.floor(math.log10(float(f'{value:.1e}')))}f}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if value else "0"


def p_value(p: float) -> str:
    """Return a p value as papers print it, such as "p = 0.012" or "p < 0.001"."""
    text = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return text.replace(" ", NBSP)


def probability(value: float) -> str:
    """Return a probability in at least two decimals, so many that it rounds neither to 0 nor 1."""
    digits = 2
    while digits < 6 and float(f"{value:.{digits}f}") in (0, 1) and 0 < value < 1:
        digits += 1
    return f"{value:.{digits}f}"


def agreement(correlation: float) -> str:
    """Return a correlation in [-1, 1], such as "0.47"; no sign where it rounds to zero."""
    return f"{correlation:z.2f}"


def time_ratio(ratio: float) -> str:
    """Return a time as a multiple of another, such as "0.62x", with the sign for times."""
    return f"{ratio:.2f}{TIMES}"


def time_ratio_range(interval: Interval) -> str:
    """Return an interval of such multiples, such as "0.60 to 0.64"."""
    low, high = interval
    return f"{low:.2f} to {high:.2f}"


def milliseconds_range(interval: Interval) -> str:
    """Return an interval of times in milliseconds, but without the unit: "0.404 to 0.424"."""
    low, high = interval
    return f"{three_digits(low)} to {three_digits(high)}"


def keyboard_text(text: str) -> str:
    """Return text in signs that every keyboard and terminal has, names in it apart."""
    return text.translate(_KEYBOARD_SIGNS)


_KEYBOARD_SIGNS = str.maketrans({TIMES: "x", MINUS: "-", NBSP: " ", "≥": ">="})


@dataclass(frozen=True, kw_only=True, slots=True)
class Relative:
    """A cost as a multiple of another, such as the teacher's."""

    times: str  # such as "8.8x", with the sign for times; empty: the same
    word: str  # such as "fewer"; "same" if `times` is empty
    worse: bool

    @property
    def text(self) -> str:
        """Such as "8.8x fewer"."""
        return f"{self.times} {self.word}".strip()


def relative(value: float, reference: float, better: str, worse: str) -> Relative | None:
    """Compare a cost, of which less is better, with a reference; None if either is not positive."""
    if value <= 0 or reference <= 0:
        return None
    ratio = max(value / reference, reference / value)
    if ratio < SAME:
        return Relative(times="", word="same", worse=False)
    digits = 2 if ratio < 1.995 else 1 if ratio < 99.95 else 0
    is_worse = value > reference
    word = worse if is_worse else better
    return Relative(times=f"{ratio:,.{digits}f}{TIMES}", word=word, worse=is_worse)


METRIC_NAMES: dict[Metric, str] = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "weighted_f1": "weighted F1",
    "macro_f1": "macro F1",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
}
METRIC_NOTES: dict[Metric, str] = {
    "accuracy": "share of the test images classified correctly",
    "balanced_accuracy": "mean of the classes' accuracies",
    "weighted_f1": "balances misses and false alarms of every class",
    "macro_f1": "like weighted F1, but every class counts the same",
    "roc_auc": "chance that an image of the class scores higher than another image",
    "pr_auc": "average precision over all thresholds",
}
SCORE_DIGITS = 3  # of F1 and AUC


def in_percent(metric: Metric) -> bool:
    """Return whether a metric is shown in percent, and its differences in points."""
    return metric in ("accuracy", "balanced_accuracy")


def score_scale(metric: Metric) -> int:
    """Return the factor between a score in [0, 1] and the units of a figure's axis."""
    return 100 if in_percent(metric) else 1


def metric_title(metric: Metric) -> str:
    """Return the name with a capital, such as "Weighted F1"."""
    name = METRIC_NAMES[metric]
    return name[0].upper() + name[1:]


def score_text(metric: Metric, score: float) -> str:
    """Return a score in [0, 1], such as "98.68 %" or "0.828"."""
    return percent(score) if in_percent(metric) else decimals(score)


def score_with_name(metric: Metric, score: float) -> str:
    """Return a score with the metric's name, such as "0.828 weighted F1"; accuracy without."""
    return (
        score_text(metric, score)
        if metric == "accuracy"
        else f"{score_text(metric, score)} {METRIC_NAMES[metric]}"
    )


def score_range(metric: Metric, ends: Interval) -> str:
    """Return an interval of scores, such as "98.52 to 98.83" or "0.803 to 0.850"."""
    return percent_range(ends) if in_percent(metric) else decimals_range(ends)


def score_change(metric: Metric, difference: float) -> str:
    """Return a signed difference of scores, in points such as "+0.73", or as "+0.012"."""
    return points(difference) if in_percent(metric) else signed(difference, SCORE_DIGITS)


def score_change_range(metric: Metric, ends: Interval) -> str:
    """Return an interval of differences of scores; see `signed_range`."""
    return points_range(ends) if in_percent(metric) else signed_range(ends, SCORE_DIGITS)


def score_change_size(metric: Metric, difference: float) -> str:
    """Return the size of a difference, without its sign: "0.73 points" or "0.012"."""
    text = score_change(metric, abs(difference)).lstrip("+")
    return f"{text} points" if in_percent(metric) else text


def test_score(test: TestScores, metric: Metric) -> float | None:
    """Return the score of one training run; None in results of a kdtool that did not take it."""
    score: float | None = getattr(test, metric)
    return score


def validation_summary(point: SweepPoint) -> Summary:
    """Return the study's metric on validation, which chooses the setting."""
    return point.validation_score or point.validation_accuracy


def test_summary(point: SweepPoint) -> Summary:
    """Return the study's metric on test."""
    return point.test_score or point.test_accuracy


MAC_LINE = "1 MAC = 1 multiply + 1 add; FLOPs = 2 \N{MULTIPLICATION SIGN} MACs."
INTERVAL_LINE = (
    "A 95 % interval is the range in which the true value plausibly lies, given the number of "
    "images and seeds that it was measured on."
)


def printable(name: str) -> str:
    """Return any text on one line and without control characters."""
    one_line = " ".join(name.split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in one_line)


def visible(text: str) -> str:
    """Return text in which no character controls a terminal or changes the order of the others.

    Such characters are written with a backslash and their number; line breaks and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(
        repr(c)[1:-1] if category(c) in UNSEEN and c not in "\n\t\u200c\u200d" else c for c in text
    )


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV (RFC 4180) in which no text is a formula or controls a terminal.

    A spreadsheet computes a cell that begins with `=`, `+`, `-` or `@`; such a text gets a single
    quote in front. Numbers stay as they are.
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows([_cell(one) for one in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str) or re.fullmatch(r"[+-]?\d+([.,]\d+)?", value):
        return value
    return visible(f"'{value}" if value.startswith(FORMULA) else value)


def listed(items: Sequence[str]) -> str:
    """Join items as in "a, b and c"; at least one."""
    *rest, last = items
    return f"{', '.join(rest)} and {last}" if rest else last


def role_name(role: Role) -> str:
    """Return the name of a role in a sentence, such as "subclass student"."""
    return role.replace("-", " ")


def roles_present(results: Results) -> list[Role]:
    """Return the roles of the study's models, in the order in which they are shown."""
    return [role for role in ROLES if role in results.models]


def channels(number: int) -> str:
    """Return the name of a number of channels, such as "grey" for 1."""
    return {1: "grey", 3: "colour"}.get(number, f"{number} channels")
