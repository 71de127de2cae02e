"""The study's metric on validation while training, epoch by epoch, and every training run."""

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar

from kdtool.format import (
    METRIC_NAMES,
    count,
    duration,
    listed,
    metric_title,
    plural,
    printable,
    role_name,
    roles_present,
    score_scale,
    score_text,
    test_score,
)
from kdtool.report.parts.canvas import (
    FONT_SIZE,
    LIGHT,
    Drawing,
    label_ends,
    new_figure,
    quiet_axes,
    score_axis,
    small_drawing,
)
from kdtool.results.base import Role
from kdtool.results.study import ModelResult, Results, SeedResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSection:
    """The study's metric while training."""

    LINK: ClassVar = "Training"

    metric: str  # such as "Weighted F1"
    figure: Drawing
    loss: Drawing | None  # None: nothing was trained here
    untrained: str | None  # a sentence on models that were not trained here
    has_phases: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRow:
    """One training run."""

    role: Role
    seed: int
    exported: bool
    kept_epoch: str
    validation: str
    test: str  # empty: an older kdtool did not take it
    num_steps: str
    time: str
    images_per_second: str  # empty: not trained
    device: str


def section(results: Results) -> TrainingSection | None:
    """Return the curves of the training runs; None before the first."""
    if not results.models:
        return None
    roles = ", ".join(role_name(role) for role in roles_present(results))
    title = f"Validation {METRIC_NAMES[results.metric]} by epoch: {roles}"
    return TrainingSection(
        metric=metric_title(results.metric),
        figure=small_drawing("training", title, lambda width: score_by_epoch(results, width)),
        loss=small_drawing(
            "loss",
            f"Loss on validation and on training images by epoch: {roles}",
            lambda width: loss_by_epoch(results, width),
        )
        if any(not _not_trained_here(model) for model in results.models.values())
        else None,
        untrained=untrained_sentence(results),
        has_phases=bool(phase_starts(results)),
    )


def score_by_epoch(results: Results, width: int) -> "Figure":
    """Draw validation scores: one thin line a seed, the mean bold, a dot at the kept epoch.

    A model that was not trained here has one score, drawn as a dashed horizontal line.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(width, 300)
    axes = figure.add_subplot()
    quiet_axes(axes)
    models = {role: results.models[role] for role in roles_present(results)}
    ends: dict[str, float] = {}
    longest = 2
    for role, model in models.items():
        curves, color = _curves(results, model), LIGHT[role]
        mean = [fmean(scores) for scores in zip(*curves, strict=False)]  # to the shortest run
        ends[role_name(role)] = mean[-1]
        if _not_trained_here(model):
            axes.axhline(mean[-1], color=color, linewidth=1.5, linestyle=(0, (4, 3)))
            continue
        for run, curve in zip(model.seeds, curves, strict=True):
            axes.plot(range(1, len(curve) + 1), curve, color=color, linewidth=1, alpha=0.45)
            kept = curve[run.best_epoch - 1]
            axes.plot(run.best_epoch, kept, "o", color=color, markersize=5, clip_on=False)
        dashes = (0, (3, 1)) if role.startswith("subclass") else "-"
        axes.plot(range(1, len(mean) + 1), mean, color=color, linewidth=2.5, linestyle=dashes)
        longest = max(longest, *(len(curve) for curve in curves))
    axes.set(xlim=(1, longest), ylim=_limits(results), xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    score_axis(axes, results.metric)
    label_ends(axes, ends, {role_name(role): LIGHT[role] for role in models})
    _mark_phases(axes, phase_starts(results))
    return figure


def loss_by_epoch(results: Results, width: int) -> "Figure":
    """Draw the mean loss of the seeds: bold on validation, thin and dashed on training images."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(width, 300)
    axes = figure.add_subplot()
    quiet_axes(axes)
    ends: dict[str, float] = {}
    for role in roles_present(results):
        model, color = results.models[role], LIGHT[role]
        if _not_trained_here(model):
            continue
        of_validation = _mean([[one.validation_loss for one in run.epochs] for run in model.seeds])
        of_training = _mean(
            [
                [math.nan if (x := one.train_loss) is None else x for one in run.epochs]
                for run in model.seeds
            ]
        )
        ends[role_name(role)] = of_validation[-1]
        axes.plot(range(1, len(of_validation) + 1), of_validation, color=color, linewidth=2.5)
        if role in {"teacher", "control"}:  # the loss that others learn from is another quantity
            axes.plot(
                range(1, len(of_training) + 1),
                of_training,
                color=color,
                linewidth=1.5,
                linestyle=(0, (4, 3)),
            )
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss, nats")
    axes.set(xlim=(1, None), ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    label_ends(axes, ends, {role_name(role): LIGHT[role] for role in results.models})
    return figure


def _mean(curves: list[list[float]]) -> list[float]:
    return [fmean(values) for values in zip(*curves, strict=False)]  # to the shortest run


def phase_starts(results: Results) -> dict[int, str]:
    """Return where later phases of training begin: first epoch -> what begins there."""
    trained = [
        role for role in roles_present(results) if not _not_trained_here(results.models[role])
    ]
    kinds = {role: "teacher" if role.endswith("teacher") else "students" for role in trained}
    found: dict[int, dict[int, set[str]]] = {}
    for role, kind in kinds.items():
        for run in results.models[role].seeds:
            for before, after in pairwise(run.epochs):
                if before.phase != after.phase:
                    found.setdefault(after.epoch, {}).setdefault(after.phase, set()).add(kind)
    everybody = set(kinds.values())
    return {
        epoch: ", ".join(
            f"phase {phase}" if whose == everybody else f"{min(whose)}: phase {phase}"
            for phase, whose in sorted(phases.items())
        )
        for epoch, phases in sorted(found.items())
    }


def _mark_phases(axes: "Axes", starts: dict[int, str]) -> None:
    """Draw a thin line before the first epoch of each later phase, and name it above the axes."""
    for epoch, text in starts.items():
        axes.axvline(epoch - 0.5, color=LIGHT["muted"], linewidth=1)
        place = (epoch - 0.5, 1)
        axes.annotate(
            text,
            place,
            (4, -3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            size=FONT_SIZE - 1,
            color=LIGHT["muted"],
        )


def _not_trained_here(model: ModelResult) -> bool:
    return all(run.num_steps == 0 for run in model.seeds)


def untrained_sentence(results: Results) -> str | None:
    """Name the models that were not trained here; None if all were."""
    names = [
        role_name(role)
        for role in roles_present(results)
        if _not_trained_here(results.models[role])
    ]
    if not names:
        return None
    lines = "was not trained here: its score is a dashed line"
    if len(names) > 1:
        lines = "were not trained here: their scores are dashed lines"
    return f"The {listed(names)} {lines}."


def _curves(results: Results, model: ModelResult) -> list[list[float]]:
    scale = score_scale(results.metric)
    return [[scale * epoch.score for epoch in run.epochs] for run in model.seeds]


def _limits(results: Results) -> tuple[float, float]:
    """Return y limits that show the end of training; its steep start may be cut."""
    most = score_scale(results.metric)
    late: list[float] = []
    for model in results.models.values():
        for curve in _curves(results, model):
            late += curve[math.ceil(len(curve) / 6) :] or curve
    low, high = min(late, default=0.0), max(late, default=float(most))
    margin = 0.08 * (high - low) or 0.05 * most
    return low - margin, min(high + margin, most + margin / 4)


def kept_epoch(run: SeedResult) -> str:
    """Return the epoch whose weights a run kept, such as "3 of 12"."""
    return f"{run.best_epoch} of {len(run.epochs)}" if run.num_steps else "pretrained"


def training_rows(results: Results) -> list[TrainingRow]:
    """Return one row a training run."""
    return [
        _row(results, role, run)
        for role in roles_present(results)
        for run in results.models[role].seeds
    ]


def _row(results: Results, role: Role, run: SeedResult) -> TrainingRow:
    test = test_score(run.test, results.metric)
    time = duration(sum(epoch.seconds for epoch in run.epochs))
    if run.taken_from:
        time += f", in {printable(run.taken_from)}"
    return TrainingRow(
        role=role,
        seed=run.seed,
        exported=run.seed == results.models[role].exported_seed,
        kept_epoch=kept_epoch(run),
        validation=score_text(results.metric, run.best.score),
        test="" if test is None else score_text(results.metric, test),
        num_steps=count(run.num_steps),
        time=time,
        images_per_second=count(round(run.images_per_second)) if run.num_steps else "",
        device=f"{run.device}, {run.precision}{_on_cluster(run)}",
    )


def _on_cluster(run: SeedResult) -> str:
    if run.trained_on is None:
        return ""
    return f", on a Ray cluster of {plural(run.trained_on.num_nodes, 'node')}"
