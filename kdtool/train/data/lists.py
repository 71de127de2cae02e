"""Long lists of files and rows in errors and warnings, cut where nobody reads on."""

from collections.abc import Sequence

from kdtool.errors import DataError

MOST_IN_ERROR = 100
MOST_IN_WARNING = 10


def problem_list(head: str, problems: Sequence[str], advice: str) -> DataError:
    """Return an error that tells all problems, a line each."""
    lines = [f"  {problem}" for problem in problems[:MOST_IN_ERROR]]
    if len(problems) > MOST_IN_ERROR:
        lines.append(f"  and {len(problems) - MOST_IN_ERROR:,} more")
    return DataError("\n".join([head, *lines, advice]))


def first_of(told: Sequence[str]) -> str:
    """Return the first ones for a warning, and how many more there are."""
    more = len(told) - MOST_IN_WARNING
    return ", ".join(told[:MOST_IN_WARNING]) + (f" and {more:,} more" if more > 0 else "")
