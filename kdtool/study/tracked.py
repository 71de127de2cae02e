"""What `--log` writes to other tools, from results.json: parameters, curves, figures, files."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kdtool.files import sha256_of
from kdtool.results.base import flat
from kdtool.results.study import Results


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """The figures of one epoch of one training run."""

    epoch: int
    seconds: float  # from the start of the run to the end of the epoch
    values: dict[str, float]  # by name; the same in each tool


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One training run."""

    name: str  # such as "student/seed0"
    points: list[Point]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracked:
    """All that is logged about a study."""

    name: str  # of the study
    key: str  # SHA-256 of its results.json: the same results are logged once
    tags: dict[str, str]
    parameters: dict[str, bool | int | float | str]  # of the recipe, by dotted key
    curves: list[Curve]
    figures: dict[str, float]  # final ones, by name
    files: list[Path]  # report and ONNX files that exist


def tracked_study(results: Results, folder: Path) -> Tracked:
    """Return all that is logged about a study.

    Args:
        results: The study's.
        folder: The study's, with its results.json.
    """
    decision = results.decision
    files = [folder / "report.html", *(folder / file.path for *_, file in results.files)]
    return Tracked(
        name=results.name,
        key=sha256_of(folder / "results.json"),
        tags={
            "kdtool.version": results.environment.kdtool,
            "kdtool.data": results.data.description,
            "kdtool.data_fingerprint": results.data.fingerprint,
            "kdtool.ship": (decision.ship if decision else None) or "nothing",
            "kdtool.because": decision.because if decision else "",
            **{f"kdtool.verdict.{one.of}": one.verdict for one in results.verdicts},
        },
        parameters=_parameters(results.recipe),
        curves=list(_curves(results)),
        figures=dict(_figures(results)),
        files=[path for path in files if path.is_file()],
    )


def _parameters(recipe: dict[str, object]) -> dict[str, bool | int | float | str]:
    """Return the values of a recipe by dotted key, lists as JSON."""
    return {
        key: value if isinstance(value, bool | int | float | str) else json.dumps(value)
        for key, value in flat(recipe).items()
    }


def _curves(results: Results) -> Iterator[Curve]:
    for role, model in results.models.items():
        for run in model.seeds:
            points, seconds = [], 0.0
            for one in run.epochs:
                seconds += one.seconds
                values = {
                    "validation_loss": one.validation_loss,
                    f"validation_{results.metric}": one.score,
                }
                if one.train_loss is not None:  # None of a pretrained model
                    values["train_loss"] = one.train_loss
                points.append(Point(epoch=one.epoch, seconds=seconds, values=values))
            yield Curve(name=f"{role}/seed{run.seed}", points=points)


def _figures(results: Results) -> Iterator[tuple[str, float]]:
    """Yield accuracy of models and files, cost of files, and verdicts."""
    for role, model in results.models.items():
        for run in model.seeds:
            yield f"{role}/seed{run.seed}/test_accuracy", run.test.accuracy
        for metric, summary in model.test.items():
            yield f"{role}/test_{metric}", summary.mean
        yield f"{role}/num_params", model.num_params
        yield f"{role}/num_macs", model.num_macs
        for precision, file in model.files.items():
            yield f"{role}/{precision}/accuracy", file.accuracy
            yield f"{role}/{precision}/size_bytes", file.size_bytes
            if file.latency:
                yield f"{role}/{precision}/p50_ms", file.latency.p50_ms
            if file.against_teacher:
                yield f"{role}/{precision}/against_teacher", file.against_teacher.difference
    for one in results.verdicts:
        name = f"verdict/{one.of}-{one.against}/{one.metric}"
        yield f"{name}_difference", one.difference
        yield f"{name}_low", one.interval[0]
        yield f"{name}_high", one.interval[1]
