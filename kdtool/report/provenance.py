"""How a study was made: its training runs, files, data, machine and recipe."""

from dataclasses import dataclass
from typing import Any, ClassVar

import tomli_w

from kdtool.format import (
    METRIC_NAMES,
    TIMES,
    bounded,
    channels,
    count,
    file_size,
    listed,
    percent,
    plural,
    printable,
    role_name,
    roles_present,
    three_digits,
)
from kdtool.report.sections.duplicates import duplicates_sentence
from kdtool.report.sections.training import TrainingRow, training_rows
from kdtool.results.profile import Environment
from kdtool.results.study import DataResult, ModelResult, Results

UNEVEN = 1.5  # training images of the largest class / of the smallest; below, no sentence


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """A name and what belongs to it."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassCount:
    """The images of one class."""

    name: str
    counts: list[str]  # in the order of the splits


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRecord:
    """An exported file."""

    path: str
    opset: int
    accuracy: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ProvenanceSection:
    """How a study was made."""

    LINK: ClassVar = "How it was made"

    metric: str | None  # of the columns of the runs; None: accuracy
    runs: list[TrainingRow]
    files: list[FileRecord]
    counts: list[Fact]  # MACs and FLOPs of each model
    data: list[Fact]
    splits: list[str]
    classes: list[ClassCount]
    machine: list[Fact]
    command: str
    recipe: str  # TOML
    has_root: bool  # the images are in a folder, which the recipe of the report leaves out


def section(results: Results) -> ProvenanceSection:
    """Return how a study was made."""
    data = results.data
    return ProvenanceSection(
        metric=None if results.metric == "accuracy" else METRIC_NAMES[results.metric],
        runs=training_rows(results),
        files=[
            FileRecord(
                path=printable(file.path),
                opset=file.opset,
                accuracy=percent(file.accuracy),
                sha256=file.sha256,
            )
            for *_, file in results.files
        ],
        counts=[
            Fact(name=role_name(role), value=_counts(results.models[role]))
            for role in roles_present(results)
        ],
        data=_data(data),
        splits=list(data.class_counts),
        classes=[
            ClassCount(
                name=printable(name),
                counts=[count(counts[place]) for counts in data.class_counts.values()],
            )
            for place, name in enumerate(data.classes)
        ],
        machine=[*_machine(results.environment), *_ranks(results)],
        command=_command(results),
        recipe=tomli_w.dumps(_without_none(results.recipe)),
        has_root=results.data.source != "digits",
    )


def _counts(model: ModelResult) -> str:
    macs, flops = (
        bounded(count(number), at_least=model.macs_at_least)
        for number in (model.num_macs, model.num_flops)
    )
    text = f"{macs} MACs, {flops} FLOPs"
    if model.thop_macs is None:
        return text
    return f"{text}; thop counts {count(model.thop_macs)} MACs, normalization and pooling included"


def imbalance(data: DataResult) -> str | None:
    """Say how uneven the classes are in the training images; None if they are even."""
    numbers = data.class_counts["train"]
    least, most = min(numbers), max(numbers)
    names = [printable(data.classes[numbers.index(number)]) for number in (most, least)]
    if not least or most < UNEVEN * least:
        return None
    return (
        f"The classes are uneven: {names[0]} has {three_digits(most / least)} times as many "
        f"training images as {names[1]} ({count(most)} and {count(least)})."
    )


def _command(results: Results) -> str:
    if "subclass-student" in results.models:
        return "subclass-distill"
    if "student" in results.models:
        return "distill"
    return "finetune" if "teacher" in results.models else "finetune --role student"


def _machine(environment: Environment) -> list[Fact]:
    versions = {"kdtool": environment.kdtool, "Python": environment.python, **environment.packages}
    facts = {
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "System": environment.os,
        "Processor": f"{environment.cpu}, {plural(environment.num_cores, 'core')} for this process",
        "GPU": environment.gpu or "none",
    }
    return [Fact(name=name, value=printable(value)) for name, value in facts.items()]


def _ranks(results: Results) -> list[Fact]:
    """Say how many processes trained each model together, if several did."""
    by_number: dict[int, list[str]] = {}
    for role in roles_present(results):
        for seed in results.models[role].seeds:
            text = f"{role_name(role)} with seed {seed.seed}"
            by_number.setdefault(seed.num_ranks, []).append(text)
    if by_number.keys() <= {1}:
        return []
    if len(by_number) == 1:
        (number,) = by_number
        value = f"{number} processes of torchrun trained each model together"
    else:
        value = "processes of torchrun that trained a model together: " + "; ".join(
            f"{number} for {listed(by_number[number])}" for number in sorted(by_number)
        )
    return [Fact(name="Ranks", value=value)]


def _data(data: DataResult) -> list[Fact]:
    num_channels, height, width = data.image_shape
    facts = [
        ("Source", f"{data.source}: {data.description}"),
        ("Images", f"{width} {TIMES} {height} pixels, {channels(num_channels)}"),
        ("Train", f"{count(data.num_train)} images"),
        ("Validation", f"{count(data.num_validation)} images, used to choose epochs and settings"),
        ("Test", f"{count(data.num_test)} images, used once, at the end"),
        *(
            (f"Class {name}", f"merged from {listed(group)}")
            for name, group in zip(data.classes, data.groups, strict=False)
        ),
        *((("Left out", _left_out(data)),) if data.excluded else ()),
        ("Read from", _place(data)),
        ("Fingerprint", data.fingerprint),
        ("Duplicates", duplicates_sentence(data)),
        ("Balance", imbalance(data)),
    ]
    return [Fact(name=printable(name), value=printable(value)) for name, value in facts if value]


def _place(data: DataResult) -> str | None:
    if data.read_from is None:
        return None
    size = file_size(data.read_from.num_bytes)
    if data.read_from.where == "memory":
        return f"memory, {size} of decoded images"
    return f"a file in the user's cache, {size} of decoded images: they do not fit into memory"


def _left_out(data: DataResult) -> str:
    counts = zip(data.classes, data.class_counts["train"], strict=True)
    num_left = sum(number for name, number in counts if name not in data.excluded)
    return (
        f"{listed(data.excluded)}: students and control learn from the other "
        f"{count(num_left)} training images"
    )


def _without_none(value: Any) -> Any:
    """Leave out unset keys: TOML has no null."""
    if isinstance(value, dict):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_none(one) for one in value if one is not None]
    return value
