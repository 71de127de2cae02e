"""Tar shards in the layout of WebDataset: members of one name, but for the ending, are a sample."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from kdtool.edge.image_files import is_system
from kdtool.errors import DataError, reason
from kdtool.format import plural
from kdtool.recipe.data import Shards, WebDatasetTable
from kdtool.results.base import SPLITS
from kdtool.train.data.files.csv_table import in_order
from kdtool.train.data.labelled_files import LabelledFiles, shown
from kdtool.train.data.large.shards import Member, members_of
from kdtool.train.data.source import find_below, problem_list

MOST_LISTED = 100  # problems; of more, the first
IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm")
# Names of members that describe a shard, in lower case.
NOTES = ("readme", "license", "index", "info", "meta", "metadata", "manifest", "dataset", "classes")


@dataclass(slots=True)
class Sample:
    """The members of one name."""

    images: list[Member] = field(default_factory=list)
    label: Member | None = None
    others: list[str] = field(default_factory=list)

    def add(self, member: Member, kind: str, ending: str) -> None:
        """Add a member.

        Args:
            member: Of this name.
            kind: Its ending.
            ending: Of the member with the class.
        """
        if kind in IMAGES:
            self.images.append(member)
        elif kind == ending:
            self.label = member
        else:
            self.others.append(member.name)

    def problem(self, ending: str) -> str | None:
        """Return what is wrong with it; None: nothing.

        Args:
            ending: Of the member with the class.
        """
        if self.others and not self.images:
            return f"has no image that is read, only {', '.join(self.others)}"
        if len(self.images) != 1:
            listed = ", ".join(one.name for one in self.images) or "none"
            return f"has the images {listed}; expected one"
        return f"has no member .{ending} with its class" if self.label is None else None


def list_shards(table: WebDatasetTable) -> LabelledFiles:
    """Return the images of source "webdataset", which lie in tar files.

    Source: the layout of github.com/webdataset/webdataset: the name of a member up to the first
    point of its last part is that of the sample.

    Raises:
        DataError: Shards are missing or damaged, or samples lack an image or a label; lists all.
    """
    root = find_below(table, Path(), "data.root")
    shards = shards_of(table.shards, "*.tar", root)
    problems: list[str] = []
    found = [
        (split, image, label)
        for split, paths in shards.items()
        for shard in paths
        for image, label in _samples(shard, shown(shard, root), table.label, problems)
    ]
    classes = table.classes or in_order({label for *_, label in found})
    again = "write these shards again; data.label names the member with the class"
    return labelled(found, shards, classes, problems, root, ("shards", "shard", again))


def labelled(
    found: Sequence[tuple[str, Member, str]],
    shards: Mapping[str, Sequence[Path]],
    classes: Sequence[str],
    problems: list[str],
    root: Path,
    words: tuple[str, str, str],
) -> LabelledFiles:
    """Return the images of larger files.

    Args:
        found: Split, image and label of each.
        shards: The larger files of each split.
        classes: In the order of their numbers.
        problems: With these files.
        root: Their folder.
        words: The larger files, one of them with its kind, and what to do about problems.

    Raises:
        DataError: There are problems, or labels that are no class.
    """
    files, file, remedy = words
    if unknown := sorted({label for *_, label in found} - set(classes)):
        problems.append(f"labels {', '.join(unknown)}, expected {', '.join(classes)}")
    if problems:
        head = f"the {files} in {root} cannot be used as they are:"
        raise problem_list(head, problems, remedy, MOST_LISTED)
    number_of = {label: number for number, label in enumerate(classes)}
    count = sum(len(paths) for paths in shards.values())
    return LabelledFiles(
        description=f"images in {plural(count, file)} of {root.name}",
        root=root,
        classes=tuple(classes),
        paths=[image for _, image, _ in found],
        labels=np.array([number_of[label] for *_, label in found], dtype=np.int64),
        splits=[split for split, *_ in found] if len(shards) > 1 else None,
    )


def shards_of(patterns: Shards, default: str, root: Path) -> dict[str, list[Path]]:
    """Return the shards of each split that has any, sorted by name.

    Args:
        patterns: `data.shards`.
        default: Pattern of train images, where the recipe has none.
        root: Folder of the data.

    Raises:
        DataError: A pattern fits none, or two patterns fit one file.
    """
    shards: dict[str, list[Path]] = {}
    for split in SPLITS:
        pattern = getattr(patterns, split) or (default if split == "train" else None)
        if pattern is None:
            continue
        paths = [path for path in sorted(root.glob(pattern)) if not is_system(path.name)]
        if not paths:
            raise DataError(
                f'data.shards.{split} = "{pattern}" fits no file in {root}; expected a name with '
                f'* and ?, such as "train-{default}"'
            )
        shards[split] = paths
    everywhere = [path for paths in shards.values() for path in paths]
    if twice := sorted({path for path in everywhere if everywhere.count(path) > 1}):
        names = ", ".join(shown(path, root) for path in twice[:3])
        raise DataError(f"data.shards: {names} fits the patterns of two splits; expected one")
    return shards


def _samples(
    shard: Path, name: str, label: str, problems: list[str]
) -> Iterator[tuple[Member, str]]:
    """Yield image and label of each whole sample of a shard, in its order; add what is wrong.

    Args:
        shard: The tar file.
        name: Of it, for messages.
        label: `data.label`.
        problems: Gets a line for each.
    """
    samples: dict[str, Sample] = {}
    ending, _, key = label.partition(":")
    try:
        for sample, kind, member in _members(shard, name, problems):
            samples.setdefault(sample, Sample()).add(member, kind, ending)
    except ValueError as error:
        problems.append(f"{name}: {error}")
        return
    samples = {stem: one for stem, one in samples.items() if one.images or not _is_note(stem)}
    if not samples:
        problems.append(f"{name} holds no samples")
    for sample, found in samples.items():
        if problem := found.problem(ending):
            problems.append(f"{name}: sample {sample} {problem}")
        try:
            text = _label(found.label, key) if found.label else ""
        except ValueError as error:
            problems.append(f"{name}: {error}")
            continue
        if found.images and text:
            yield found.images[0], text


def _is_note(sample: str) -> bool:
    """Return whether members without an image are about the shard; WebDataset has `__NAME__`."""
    stem = PurePosixPath(sample).name.lower()
    return stem in NOTES or stem.startswith("__")


def _members(shard: Path, name: str, problems: list[str]) -> Iterator[tuple[str, str, Member]]:
    """Yield the sample and the ending of each member, and the member; for arguments see above.

    Raises:
        ValueError: The shard is damaged.
    """
    seen: set[str] = set()
    for member in members_of(shard):
        path = PurePosixPath(member.name)
        if is_system(path.name):
            continue
        if member.name in seen:
            problems.append(f"{name} holds two members {member.name}")
            continue
        seen.add(member.name)
        stem, _, ending = path.name.partition(".")
        if member.refused:
            problems.append(f"{name}: {member.name} {member.refused}")
        elif ending:  # without one it belongs to no sample, as in WebDataset
            yield str(path.with_name(stem)), ending.lower(), member


def _label(member: Member, key: str) -> str:
    """Return the class that a member names.

    Raises:
        ValueError: It names none.
    """
    try:
        text = member.read().decode()
        value = json.loads(text)[key] if key else text.strip()
    except OSError as error:
        raise ValueError(f"{member.name}: the system cannot read it ({reason(error)})") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{member.name} is no text: {reason(error)}") from error
    except (KeyError, TypeError) as error:
        raise ValueError(f"{member.name} has no value {key}") from error
    if not isinstance(value, (str, int)) or not str(value).strip():
        raise ValueError(f"{member.name} holds no class")
    return str(value).strip()
