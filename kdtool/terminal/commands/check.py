"""What `kdtool check` prints: images, networks, and what would be trained."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdtool.format import (
    bounded,
    channels,
    count,
    listed,
    plural,
    printable,
    role_name,
    short_count,
)
from kdtool.results.base import SPLITS
from kdtool.results.commands.check import CheckReport, ModelsToTrain
from kdtool.results.study import DataResult
from kdtool.terminal.text import ROLE_STYLES, new_table, plain_text, print_table, print_text

MOST_CLASSES = 30  # rows of the table; of more classes, those with the fewest images


def show_check(console: Console, report: CheckReport) -> None:
    """Print what a recipe means.

    Args:
        console: The output; every line fits 80 columns.
        report: Of `check`.
    """
    data = report.data
    depth, height, width = data.image_shape
    sentence = f"{data.description}: images of {width} x {height} pixels, {channels(depth)}"
    print_text(console, plain_text(console, printable(sentence)))
    print_table(console, _classes(console, data))
    console.print()
    print_table(console, _networks(console, report))
    console.print()
    for sentence in _sentences(report):
        print_text(console, plain_text(console, printable(sentence)))
    line = Text("Study: ") + plain_text(console, report.folder, "bold")
    console.print(line + Text(" (not changed)"), soft_wrap=True)


def _classes(console: Console, data: DataResult) -> Table:
    """Return a row for each class and one for all, a column for each split."""
    table = new_table()
    table.add_column("class", overflow="fold")
    for split in SPLITS:
        table.add_column(split, justify="right", no_wrap=True)
    rows = list(zip(data.classes, *(data.class_counts[split] for split in SPLITS), strict=True))
    if num_more := max(0, len(rows) - MOST_CLASSES):
        rows = sorted(rows, key=lambda row: sum(row[1:]))[:MOST_CLASSES]
    for name, *numbers in rows:
        cells = (printable(name), *map(count, numbers))
        table.add_row(*(plain_text(console, cell) for cell in cells))
    if num_more:
        table.add_row(f"{num_more:,} more classes, with more images", "", "", "")
    totals = (data.num_train, data.num_validation, data.num_test)
    table.add_row("all", *map(count, totals), style="bold")
    return table


def _networks(console: Console, report: CheckReport) -> Table:
    table = new_table()
    table.add_column("")
    table.add_column("network", overflow="fold")
    for head in ("parameters", "MACs", "epochs"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("starts from", overflow="fold")
    for one in report.networks:
        cells = (
            printable(one.model),
            bounded(short_count(one.num_params), at_least=one.params_at_least),
            bounded(short_count(one.num_macs), at_least=one.macs_at_least),
            str(one.num_epochs),
            printable(one.weights or "random weights"),
        )
        name = plain_text(console, one.role, ROLE_STYLES[one.role])
        table.add_row(name, *(plain_text(console, cell) for cell in cells))
    return table


def _sentences(report: CheckReport) -> Iterator[str]:
    models = [_plural(one, one.num_models) for one in report.models]
    trained = [_plural(one, one.num_trained) for one in report.models if one.num_trained]
    has_subclasses = any(one.role == "subclass-student" for one in report.models)
    command = "subclass-distill" if has_subclasses else "distill"
    text = f"kdtool {command} would train on {report.device}: {listed(models)}"
    yield text + (f"; trained already: {listed(trained)}." if trained else ".")
    warnings = plural(len(report.warnings), "warning") if report.warnings else "no warning"
    yield f"The recipe can be trained; {warnings}."


def _plural(models: ModelsToTrain, number: int) -> str:
    return plural(number, role_name(models.role))
