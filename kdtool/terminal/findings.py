"""What a profile found besides costs: answers of other runtimes, the fastest one, long runs."""

from collections.abc import Iterator, Sequence

from rich.markup import escape
from rich.table import Table

from kdtool.format import count, decimals, listed, plural, three_digits
from kdtool.results.profile import (
    Agreement,
    FailedRun,
    ModelProfile,
    ProfileReport,
    Soak,
    Trend,
)
from kdtool.terminal.text import ascii_table

Named = Sequence[tuple[str, ModelProfile]]  # each model with the name that is shown
NamedRuns = Sequence[tuple[str, FailedRun]]
NOT_COMPARED = (
    "only image classifiers of kdtool's form are, with an input `image` and the outputs `logits` "
    "and `probabilities`"
)


def answers_head(models: Named) -> str:
    """Return what answers were compared with, and on which images."""
    found = [model.agreement for _, model in models if model.agreement]
    images = listed(list(dict.fromkeys(map(_images, found))))
    on = f", on {images}" if images else ""
    return f"Answers compared with those of ONNX Runtime with the same ONNX file{on}"


def _images(one: Agreement) -> str:
    golden = f"{plural(one.num_golden, 'golden image')} and " if one.num_golden else ""
    return f"{golden}{plural(one.num_patterns, 'random pattern')}"


def answers_table(models: Named, failed: NamedRuns) -> Table | None:
    """Return how the answers of other runtimes compare; None: there is no other runtime."""
    compared = [(name, model.agreement) for name, model in models if model.agreement]
    if not compared and not failed:
        return None
    table = ascii_table("model", "other class", "difference", "answers")
    for name, one in compared:
        table.add_row(name, *_agreement_cells(one))
    for name, _ in failed:
        table.add_row(name, "-", "-", "none")
    return table


def _agreement_cells(one: Agreement) -> tuple[str, str, str]:
    flipped = "-"
    if one.num_flipped is not None:
        ties = f", {one.num_ties} tied" if one.num_ties else ""
        flipped = f"{one.num_flipped} of {one.num_golden + one.num_patterns}{ties}"
    largest = "-" if one.max_difference is None else f"{one.max_difference:.1e}"
    return flipped, largest, "differ" if one.problem else "agree"


def answer_lines(models: Named, failed: NamedRuns) -> Iterator[str]:
    """Yield which runtimes answer otherwise, do not run a file, or were not compared."""
    for name, model in models:
        if model.agreement and model.agreement.problem:
            yield f"[bold red]answers differ[/]: {name}: {escape(model.agreement.problem)}"
    for name, run in failed:
        yield f"[yellow]cannot run it[/]: {name}: {escape(run.reason)}"
    for name, model in models:
        if model.agreement is None and model.latency.runtime != "onnxruntime":
            yield f"answers not compared: {name}: {NOT_COMPARED}"


def fastest_lines(models: Named, report: ProfileReport) -> Iterator[str]:
    """Yield which file in which runtime is the fastest, of those with the right answers."""
    shown = {model.name: name for name, model in models}
    for one in report.fastest:
        of = f" of {escape(one.among)}" if len(report.fastest) > 1 else ""
        against = f"{shown[one.against]} in ONNX Runtime"
        time = f"{three_digits(one.p50_ms)} ms"
        if one.ratio is None or one.ci95 is None:
            yield f"fastest here{of}: [bold]{against}[/], {time}"
        else:
            low, high = (decimals(end) for end in one.ci95)
            ratio = f"time ratio {decimals(one.ratio)} ({low} to {high})"
            name = f"[bold]{shown[one.name]}[/]"
            if one.verdict and one.verdict.endswith("faster"):
                yield f"fastest here{of}: {name}, {time}, {one.verdict} than {against}: {ratio}"
            else:
                yield f"fastest here{of}: {name}, {time}, and {against}: {one.verdict}, {ratio}"
        if one.noise:
            yield "  do not rely on it: these times are noisy"


def soak_lines(name: str, soak: Soak) -> Iterator[str]:
    """Yield what a long run showed, as markup.

    Args:
        name: Of the model, as it is shown.
        soak: The run.
    """
    minutes = f"{three_digits(soak.minutes)} minute{'' if soak.minutes == 1 else 's'}"
    yield f"{name}, {minutes} without a pause, {count(soak.num_runs)} runs:"
    yield f"  {_memory(soak.memory_bytes_per_hour)}"
    slowest = max(point.max_ms for point in soak.points)
    yield f"  {_time(soak)}; slowest run {three_digits(slowest)} ms"
    hottest = [one.temperature_c for one in soak.points if one.temperature_c is not None]
    clocks = [one.clock_mhz for one in soak.points if one.clock_mhz is not None]
    if hottest:
        first, most = f"{hottest[0]:.0f}", f"{max(hottest):.0f}"
        yield f"  temperature: {first} degrees Celsius at first, at most {most}"
    if clocks:
        yield f"  clock: {clocks[0]:.0f} MHz at first, at least {min(clocks):.0f}"
    if soak.num_throttled:
        times = plural(soak.num_throttled, "time")
        yield f"  [bold red]throttled[/] {times}: a core was slowed because it was hot"


def _memory(growth: Trend | None) -> str:
    if growth is None:
        return "memory: too short to say, or this system does not report it"
    low, high = (three_digits(end / 1e6) for end in growth.ci95)
    found = "[bold red]grows[/]" if growth.ci95[0] > 0 else "does not measurably grow"
    value = three_digits(growth.value / 1e6)
    return f"memory {found}: {value} MB an hour (95 % interval {low} to {high})"


def _time(soak: Soak) -> str:
    if soak.slower_by is None or soak.verdict is None:
        return "time: too short to say whether it changes"
    low, high = (decimals(end) for end in soak.slower_by.ci95)
    ratio = f"{decimals(soak.slower_by.value)} of that at the start ({low} to {high})"
    return f"time at the end: {soak.verdict}, {ratio}"
