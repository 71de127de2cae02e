"""Quantities as a person reads them: percent, points, counts, bytes, milliseconds, ratios."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kdtool.results.base import ROLES, Interval, Metric, Role, Summary
from kdtool.results.evidence import SweepPoint
from kdtool.results.study import DataResult, Results, TestScores

TIMES = "\N{MULTIPLICATION SIGN}"
MINUS = "\N{MINUS SIGN}"
NBSP = "\N{NO-BREAK SPACE}"  # keeps a number and its unit on one line

# A ratio this near to 1 is no difference that a reader could use.
SAME = 1.005


def percent(share: float) -> str:
    """Return a share in [0, 1] as percent, such as "98.68 %"."""
    return f"{100 * share:.2f}{NBSP}%"


def rough_percent(share: float) -> str:
    """Return a share in [0, 1] as whole percent, such as "54 %"."""
    return f"{100 * share:.0f}{NBSP}%"


def tenths(share: float) -> str:
    """Return a share in [0, 1] as percent without the sign, for narrow tables, such as "98.7"."""
    return f"{100 * share:.1f}"


def percent_range(interval: Interval) -> str:
    """Return an interval of shares in percent, without the sign, such as "98.52 to 98.83"."""
    low, high = interval
    return f"{100 * low:.2f} to {100 * high:.2f}"


def decimals(score: float) -> str:
    """Return a score in [0, 1] as such, for those that are not told in percent: "0.828"."""
    return f"{score:.3f}"


def decimals_range(interval: Interval) -> str:
    """Return an interval of scores, such as "0.803 to 0.850"."""
    low, high = interval
    return f"{low:.3f} to {high:.3f}"


def signed(difference: float, digits: int) -> str:
    """Return a difference with its sign, such as "+0.012"; none where it rounds to zero."""
    text = f"{difference:+.{digits}f}"
    return text[1:] if not float(text) else text.replace("-", MINUS)


def signed_range(interval: Interval, digits: int) -> str:
    """Return an interval of differences; signed only where its ends differ in sign."""
    low, high = interval
    if low >= 0:
        return f"{low:.{digits}f} to {high:.{digits}f}"
    return f"{signed(low, digits)} to {signed(high, digits)}"


def points(difference: float) -> str:
    """Return a difference of shares in signed percentage points, such as "+0.73"."""
    return signed(100 * difference, 2)


def points_range(interval: Interval) -> str:
    """Return an interval of differences in points; signed only where its ends differ in sign."""
    low, high = interval
    return signed_range((100 * low, 100 * high), 2)


def count(number: int) -> str:
    """Return a whole number with thousands set apart."""
    return f"{number:,}"


def short_count(number: int) -> str:
    """Return a whole number in three digits and a prefix, such as "1.24 M"."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{three_digits(number / factor)}{NBSP}{prefix}"
    return str(number)


def three_digits(value: float) -> str:
    """Return three significant digits, or all digits before the point."""
    if value >= 99.95:
        return f"{value:,.0f}"
    if value >= 9.995:
        return f"{value:.1f}"
    if value >= 0.9995 or value <= 0:
        return f"{value:.2f}"
    return f"{value:.{2 - math.floor(math.log10(value))}f}"


def file_size(num_bytes: int) -> str:
    """Return a size in decimal units, such as "4.96 MB"."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if num_bytes >= factor:
            return f"{three_digits(num_bytes / factor)}{NBSP}{unit}"
    return f"{num_bytes}{NBSP}bytes"


def milliseconds(value: float) -> str:
    """Return a time in milliseconds, such as "0.142 ms"."""
    return f"{three_digits(value)}{NBSP}ms"


def duration(seconds: float) -> str:
    """Return a length of time, such as "2 min 14 s"."""
    if seconds < 60:
        return f"{three_digits(seconds)}{NBSP}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{NBSP}h {minutes}{NBSP}min" if hours else f"{minutes}{NBSP}min {rest}{NBSP}s"


def small(value: float) -> str:
    """Return a tiny number in two digits, such as "3.1e-6"."""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if value else "0"


def p_value(p: float) -> str:
    """Return a p value the way papers print it."""
    text = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return text.replace(" ", NBSP)


@dataclass(frozen=True, kw_only=True, slots=True)
class Relative:
    """A cost as a multiple of the teacher's."""

    times: str  # such as "8.8x", with the sign for times; empty: the same
    word: str  # such as "fewer"
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
    "accuracy": "share of the test images recognized",
    "balanced_accuracy": "mean of the classes' accuracies",
    "weighted_f1": "balances misses and false alarms of every class",
    "macro_f1": "as weighted F1, but every class counts alike",
    "roc_auc": "chance that an image of a class outranks one of another",
    "pr_auc": "average precision over all thresholds",
}
SCORE_DIGITS = 3  # of F1 and AUC


def in_percent(metric: Metric) -> bool:
    """Return whether a metric is told in percent and its differences in points."""
    return metric in ("accuracy", "balanced_accuracy")


def score_scale(metric: Metric) -> int:
    """Return by what a score in [0, 1] is multiplied in figures."""
    return 100 if in_percent(metric) else 1


def metric_title(metric: Metric) -> str:
    """Return the name as a line begins with it, such as "Weighted F1"."""
    name = METRIC_NAMES[metric]
    return name[0].upper() + name[1:]


def score_text(metric: Metric, score: float) -> str:
    """Return a score in [0, 1], such as "98.68 %" or "0.828"."""
    return percent(score) if in_percent(metric) else decimals(score)


def score_with_name(metric: Metric, score: float) -> str:
    """Return a score with its name, which accuracy does without: "0.828 weighted F1"."""
    return (
        score_text(metric, score)
        if metric == "accuracy"
        else f"{score_text(metric, score)} {METRIC_NAMES[metric]}"
    )


def score_interval(metric: Metric, ends: Interval) -> str:
    """Return an interval of scores, such as "98.52 to 98.83" or "0.803 to 0.850"."""
    return percent_range(ends) if in_percent(metric) else decimals_range(ends)


def score_change(metric: Metric, difference: float) -> str:
    """Return a signed difference of scores, in points such as "+0.73", or as "+0.012"."""
    return points(difference) if in_percent(metric) else signed(difference, SCORE_DIGITS)


def score_change_range(metric: Metric, ends: Interval) -> str:
    """Return an interval of differences; signed only where its ends differ in sign."""
    return points_range(ends) if in_percent(metric) else signed_range(ends, SCORE_DIGITS)


def score_change_size(metric: Metric, difference: float) -> str:
    """Return how large a difference is, such as "0.73 points" or "0.012"."""
    text = score_change(metric, abs(difference)).lstrip("+")
    return f"{text} points" if in_percent(metric) else text


def test_score(test: TestScores, metric: Metric) -> float | None:
    """Return a score of one run of training; None where an older kdtool did not take it."""
    found: float | None = getattr(test, metric)
    return found


def validation_summary(point: SweepPoint) -> Summary:
    """Return the study's metric on validation, by which a setting is chosen."""
    return point.validation_score or point.validation_accuracy


def test_summary(point: SweepPoint) -> Summary:
    """Return the study's metric on test."""
    return point.test_score or point.test_accuracy


MAC_LINE = "1 MAC = 1 multiply + 1 add; FLOPs = 2 \N{MULTIPLICATION SIGN} MACs."
INTERVAL_LINE = (
    "A 95 % interval is the range in which the true value plausibly lies, given how few images "
    "and seeds it was measured on."
)


def printable(name: str) -> str:
    """Return a name on one line and without control characters; it may be anything at all."""
    one_line = " ".join(name.split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in one_line)


def listed(items: Sequence[str]) -> str:
    """Join as "a, b and c"."""
    *rest, last = items
    return f"{', '.join(rest)} and {last}" if rest else last


def num_seeds(seeds: Sequence[int]) -> str:
    """Return "1 seed" or "3 seeds"."""
    return "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds"


def role_name(role: Role) -> str:
    """Return a role as a sentence says it, such as "subclass student"."""
    return role.replace("-", " ")


def roles_present(results: Results) -> list[Role]:
    """Return the roles that the study holds, in the order in which they are shown."""
    return [role for role in ROLES if role in results.models]


def duplicates_sentence(data: DataResult) -> str:
    """Say how many images stand in two splits, or nearly so, and where the first ones do."""
    told = []
    if data.num_duplicates:
        verb = "image stands" if data.num_duplicates == 1 else "images stand"
        where = _twins(data.duplicates)
        told.append(f"{count(data.num_duplicates)} {verb}, bit for bit, in two splits{where}.")
    if data.num_near_duplicates:
        verb = "image looks" if data.num_near_duplicates == 1 else "images look"
        where = _twins(data.near_duplicates)
        told.append(
            f"{count(data.num_near_duplicates)} {verb} nearly like one of another split{where}."
        )
    return " ".join(told) or "No image stands in two splits."


def _twins(twins: Sequence[tuple[str, int, str, int]]) -> str:
    first = [f"{a} {i} and {b} {j}" for a, i, b, j in twins[:5]]
    return f", such as {'; '.join(first)}" if first else ""


def channels(number: int) -> str:
    """Name the channels of an image."""
    return {1: "grey", 3: "colour"}.get(number, f"{number} channels")
