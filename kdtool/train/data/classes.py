"""Finds classes by index or name, merges them, and chooses the positive class."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kdtool.errors import RecipeError

Names = Sequence[int | str]


def find_classes(wanted: Names, classes: Sequence[str], key: str) -> list[int]:
    """Return the index of each wanted class.

    Args:
        wanted: Indices of classes, from 0, or names.
        classes: Names of all classes, in order.
        key: Of the recipe, for the message.

    Raises:
        RecipeError: A class does not exist, or a number is one's index and another's name.
    """
    indices = {name: index for index, name in enumerate(classes)}
    found = []
    for one in wanted:
        index = indices.get(one, -1) if isinstance(one, str) else one
        if not 0 <= index < len(classes):
            named = ", ".join(f"{place} ({name})" for name, place in indices.items())
            raise RecipeError(f"{key}: there is no class {_quoted(one)}; the data have {named}")
        if isinstance(one, int) and indices.get(str(one), index) != index:
            raise RecipeError(
                f"{key}: {one} is the index of class {_quoted(classes[index])}, and the name of "
                f'another class; write "{one}" for that name, or its index'
            )
        found.append(index)
    return found


def positive_class(
    wanted: int | str | None, classes: Sequence[str], labels: NDArray[np.int64]
) -> str | None:
    """Return the positive of two classes: the rarer unless one is named; None for more classes.

    Args:
        wanted: `data.positive`.
        classes: Names of all classes.
        labels: `(N,)` of all images, as the rarer class must not depend on the split; if both
            have as many, the second is positive.

    Raises:
        RecipeError: There is no such class, or there are more than two.
    """
    if len(classes) != 2:
        if wanted is None:
            return None
        raise RecipeError(
            f"data.positive = {_quoted(wanted)} needs two classes; the data have {len(classes)}"
        )
    if wanted is None:
        counts = np.bincount(labels, minlength=2)
        return classes[0 if counts[0] < counts[1] else 1]
    return classes[find_classes([wanted], classes, "data.positive")[0]]


def _quoted(one: int | str) -> str:
    return f'"{one}"' if isinstance(one, str) else str(one)


def find_groups(groups: Sequence[Names], classes: Sequence[str]) -> list[list[int]]:
    """Return the indices of the classes of each group.

    Raises:
        RecipeError: A group has an unknown class, or a class is in no group or in two.
    """
    found = [find_classes(group, classes, "data.group") for group in groups]
    counts = Counter(index for group in found for index in group)
    repeated = [classes[index] for index, count in counts.items() if count > 1]
    missing = [name for index, name in enumerate(classes) if index not in counts]
    problems = []
    if missing:
        problems.append(f"leaves out {', '.join(missing)}")
    if repeated:
        problems.append(f"names {', '.join(repeated)} more than once")
    if problems:
        raise RecipeError(
            f"data.group {' and '.join(problems)}; expected each of the {len(classes)} classes in "
            "exactly one group"
        )
    return found


def group_names(groups: Sequence[Sequence[int]], classes: Sequence[str]) -> tuple[str, ...]:
    """Name each group after its classes.

    Raises:
        RecipeError: Two would have the same name.
    """
    names = tuple(group_name([classes[index] for index in group]) for group in groups)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise RecipeError(f"data.group: two groups would have the name {', '.join(repeated)}")
    return names


def group_name(names: Sequence[str]) -> str:
    """Name a group after its classes: "0-4" for numbers in a row, else "cat + dog"."""
    if len(names) > 2 and all(name.isdecimal() for name in names):
        numbers = [int(name) for name in names]
        if numbers == list(range(numbers[0], numbers[0] + len(numbers))):
            return f"{names[0]}-{names[-1]}"
    return " + ".join(names)


def group_of_class(groups: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Return the group `(C,)` of each class."""
    group_of = np.empty(sum(len(group) for group in groups), dtype=np.int64)
    for index, group in enumerate(groups):
        group_of[list(group)] = index
    return group_of
