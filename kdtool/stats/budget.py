"""Whether a file keeps to a budget: the only rule, for studies and for `kdtool profile`.

A file is within budget only if the whole interval of its value is, and over budget only if the
whole interval is; in between, on a busy machine, and without a value it is not known.
"""

from collections.abc import Iterator, Mapping, Sequence

from kdtool.results.base import Interval
from kdtool.results.decision import BudgetCheck, Fit
from kdtool.results.profile import Latency

Timings = Sequence[tuple[str | None, Sequence[Latency]]]  # of a file; `BudgetCheck.machine`


def cost_checks(
    path: str, size_bytes: int, timings: Timings, limits: Mapping[str, float]
) -> list[BudgetCheck]:
    """Compare a file with the budgets of size, latency and memory.

    Latency and memory are those of single images, in the file's fastest quiet setting on a machine.

    Args:
        path: Of the file, as it is named.
        size_bytes: Of the file.
        timings: Its latencies on each machine, in all settings; none: not measured.
        limits: By key of `[device]`; a key that is absent is no budget.
    """
    found = []
    if limit := limits.get("max_size_mb"):
        found.append(budget_check(path, "max_size_mb", limit, size_bytes / 1e6, None))
    single = {
        machine: [one for one in latencies if one.batch_size == 1] for machine, latencies in timings
    }
    best = {
        machine: min(latencies, key=_noise_and_time)
        for machine, latencies in single.items()
        if latencies
    }
    for machine, latency in best.items():
        found += _on_machine(path, machine, latency, limits)
    if not best:
        found += [
            budget_check(path, budget, limits[budget], None, None)
            for budget in ("max_latency_ms", "max_memory_mb")
            if budget in limits
        ]
    return found


def _noise_and_time(latency: Latency) -> tuple[bool, float]:
    return latency.noise is not None, latency.p50_ms


def _on_machine(
    path: str, machine: str | None, latency: Latency, limits: Mapping[str, float]
) -> Iterator[BudgetCheck]:
    if limit := limits.get("max_latency_ms"):
        one = budget_check(
            path, "max_latency_ms", limit, latency.p50_ms, latency.p50_ci95_ms, machine
        )
        yield (
            one.model_copy(update={"fit": "not known to be within budget"})
            if latency.noise
            else one
        )
    if limit := limits.get("max_memory_mb"):
        memory = latency.model_memory_bytes
        value = None if memory is None else memory / 1e6
        yield budget_check(path, "max_memory_mb", limit, value, None, machine)


def budget_check(
    path: str,
    budget: str,
    limit: float,
    value: float | None,
    ci95: Interval | None,
    machine: str | None = None,
) -> BudgetCheck:
    """Compare a value with its budget.

    Args:
        path: Of the file, as it is named.
        budget: Key of `[device]`.
        limit: In the unit of the budget.
        value: In the unit of the budget; None: not measured.
        ci95: Interval of the value; None: it has none.
        machine: That measured it.
    """
    fit: Fit = "not known to be within budget"
    if value is not None:
        low, high = ci95 or (value, value)
        fit = (
            "within budget"
            if high <= limit
            else "over budget"
            if low > limit
            else "not known to be within budget"
        )
    content = {"file": path, "budget": budget, "machine": machine, "limit": limit}
    return BudgetCheck.model_validate(content | {"value": value, "ci95": ci95, "fit": fit})
