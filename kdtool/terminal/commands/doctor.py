"""What `kdtool doctor` prints: a line for each finding, and what a study would take."""

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from kdtool.format import (
    count,
    duration,
    file_size,
    percent_number,
    plural,
    printable,
    role_name,
    three_digits,
)
from kdtool.results.commands.doctor import (
    Detectable,
    DoctorReport,
    Finding,
    Forecast,
    Mark,
    ModelForecast,
)
from kdtool.terminal.text import new_table, plain_text, print_hanging, print_table, print_text

MARKS: dict[Mark, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "warning": ("warning", "bold yellow"),
    "fails": ("FAILS", "bold red"),
}
INDENT = 9  # characters: the longest mark and two spaces


def show_doctor(console: Console, report: DoctorReport) -> None:
    """Print what was found.

    Args:
        console: The output.
        report: Of `doctor`.
    """
    for finding in report.findings:
        _show_finding(console, finding)
    if report.forecast:
        console.print()
        _show_forecast(console, report.forecast)
    if report.detectable and report.num_test is not None and report.num_seeds is not None:
        console.print()
        _show_detectable(console, report.detectable, report.num_test, report.num_seeds)
    console.print()
    print_text(console, plain_text(console, _summary(report)))


def _show_finding(console: Console, finding: Finding) -> None:
    word, style = MARKS[finding.mark]
    text = f"{finding.topic}: {finding.found}; {finding.means}"
    text += f". To fix it: {finding.fix}" if finding.fix else ""
    label = Text(f"{word:<{INDENT}}", style=style)
    print_hanging(console, label, plain_text(console, printable(text)))


def _show_forecast(console: Console, forecast: Forecast) -> None:
    table = new_table()
    table.add_column("")
    for head in ("models", "trained", "steps", "a step", "one model"):
        table.add_column(head, justify="right", no_wrap=True)
    for one in forecast.models:
        cells = (
            role_name(one.role),
            count(one.num_models),
            count(one.num_trained),
            count(one.num_steps),
            _step(one),
            duration(one.seconds),
        )
        table.add_row(*(plain_text(console, cell) for cell in cells))
    print_table(console, table)
    for sentence in _sentences(forecast):
        print_text(console, plain_text(console, sentence))


def _step(one: ModelForecast) -> str:
    if one.step_seconds is None:
        return "-"
    return f"{three_digits(1000 * one.step_seconds)} ms"


def _sentences(forecast: Forecast) -> Iterator[str]:
    together = f", {forecast.jobs} models at a time" if forecast.jobs > 1 else ""
    threads = plural(forecast.threads, "thread")
    memory = (
        f" About {file_size(forecast.memory_bytes)} of memory." if forecast.memory_bytes else ""
    )
    yield (
        f"Expected: {duration(forecast.seconds)} of training{together}, with {threads} each."
        f"{memory} The study takes about {file_size(forecast.disk_bytes)} of disk."
    )
    yield from (f"Assumed: {text}." for text in forecast.assumptions)


def _show_detectable(
    console: Console, detectable: list[Detectable], num_test: int, num_seeds: int
) -> None:
    sentence = f"{plural(num_test, 'test image')} and {plural(num_seeds, 'seed')} can show"
    print_text(console, plain_text(console, f"{sentence} differences of accuracy from"))
    for number, one in enumerate(detectable):
        size = f"{percent_number(one.visible)} points" if one.visible < 1 else "none"
        who = "" if number else " student and control, one right and one wrong, differ"
        share = f"{percent_number(one.share, 0)} % of the images"
        text = f"{size}, if{who} on {share}{'' if number else ', as on MNIST'}"
        print_hanging(console, Text("  "), plain_text(console, text))


def _summary(report: DoctorReport) -> str:
    fails = sum(one.mark == "fails" for one in report.findings)
    warnings = sum(one.mark == "warning" for one in report.findings)
    also = f"; {plural(warnings, 'warning')}" if warnings else ""
    what = "the recipe" if report.recipe else "this installation"
    if fails:
        return f"{plural(fails, 'finding')} would stop kdtool later{also}."
    return f"Nothing was found that would stop {what} later{also}."
