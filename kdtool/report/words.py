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
    """Say how many images stand in two splits, and where the first ones do."""
    if not data.num_duplicates:
        return "No image stands in two splits."
    first = [f"{a} {i} and {b} {j}" for a, i, b, j in data.duplicates[:5]]
    where = f", such as {'; '.join(first)}" if first else ""
    noun = "image stands" if data.num_duplicates == 1 else "images stand"
    return f"{count(data.num_duplicates)} {noun}, bit for bit, in two splits{where}."


def channels(number: int) -> str:
    """Name the channels of an image."""
    return {1: "grey", 3: "colour"}.get(number, f"{number} channels")
