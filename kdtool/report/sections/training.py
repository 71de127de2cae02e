"""The study's metric on validation while training, epoch by epoch."""

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from kdtool.format import (
    count,
    duration,
    listed,
    printable,
    role_name,
    roles_present,
    score_scale,
    score_text,
    test_score,
)
from kdtool.report.canvas import FONT_SIZE, LIGHT, label_ends, new_figure, quiet_axes, score_axis
from kdtool.results.base import Metric
from kdtool.results.study import ModelResult, Results, SeedResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def score_by_epoch(results: Results, width: int) -> "Figure":
    """Draw validation scores: one thin line a seed, the mean bold, a dot at the kept epoch.

    A model that was not trained here has one score, drawn as a broken line across.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(width, 340 if width > 500 else 280)
    axes = figure.add_subplot()
    quiet_axes(axes)
    models = {role: results.models[role] for role in roles_present(results)}
    ends: dict[str, float] = {}
    longest = 2
    for role, model in models.items():
        curves, color = _curves(results, model), LIGHT[role]
        common = min(len(curve) for curve in curves)
        mean = np.mean([curve[:common] for curve in curves], axis=0)
        ends[role_name(role)] = float(mean[-1])
        if _came_trained(model):
            axes.axhline(mean[-1], color=color, linewidth=1.5, linestyle=(0, (4, 3)))
            continue
        for run, curve in zip(model.seeds, curves, strict=True):
            axes.plot(range(1, len(curve) + 1), curve, color=color, linewidth=1, alpha=0.45)
            kept = curve[run.best_epoch - 1]
            axes.plot(run.best_epoch, kept, "o", color=color, markersize=5, clip_on=False)
        dashes = (0, (3, 1)) if role.startswith("subclass") else "-"
        axes.plot(range(1, common + 1), mean, color=color, linewidth=2.5, linestyle=dashes)
        longest = max(longest, *(len(curve) for curve in curves))
    axes.set(xlim=(1, longest), ylim=_limits(results), xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(12 if width > 500 else 6, integer=True))
    score_axis(axes, results.metric)
    label_ends(axes, ends, {role_name(role): LIGHT[role] for role in models})
    _mark_phases(axes, phase_starts(results))
    return figure


def phase_starts(results: Results) -> dict[int, str]:
    """Return where later phases of training begin: first epoch -> what begins there."""
    trained = [role for role in roles_present(results) if not _came_trained(results.models[role])]
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


def _came_trained(model: ModelResult) -> bool:
    return all(run.num_steps == 0 for run in model.seeds)


def untrained_sentence(results: Results) -> str | None:
    """Name the models that were not trained here; None if all were."""
    names = [
        role_name(role) for role in roles_present(results) if _came_trained(results.models[role])
    ]
    if not names:
        return None
    verb = "came trained: a broken line" if len(names) == 1 else "came trained: broken lines"
    return f"The {listed(names)} {verb} across."


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
    """Return which epoch's weights a run kept, such as "3 of 12"."""
    return f"{run.best_epoch} of {len(run.epochs)}" if run.num_steps else "came trained"


def _told(metric: Metric, score: float | None) -> str:
    return "" if score is None else score_text(metric, score)


def training_rows(results: Results) -> list[dict[str, object]]:
    """Return one row a run of training."""
    return [
        {
            "role": role,
            "seed": run.seed,
            "exported": run.seed == results.models[role].exported_seed,
            "best_epoch": kept_epoch(run),
            "validation": score_text(results.metric, run.best.score),
            "test": _told(results.metric, test_score(run.test, results.metric)),
            "steps": count(run.num_steps),
            "time": duration(sum(epoch.seconds for epoch in run.epochs))
            + (f", in {printable(run.taken_from)}" if run.taken_from else ""),
            "speed": count(round(run.images_per_second)) if run.num_steps else "",
            "device": f"{run.device}, {run.precision}",
        }
        for role in roles_present(results)
        for run in results.models[role].seeds
    ]
