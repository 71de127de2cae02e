"""Whether what a results.json says fits together: its lists, its names and its paths.

The records that it looks at are those of `kdtool.results.study`, which imports this module.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from kdtool.errors import StudyError
from kdtool.results.base import SCHEMA, SPLITS, Record


def fault_in(results: Any, *, only_paths: bool = False) -> str | None:
    """Return the first thing in a results.json that does not fit the rest; None: all fits.

    Each field alone is checked when the file is read; edited by hand or damaged, they may
    contradict each other, and a report would be wrong or fail.

    Args:
        results: To look at.
        only_paths: Whether only paths out of the study count, as `kdtool verify` names the rest.
    """
    return next(_outside(results) if only_paths else _faults(results), None)


def unfit(path: Path, fault: str) -> StudyError:
    """Return the error for a results.json with a fault."""
    return StudyError(
        f"{path} is not a results.json of schema {SCHEMA}: {fault}; delete it and run the command "
        "that made it again: it writes the file and trains nothing"
    )


def _faults(results: Any) -> Iterator[str]:
    num_classes = len(results.data.classes)
    yield from _data_faults(results.data)
    for role, model in results.models.items():
        yield from _model_faults(f"models.{role}", model, num_classes)
    yield from _missing_roles(results)
    yield from _missing_keys(results)
    if results.gallery:
        yield from _gallery_faults(results)
    if results.explain:
        yield from _curve_faults(results.explain.faithfulness)
    yield from _no_shares("models", results.models)
    yield from _comparison_faults(results, num_classes)
    yield from _outside(results)


def _data_faults(data: Any) -> Iterator[str]:
    yield from _keys("data.class_counts", data.class_counts, SPLITS)
    for split, counts in data.class_counts.items():
        yield from _length(f"data.class_counts.{split}", len(counts), len(data.classes))
    if data.groups:
        yield from _length("data.groups", len(data.groups), len(data.classes))


def _comparison_faults(results: Any, num_classes: int) -> Iterator[str]:
    for index, verdict in enumerate(results.verdicts):
        if verdict.per_class:
            yield from _length(f"verdicts.{index}.per_class", len(verdict.per_class), num_classes)
        yield from _length(
            f"verdicts.{index}.mcnemar_p", len(verdict.mcnemar_p), len(verdict.seeds), "seeds"
        )
    for index, shift in enumerate(results.bias_shifts):
        yield from _length(f"bias_shifts.{index}.per_class", len(shift.per_class), num_classes)
    for index, use in enumerate(results.subclasses):
        yield from _subclass_faults(f"subclasses.{index}", use, results.data)


def _outside(results: Any) -> Iterator[str]:
    for place, path in _paths(results):
        if path is not None and not is_inside(path):
            yield f"{place}: {path} is not inside the folder of the study"


def _model_faults(place: str, model: Any, num_classes: int) -> Iterator[str]:
    if model.exported_seed not in {run.seed for run in model.seeds}:
        yield f"{place}.exported_seed: there is no seed {model.exported_seed}"
    if model.per_class:
        yield from _length(f"{place}.per_class", len(model.per_class), num_classes)
    if model.files:
        yield from _keys(f"{place}.files", model.files, ["fp32"])
    if model.recommended and model.recommended not in model.files:
        yield f"{place}.recommended: there is no {model.recommended} file"
    for index, run in enumerate(model.seeds):
        yield from _seed_faults(f"{place}.seeds.{index}", run, num_classes)


def _seed_faults(place: str, run: Any, num_classes: int) -> Iterator[str]:
    numbers = [epoch.epoch for epoch in run.epochs]
    if numbers not in ([0], list(range(1, len(numbers) + 1))):
        yield f"{place}.epochs: they are numbered {numbers}, expected 1, 2, ..."
    if run.best_epoch not in {epoch.epoch for epoch in run.epochs}:
        yield f"{place}.best_epoch: there is no epoch {run.best_epoch}"
    yield from _length(f"{place}.test.per_class", len(run.test.per_class), num_classes)
    for length in (len(run.test.confusion), *map(len, run.test.confusion)):
        yield from _length(f"{place}.test.confusion", length, num_classes)
    total = sum(map(sum, run.test.confusion))
    yield from _length(f"{place}.test.confusion", total, run.test.num_images, "images")


def _subclass_faults(place: str, use: Any, data: Any) -> Iterator[str]:
    yield from _length(f"{place}.per_class", len(use.per_class), len(data.classes))
    if use.fine is None:
        return
    yield from _length(
        f"{place}.fine.table", len(use.fine.table), len(data.fine_classes) or 1, "fine classes"
    )
    num_subclasses = sum(len(of_class.shares) for of_class in use.per_class)
    for row in use.fine.table:
        yield from _length(f"{place}.fine.table", len(row), num_subclasses, "subclasses")


SHARES = {"accuracy", "validation_accuracy", "validation_score"}


def _no_shares(place: str, value: Any) -> Iterator[str]:
    """Yield the scores in a record, and in those that it holds, that are outside of [0, 1]."""
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Record):
        inner = value
    elif isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    for name, one in inner:
        if name in SHARES and isinstance(one, float) and not 0 <= one <= 1:
            yield f"{place}.{name}: got {one}, expected 0 to 1"
        yield from _no_shares(f"{place}.{name}", one)


def _missing_roles(results: Any) -> Iterator[str]:
    """Yield which models are named that the study does not have."""
    named = [("shipped", results.shipped)] if results.shipped else []
    for index, verdict in enumerate(results.verdicts):
        named += [(f"verdicts.{index}.{key}", getattr(verdict, key)) for key in ("of", "against")]
    for index, flips in enumerate(results.flips):
        named += [(f"flips.{index}.{key}", getattr(flips, key)) for key in ("of", "against")]
    named += [
        (f"subclasses.{index}.role", one.role) for index, one in enumerate(results.subclasses)
    ]
    named += [(f"sweep.{index}.role", one.role) for index, one in enumerate(results.sweep)]
    for place, role in named:
        if role not in results.models:
            yield f"{place}: there is no model {role}"


def _missing_keys(results: Any) -> Iterator[str]:
    """Yield which scores and answers lack one that the others have."""
    metrics = {results.metric, *(name for model in results.models.values() for name in model.test)}
    for role, model in results.models.items():
        yield from _keys(f"models.{role}.test", model.test, sorted(metrics))
    for index, image in enumerate(results.explain.images if results.explain else []):
        place = f"explain.images.{index}.probabilities"
        yield from _keys(place, image.probabilities, image.predictions)
    swept: dict[str, Any] = {}  # role -> its settings
    for index, point in enumerate(results.sweep):
        expected = swept.setdefault(point.role, point.settings)
        yield from _keys(f"sweep.{index}.settings", point.settings, expected)


def _gallery_faults(results: Any) -> Iterator[str]:
    """Yield which images are shown that the gallery does not have, or has without an answer."""
    roles = {role for flips in results.flips for role in (flips.of, flips.against)}
    roles |= {use.role for use in results.subclasses}
    images = {image.index for image in results.gallery.images}
    for index, image in enumerate(results.gallery.images):
        for name in ("predictions", "probabilities"):
            place, given = f"gallery.images.{index}.{name}", getattr(image, name)
            yield from _keys(place, given, sorted(roles | image.predictions.keys()))
    named = [
        (f"flips.{index}.{name}", getattr(flips, name))
        for index, flips in enumerate(results.flips)
        for name in ("gained_images", "lost_images")
    ]
    named += [
        (f"subclasses.{index}.per_class.{place}.claimed", claimed)
        for index, use in enumerate(results.subclasses)
        for place, of_class in enumerate(use.per_class)
        for claimed in of_class.claimed
    ]
    for place, shown in named:
        for image in shown:
            if image not in images:
                yield f"{place}: image {image} is not in the gallery"


def _curve_faults(faithfulness: Any) -> Iterator[str]:
    for role, one in faithfulness.items():
        for name in ("deletion", "insertion", "random_deletion", "random_insertion"):
            curve = getattr(one, f"{name}_curve")
            if curve is not None and curve.ci95:
                place = f"explain.faithfulness.{role}.{name}_curve.ci95"
                yield from _length(place, len(curve.ci95), len(curve.means), "means")


def _paths(results: Any) -> Iterator[tuple[str, str | None]]:
    """Yield all paths that are relative to the study, with their places."""
    for role, precision, file in results.files:
        yield f"models.{role}.files.{precision}.path", file.path
    yield "data.duplicate_images", results.data.duplicate_images
    if results.gallery:
        yield "gallery.path", results.gallery.path
    if results.explain:
        yield "explain.path", results.explain.path
    for index, target in enumerate(results.targets):
        yield f"targets.{index}.path", target.path


def is_inside(path: str) -> bool:
    """Return whether a relative path stays in its folder, on every operating system."""
    parts = (*PurePosixPath(path).parts, *PureWindowsPath(path).parts)
    is_rooted = PurePosixPath(path).is_absolute() or PureWindowsPath(path).anchor
    return bool(path) and not is_rooted and ".." not in parts and "\0" not in path


def _keys(place: str, given: Iterable[str], expected: Iterable[str]) -> Iterator[str]:
    for key in expected:
        if key not in given:
            yield f"{place}: there is no {key}"


def _length(place: str, given: int, expected: int, what: str = "classes") -> Iterator[str]:
    if given != expected:
        yield f"{place}: got {given:,} entries for {expected:,} {what}"
