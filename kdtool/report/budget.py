"""Files against budgets: `[device]` of a study's recipe, or `kdtool profile --budget`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from kdtool.format import MINUS, file_size, milliseconds, milliseconds_range, percent_number
from kdtool.report.measured import Measured, machine_name, measured
from kdtool.results.base import Interval, Role
from kdtool.results.decision import BudgetCheck, Fit
from kdtool.results.profile import Latency, ProfileReport
from kdtool.results.study import FileResult, PairedDifference, Results

Timings = Mapping[str, Sequence[Latency]]  # of a file, by machine


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
    """Compare every file of a role with every budget, on the machines of some measurements."""
    timings: dict[str, dict[str, list[Latency]]] = {}  # by file, then by machine
    for row in rows:
        machines = timings.setdefault(row.file.path, {})
        machines.setdefault(row.machine, []).append(row.latency)
    limits = limits_of(results)
    return [
        check
        for file in results.models[role].files.values()
        for check in _checks(file.path, file.size_bytes, timings.get(file.path, {}), limits)
        + _check_drop(file.path, file.against_teacher, limits)
    ]


def profile_checks(report: ProfileReport, limits: Mapping[str, float]) -> list[BudgetCheck]:
    """Compare every file of a profile with every budget, on the machine that measured it.

    Args:
        report: Of `kdtool profile`.
        limits: By key of `[device]`, without `max_drop`.
    """
    machine = machine_name(report.environment)
    sizes = {model.path: model.size_bytes for model in report.models}
    timings: dict[str, list[Latency]] = {path: [] for path in sizes}  # of all runtimes
    for model in report.models:
        timings[model.path] += [model.latency, *model.other_latencies]
    return [
        check
        for path, size in sizes.items()
        for check in _checks(path, size, {machine: timings[path]}, limits)
    ]


def missed(file: FileResult, checks: Iterable[BudgetCheck]) -> list[BudgetCheck]:
    """Return the budgets that a file is over, or is not known to keep to."""
    return [one for one in checks if one.file == file.path and one.fit != "within budget"]


def _checks(
    path: str, size_bytes: int, timings: Timings, limits: Mapping[str, float]
) -> list[BudgetCheck]:
    """Compare a file with its budgets: single images, in its fastest quiet setting on a machine."""
    found = []
    if limit := limits.get("max_size_mb"):
        found.append(_check(path, "max_size_mb", limit, size_bytes / 1e6, None, None))
    single = {
        machine: [one for one in latencies if one.batch_size == 1]
        for machine, latencies in timings.items()
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
            _check(path, budget, limits[budget], None, None, None)
            for budget in ("max_latency_ms", "max_memory_mb")
            if budget in limits
        ]
    return found


def _noise_and_time(latency: Latency) -> tuple[bool, float]:
    return latency.noise is not None, latency.p50_ms


def _check_drop(
    path: str, found: PairedDifference | None, limits: Mapping[str, float]
) -> list[BudgetCheck]:
    limit = limits.get("max_drop")
    if not limit:
        return []
    loss, ends = (-found.difference, _negative(found.ci95)) if found else (None, None)
    return [_check(path, "max_drop", limit, loss, ends, None)]


def _negative(interval: Interval) -> Interval:
    return -interval[1], -interval[0]


def _on_machine(
    path: str, machine: str, latency: Latency, limits: Mapping[str, float]
) -> Iterator[BudgetCheck]:
    if limit := limits.get("max_latency_ms"):
        one = _check(path, "max_latency_ms", limit, latency.p50_ms, latency.p50_ci95_ms, machine)
        yield (
            one.model_copy(update={"fit": "not known to be within budget"})
            if latency.noise
            else one
        )
    if limit := limits.get("max_memory_mb"):
        memory = latency.model_memory_bytes
        value = None if memory is None else memory / 1e6
        yield _check(path, "max_memory_mb", limit, value, None, machine)


def _check(
    path: str,
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
    content = {"file": path, "budget": budget, "machine": machine, "limit": limit}
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
