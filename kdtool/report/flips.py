"""Where two models differ, in words."""

from kdtool.evidence import Flips
from kdtool.record import Role
from kdtool.report.quantities import count
from kdtool.report.words import spoken


def flip_sentence(flips: Flips) -> str:
    """Say how many images one model gains and loses against another."""
    of, against = spoken(flips.of), spoken(flips.against)
    balance = flips.gained - flips.lost
    more = f"{count(abs(balance))} {'more' if balance > 0 else 'fewer'}" if balance else "as many"
    return (
        f"The {of} gets {count(flips.gained)} images right that the {against} gets wrong, and "
        f"loses {count(flips.lost)} that the {against} gets right: {more} in all."
    )


def flip_rows(flips: Flips) -> list[tuple[str, list[tuple[int, Role | None]]]]:
    """Return the table of right and wrong: a row a state of `against`, then that of `of`.

    Each cell is a number of images and who alone is right on them; None: both or nobody.
    """
    return [
        ("right", [(flips.both_right, None), (flips.lost, flips.against)]),
        ("wrong", [(flips.gained, flips.of), (flips.both_wrong, None)]),
    ]
