"""The runs of training, a row each."""

from kdtool.learning import SeedResult
from kdtool.record import Metric
from kdtool.report import metrics, words
from kdtool.report.quantities import count, duration
from kdtool.results import Results


def kept_epoch(run: SeedResult) -> str:
    """Return which epoch's weights a run kept, such as "3 of 12"."""
    return f"{run.best_epoch} of {len(run.epochs)}" if run.num_steps else "came trained"


def _told(metric: Metric, score: float | None) -> str:
    return "" if score is None else metrics.value(metric, score)


def training_rows(results: Results) -> list[dict[str, object]]:
    """Return one row a run of training."""
    return [
        {
            "role": role,
            "seed": run.seed,
            "exported": run.seed == results.models[role].exported_seed,
            "best_epoch": kept_epoch(run),
            "validation": metrics.value(results.metric, run.best.score),
            "test": _told(results.metric, metrics.score_of(run.test, results.metric)),
            "steps": count(run.num_steps),
            "time": duration(sum(epoch.seconds for epoch in run.epochs))
            + (f", in {words.plain(run.taken_from)}" if run.taken_from else ""),
            "speed": count(round(run.images_per_second)) if run.num_steps else "",
            "device": f"{run.device}, {run.precision}",
        }
        for role in words.present(results)
        for run in results.models[role].seeds
    ]
