"""The sentences of the report and of the terminal."""

from collections.abc import Sequence

from kdtool.record import ROLES, Role
from kdtool.report.quantities import count
from kdtool.results import DataResult, Results

MAC_LINE = "1 MAC = 1 multiply + 1 add; FLOPs = 2 \N{MULTIPLICATION SIGN} MACs."
INTERVAL_LINE = (
    "A 95 % interval is the range in which the true value plausibly lies, given how few images "
    "and seeds it was measured on."
)


def plain(name: str) -> str:
    """Return a name on one line and without control characters; it may be anything at all."""
    one_line = " ".join(name.split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in one_line)


def listed(items: Sequence[str]) -> str:
    """Join as "a, b and c"."""
    *rest, last = items
    return f"{', '.join(rest)} and {last}" if rest else last


def seeds_word(seeds: Sequence[int]) -> str:
    """Return "1 seed" or "3 seeds"."""
    return "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds"


def spoken(role: Role) -> str:
    """Return a role as a sentence says it, such as "subclass student"."""
    return role.replace("-", " ")


def present(results: Results) -> list[Role]:
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
