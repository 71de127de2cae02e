"""Records of `kdtool verify`: what was compared, what does not match, what could not be checked."""

import math
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field

from kdtool.results.base import SCHEMA, Record

SHA256 = "SHA-256"  # the field of a mismatch of a whole file
RELATIVE, ABSOLUTE = 1e-6, 1e-12  # by which numbers may differ: of the larger one, and at all
MOST_CHARACTERS = 80  # of a value that is shown


class Mismatch(Record):
    """One value of a study that is not what it should be."""

    file: str  # that has the stored value; relative to the study
    field: str  # in that file; "SHA-256" of the whole file
    stored: str  # the value on record
    found: str  # what was recomputed, or is there now


class Part(Record):
    """What was compared, of one kind."""

    name: str  # in words
    num_compared: int  # files or values
    mismatches: list[Mismatch]  # those that are not equal
    not_checked: list[str]  # what could not be compared, and why


class Verification(Record):
    """What `kdtool verify --json` prints."""

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")  # version of this format
    study: str  # its folder
    passed: bool  # whether nothing that was compared differs
    num_compared: int  # files and values
    parts: list[Part]  # one for each kind

    @property
    def mismatches(self) -> list[Mismatch]:
        """Those of all parts; what two parts found is listed once."""
        found = {(one.file, one.field): one for part in self.parts for one in part.mismatches}
        return list(found.values())

    @property
    def not_checked(self) -> list[str]:
        """Those of all parts, each once."""
        return list(dict.fromkeys(text for part in self.parts for text in part.not_checked))


def verification(study: str, parts: Iterable[Part]) -> Verification:
    """Return the parts as a whole; those of one name become one, and empty ones are left out."""
    kept: dict[str, Part] = {}
    for part in parts:
        old = kept.get(part.name)
        kept[part.name] = part if old is None else joined(part.name, [old, part])
    return Verification(
        study=study,
        passed=not any(part.mismatches for part in kept.values()),
        num_compared=sum(part.num_compared for part in kept.values()),
        parts=[one for one in kept.values() if one.num_compared or one.not_checked],
    )


def joined(name: str, parts: Iterable[Part]) -> Part:
    """Return several parts as one."""
    several = list(parts)
    return Part(
        name=name,
        num_compared=sum(part.num_compared for part in several),
        mismatches=[one for part in several for one in part.mismatches],
        not_checked=[text for part in several for text in part.not_checked],
    )


def not_checked(name: str, *reasons: str) -> Part:
    """Return a part in which nothing could be compared."""
    return Part(name=name, num_compared=0, mismatches=[], not_checked=list(reasons))


def mismatched(name: str, file: str, field: str, stored: str, found: str) -> Part:
    """Return a part of one comparison, which failed."""
    one = Mismatch(file=file, field=field, stored=stored, found=found)
    return Part(name=name, num_compared=1, mismatches=[one], not_checked=[])


def compared(name: str, file: str, stored: object, found: object, field: str = "") -> Part:
    """Compare two JSON values, number by number.

    Args:
        name: Of the part.
        file: That has the stored value.
        stored: A value, or a list or dictionary of values.
        found: What it should equal; numbers may differ by rounding.
        field: Of the whole value.
    """
    mismatches: list[Mismatch] = []
    num_compared = _compare(file, stored, found, field, mismatches)
    return Part(name=name, num_compared=num_compared, mismatches=mismatches, not_checked=[])


def _compare(file: str, stored: Any, found: Any, field: str, mismatches: list[Mismatch]) -> int:
    """Append what differs; return how many values were compared."""
    if isinstance(stored, dict) and isinstance(found, dict):
        keys = [*stored, *(key for key in found if key not in stored)]
        return sum(
            _compare(file, stored.get(key), found.get(key), _below(field, str(key)), mismatches)
            for key in keys
        )
    lists = isinstance(stored, list | tuple) and isinstance(found, list | tuple)
    if lists and len(stored) == len(found):
        pairs = enumerate(zip(stored, found, strict=True))
        return sum(_compare(file, *pair, f"{field}[{i}]", mismatches) for i, pair in pairs)
    if not _equal(stored, found):
        texts = {"stored": _text(stored), "found": _text(found)}
        mismatches.append(Mismatch(file=file, field=field, **texts))
    return 1


def _below(field: str, key: str) -> str:
    return f"{field}.{key}" if field else key


def _equal(one: Any, other: Any) -> bool:
    is_number = [isinstance(x, int | float) and not isinstance(x, bool) for x in (one, other)]
    if all(is_number):
        return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return bool(one == other)


def _text(value: object) -> str:
    if isinstance(value, list | tuple | dict):
        return f"{len(value)} entries"
    text = "nothing" if value is None else str(value)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."
