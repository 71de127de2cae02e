"""Which file to ship on each machine whose profile was merged into a study."""

from collections.abc import Sequence

from kdtool.format import listed, points, points_range, time_ratio, time_ratio_range
from kdtool.report.budget import budget_phrase, checks_of_rows, limits_of, missed
from kdtool.report.parts.measured import RUNTIMES, Measured, measured
from kdtool.results.base import Interval, Role
from kdtool.results.decision import DeviceChoice
from kdtool.results.machines import setting
from kdtool.results.study import FileResult, Results
from kdtool.stats.speed import is_faster, ratio_interval


def device_choices(
    results: Results, role: Role, candidates: Sequence[FileResult], alarm: str | None
) -> list[DeviceChoice]:
    """Return the choice for each machine that measured files of the study, in their order.

    Args:
        results: The study's.
        role: Of the student that ships.
        candidates: Its files that keep their accuracy.
        alarm: Why none of its files ships anywhere; None: nothing speaks against them.
    """
    rows = [row for row in measured(results) if not row.here]
    choices = []
    for machine in dict.fromkeys(row.machine for row in rows):
        if alarm is not None:
            choices.append(_nothing(machine, alarm))
            continue
        own = [row for row in rows if row.machine == machine and row.role == role]
        choices.append(_choice(results, role, candidates, machine, own))
    return choices


def same_choices(choices: Sequence[DeviceChoice]) -> list[tuple[DeviceChoice, list[str]]]:
    """Return each choice once, with all machines of which the same is said."""
    machines: dict[tuple[object, ...], list[str]] = {}
    first: dict[tuple[object, ...], DeviceChoice] = {}
    for one in choices:
        key = (one.is_known, one.ship, one.because)
        machines.setdefault(key, []).append(one.machine)
        first.setdefault(key, one)
    return [(one, machines[key]) for key, one in first.items()]


def _nothing(machine: str, because: str) -> DeviceChoice:
    return DeviceChoice(machine=machine, is_known=True, ship=None, because=because)


def _not_known(machine: str, because: str) -> DeviceChoice:
    return DeviceChoice(machine=machine, is_known=False, ship=None, because=because)


def _choice(
    results: Results,
    role: Role,
    candidates: Sequence[FileResult],
    machine: str,
    rows: list[Measured],
) -> DeviceChoice:
    """Return the fastest of the files that keep accuracy and budget on a machine.

    As everywhere, a smaller file is chosen only if it is measurably faster than the fp32 file, and
    no choice rests on times of a busy machine.
    """
    if not candidates:
        return _nothing(machine, "None of the files is recommended.")
    single = [row for row in rows if row.latency.batch_size == 1 and not row.other_answers]
    if not single:
        paths = listed([one.path for one in candidates])
        return _not_known(machine, f"It has not timed {paths} with single images: measure there.")
    checks = checks_of_rows(results, role, single)
    kept = [file for file in candidates if not missed(file, checks)]
    if not kept:
        phrases = [
            f"{file.path}: {', '.join(map(budget_phrase, missed(file, checks)))}"
            for file in candidates
        ]
        return _nothing(machine, f"No file is known to keep to the budget: {'; '.join(phrases)}.")
    usable = [row for row in single if row.file in kept]
    quiet = [row for row in usable if not row.latency.noise]
    if not quiet:
        noise = next((row.latency.noise for row in usable), None)
        why = (
            f"Its times are from a busy machine ({noise}): measure again when it is quiet."
            if noise
            else f"It has not timed {listed([one.path for one in kept])}: measure there."
        )
        return _not_known(machine, why)
    fastest = min(quiet, key=lambda row: row.latency.p50_ms)
    same = [row for row in quiet if setting(row.latency) == setting(fastest.latency)]
    wrong = [
        row.file
        for row in rows
        if row.other_answers and setting(row.latency) == setting(fastest.latency)
    ]
    excluded = _excluded(results, role, candidates, kept)
    if wrong:
        paths = listed([file.path for file in wrong])
        runtime = RUNTIMES[fastest.latency.runtime]
        excluded += f" {runtime} does not give ONNX Runtime's answers with {paths}."
    right = [file for file in kept if file not in wrong]
    return _fastest(results, right, fastest, same, excluded)


def _excluded(
    results: Results, role: Role, candidates: Sequence[FileResult], kept: Sequence[FileResult]
) -> str:
    """Return why files are not considered, as sentences, each after a space."""
    files = results.models[role].files.values()
    inaccurate = [file.path for file in files if file not in candidates]
    over = [file.path for file in candidates if file not in kept]
    reasons = ((over, "known to keep to the budget there"), (inaccurate, "accurate enough"))
    return "".join(
        f" {listed(paths)} {'is' if len(paths) == 1 else 'are'} not {what}."
        for paths, what in reasons
        if paths
    )


def _fastest(
    results: Results,
    kept: Sequence[FileResult],
    fastest: Measured,
    same: list[Measured],
    excluded: str,
) -> DeviceChoice:
    """Choose between files of which `fastest` has the shortest median, all in one setting."""
    machine = fastest.machine
    fp32 = next((file for file in kept if file.gate is None), None)
    reference = next((row for row in same if row.file is fp32), None)
    untimed = [file.path for file in kept if all(row.file is not file for row in same)]
    if untimed and (len(same) == 1 or (fp32 and reference is None)):
        return _not_known(
            machine,
            f"It has timed {fastest.file.path} and not {listed(untimed)} in a quiet moment: "
            "measure them there with one command.",
        )
    budget = " It keeps to the budget." if limits_of(results) else ""
    if reference is None or fp32 is None:
        only = "the only file" if len(kept) == 1 else "the fastest of the files"
        because = f"It is {only} that keeps accuracy and budget there{_where(fastest)}."
        return _ships(machine, fastest.file, because + excluded)
    others = [row for row in same if row is not reference]
    if not others:
        because = f"It is the only file to choose from{_where(fastest)}."
        return _ships(machine, fp32, because + budget + excluded)
    faster = [row for row in others if is_faster(_ratio(row, reference)[1])]
    if not faster:
        nearest = min(others, key=lambda row: row.latency.p50_ms)
        because = (
            f"No smaller file is measurably faster there: {nearest.file.path} takes "
            f"{_ratio_text(nearest, reference)}{_where(nearest)}."
        )
        return _ships(machine, fp32, because + budget + excluded)
    best = min(faster, key=lambda row: row.latency.p50_ms)
    because = f"It takes {_ratio_text(best, reference)} there{_where(best)}{_accuracy(best.file)}."
    return _ships(machine, best.file, because + budget + excluded)


def _where(row: Measured) -> str:
    """Return in which runtime, where it is not ONNX Runtime."""
    runtime = row.latency.runtime
    return "" if runtime == "onnxruntime" else f" in {RUNTIMES[runtime]}"


def _ships(machine: str, file: FileResult, because: str) -> DeviceChoice:
    return DeviceChoice(machine=machine, is_known=True, ship=file.path, because=because)


def _ratio(row: Measured, reference: Measured) -> tuple[float, Interval]:
    """Return time / time of fp32; from both medians where the files were not timed in turn."""
    return row.time_ratio or (
        row.latency.p50_ms / reference.latency.p50_ms,
        ratio_interval(row.latency.p50_ci95_ms, reference.latency.p50_ci95_ms),
    )


def _ratio_text(row: Measured, reference: Measured) -> str:
    ratio, ends = _ratio(row, reference)
    return f"{time_ratio(ratio)} the time of {reference.file.path} ({time_ratio_range(ends)})"


def _accuracy(file: FileResult) -> str:
    """Return what a smaller file costs against fp32, on the test images."""
    if file.gate is None:
        return ""
    change, ends = points(file.gate.difference), points_range(file.gate.ci95)
    return f" and keeps its accuracy: {change} points ({ends}) on the test images"
