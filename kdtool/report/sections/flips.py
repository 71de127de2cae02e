"""Where two models differ: test images that one gets right and the other wrong."""

from dataclasses import dataclass
from typing import ClassVar

from kdtool.format import count, role_name
from kdtool.results.base import Role
from kdtool.results.evidence import Flips
from kdtool.results.study import Results


@dataclass(frozen=True, kw_only=True, slots=True)
class FlipsRow:
    """One row of the table of right and wrong: the images on which `against` is right, or wrong."""

    state: str  # "right" or "wrong"
    cells: list[tuple[int, Role | None]]  # images, and who alone is right; None: both or neither


@dataclass(frozen=True, kw_only=True, slots=True)
class FlipsPair:
    """Two models on the same test images."""

    record: Flips
    sentence: str
    rows: list[FlipsRow]


@dataclass(frozen=True, kw_only=True, slots=True)
class FlipsSection:
    """Where the exported models differ."""

    LINK: ClassVar = "Differences"

    pairs: list[FlipsPair]


def section(results: Results) -> FlipsSection | None:
    """Return where the exported models differ; None if no two were compared."""
    if not results.flips:
        return None
    return FlipsSection(
        pairs=[
            FlipsPair(record=flips, sentence=flip_sentence(flips), rows=flip_rows(flips))
            for flips in results.flips
        ]
    )


def flip_sentence(flips: Flips) -> str:
    """Say how many images one model gains and loses against another."""
    of, against = role_name(flips.of), role_name(flips.against)
    balance = flips.gained - flips.lost
    total = f"{count(abs(balance))} {'more' if balance > 0 else 'fewer'}" if balance else "as many"
    return (
        f"The {of} gets {count(flips.gained)} images right that the {against} gets wrong, and gets "
        f"{count(flips.lost)} wrong that the {against} gets right: {total} in total."
    )


def flip_rows(flips: Flips) -> list[FlipsRow]:
    """Return the table of right and wrong: a row a state of `against`, a column a state of `of`."""
    return [
        FlipsRow(state="right", cells=[(flips.both_right, None), (flips.lost, flips.against)]),
        FlipsRow(state="wrong", cells=[(flips.gained, flips.of), (flips.both_wrong, None)]),
    ]
