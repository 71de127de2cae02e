"""The files of a study against the budgets of its recipe's `[device]`, and budgets in words."""

from collections.abc import Iterable, Iterator

from kdtool.format import (
    MINUS,
    file_size,
    listed,
    milliseconds,
    milliseconds_range,
    percent_number,
)
from kdtool.report.parts.measured import Measured, measured
from kdtool.results.base import Interval, Role
from kdtool.results.decision import BudgetCheck
from kdtool.results.profile import Latency
from kdtool.results.study import FileResult, Results
from kdtool.stats.budget import budget_check, cost_checks


def limits_of(results: Results) -> dict[str, float]:
    """Return the budgets of the recipe, by key of `[device]`; empty without any."""
    table = results.recipe.get("device")
    given = table if isinstance(table, dict) else {}
    return {key: float(limit) for key, limit in given.items() if limit is not None}


def budget_checks(results: Results, role: Role) -> list[BudgetCheck]:
    """Compare every file of a role with every budget, on every machine that counts.

    The devices count, once there are some; until then the machine that made the study.
    """
    rows = [row for row in measured(results) if row.role == role]
    return checks_of_rows(results, role, [row for row in rows if not row.here] or rows)


def checks_of_rows(results: Results, role: Role, rows: Iterable[Measured]) -> list[BudgetCheck]:
    """Compare every file of a role with every budget, on the machines of some measurements.

    Times of a runtime that gives other answers do not count.
    """
    timings: dict[str, dict[str, list[Latency]]] = {}  # by file, then by machine
    for row in (one for one in rows if not one.other_answers):
        machines = timings.setdefault(row.file.path, {})
        machines.setdefault(row.machine, []).append(row.latency)
    limits = limits_of(results)
    return [
        check
        for file in results.models[role].files.values()
        for check in (
            *cost_checks(file.path, file.size_bytes, [*timings.get(file.path, {}).items()], limits),
            *_drop_check(file, limits),
        )
    ]


def missed(file: FileResult, checks: Iterable[BudgetCheck]) -> list[BudgetCheck]:
    """Return the budgets that a file is over, or is not known to keep to."""
    return [one for one in checks if one.file == file.path and one.fit != "within budget"]


def _drop_check(file: FileResult, limits: dict[str, float]) -> Iterator[BudgetCheck]:
    if limit := limits.get("max_drop"):
        found = file.against_teacher
        loss, ends = (-found.difference, _negative(found.ci95)) if found else (None, None)
        yield budget_check(file.path, "max_drop", limit, loss, ends)


def _negative(interval: Interval) -> Interval:
    return -interval[1], -interval[0]


def budget_sentences(checks: Iterable[BudgetCheck]) -> list[str]:
    """Return checks as sentences; files of which the same is said share one."""
    files: dict[tuple[str, str], list[str]] = {}
    for check in checks:
        files.setdefault((check.fit, budget_phrase(check)), []).append(check.file)
    return [
        f"{listed(paths)} {'is' if len(paths) == 1 else 'are'} {fit}: {phrase}."
        for (fit, phrase), paths in files.items()
    ]


def budget_phrase(check: BudgetCheck) -> str:
    """Return a check in words, such as "12.40 ms (12.10 to 12.90) of at most 10.00 ms on a Pi"."""
    value = "not measured" if check.value is None else budget_value(check, check.value)
    ends = budget_interval(check)
    on = f" on {check.machine}" if check.machine else ""
    limit = budget_value(check, check.limit)
    return f"{value}{ends and f' ({ends})'}, at most {limit}{on}"


def budget_value(check: BudgetCheck, value: float) -> str:
    """Return a value in the unit of a budget, such as "12.40 ms"."""
    match check.budget:
        case "max_latency_ms":
            return milliseconds(value)
        case "max_size_mb":
            return file_size(round(1e6 * value))
        case "max_memory_mb":
            return f"{file_size(round(1e6 * value))} of memory"
        case "max_drop":
            return f"{percent_number(value, 2).replace('-', MINUS)} points lost"


def budget_interval(check: BudgetCheck) -> str:
    """Return the interval of a value, such as "12.10 to 12.90"; empty: it has none."""
    if check.ci95 is None:
        return ""
    if check.budget == "max_latency_ms":
        return milliseconds_range(check.ci95)
    return " to ".join(percent_number(end, 2).replace("-", MINUS) for end in check.ci95)
