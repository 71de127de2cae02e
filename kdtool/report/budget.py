"""The files of a study against the budgets of its recipe's `[device]`."""

from collections.abc import Iterator

from kdtool.format import MINUS, file_size, milliseconds, milliseconds_range, percent_number
from kdtool.report.measured import Measured, measured
from kdtool.results.base import Interval, Role
from kdtool.results.decision import BudgetCheck, Fit
from kdtool.results.study import FileResult, Results


def limits_of(results: Results) -> dict[str, float]:
    """Return the budgets of the recipe, by key of `[device]`; empty without any."""
    table = results.recipe.get("device")
    given = table if isinstance(table, dict) else {}
    return {key: float(limit) for key, limit in given.items() if limit is not None}


def budget_checks(results: Results, role: Role) -> list[BudgetCheck]:
    """Compare every file of a role with every budget, on every machine that counts.

    The devices count, once there are some; until then the machine that made the study.
    """
    limits = limits_of(results)
    if not limits:
        return []
    rows = [row for row in measured(results) if row.role == role and row.latency.batch_size == 1]
    counted = [row for row in rows if not row.here] or rows
    found: list[BudgetCheck] = []
    for file in results.models[role].files.values():
        fastest: dict[str, Measured] = {}  # of the settings on a machine, quiet ones first
        for row in counted:
            if row.file.sha256 == file.sha256:
                best = fastest.setdefault(row.machine, row)
                fastest[row.machine] = min(best, row, key=_noise_and_time)
        found += _of_file(file, limits)
        for machine, row in fastest.items():
            found += _on_machine(file, machine, row, limits)
        if not fastest:
            found += [
                _check(file, budget, limits[budget], None, None, None)
                for budget in ("max_latency_ms", "max_memory_mb")
                if budget in limits
            ]
    return found


def _noise_and_time(row: Measured) -> tuple[bool, float]:
    return row.latency.noise is not None, row.latency.p50_ms


def _of_file(file: FileResult, limits: dict[str, float]) -> Iterator[BudgetCheck]:
    """Yield the checks that are the same on each machine."""
    if limit := limits.get("max_size_mb"):
        yield _check(file, "max_size_mb", limit, file.size_bytes / 1e6, None, None)
    if limit := limits.get("max_drop"):
        found = file.against_teacher
        loss, ends = (-found.difference, _negative(found.ci95)) if found else (None, None)
        yield _check(file, "max_drop", limit, loss, ends, None)


def _negative(interval: Interval) -> Interval:
    return -interval[1], -interval[0]


def _on_machine(
    file: FileResult, machine: str, row: Measured, limits: dict[str, float]
) -> Iterator[BudgetCheck]:
    latency = row.latency
    if limit := limits.get("max_latency_ms"):
        one = _check(file, "max_latency_ms", limit, latency.p50_ms, latency.p50_ci95_ms, machine)
        yield (
            one.model_copy(update={"fit": "not known to be within budget"})
            if latency.noise
            else one
        )
    if limit := limits.get("max_memory_mb"):
        memory = latency.model_memory_bytes
        value = None if memory is None else memory / 1e6
        yield _check(file, "max_memory_mb", limit, value, None, machine)


def _check(
    file: FileResult,
    budget: str,
    limit: float,
    value: float | None,
    ci95: Interval | None,
    machine: str | None,
) -> BudgetCheck:
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
    content = {"file": file.path, "budget": budget, "machine": machine, "limit": limit}
    return BudgetCheck.model_validate(content | {"value": value, "ci95": ci95, "fit": fit})


def budget_sentence(check: BudgetCheck) -> str:
    """Return a check as a sentence, such as "student.onnx is over: ..."."""
    return f"{check.file} is {check.fit}: {budget_phrase(check)}."


def budget_phrase(check: BudgetCheck) -> str:
    """Return a check in words, such as "12.40 ms (12.10 to 12.90) of at most 10.00 ms on a Pi"."""

    def shown(value: float) -> str:
        match check.budget:
            case "max_latency_ms":
                return milliseconds(value)
            case "max_size_mb":
                return file_size(round(1e6 * value))
            case "max_memory_mb":
                return f"{file_size(round(1e6 * value))} of memory"
            case "max_drop":
                return f"{percent_number(value, 2).replace('-', MINUS)} points lost"

    value = "not measured" if check.value is None else shown(check.value)
    if check.ci95 and check.budget == "max_latency_ms":
        value += f" ({milliseconds_range(check.ci95)})"
    elif check.ci95:
        low, high = (percent_number(end, 2).replace("-", MINUS) for end in check.ci95)
        value += f" ({low} to {high})"
    on = f" on {check.machine}" if check.machine else ""
    return f"{value}, at most {shown(check.limit)}{on}"
