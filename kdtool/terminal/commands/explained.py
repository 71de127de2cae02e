"""What `kdtool explain MODEL.onnx IMAGE...` prints: a line for each picture."""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from kdtool.format import percent, printable, probability
from kdtool.results.explained import ExplainedFile, ExplainFilesReport
from kdtool.terminal.text import plain_text, print_text


def show_explained_files(console: Console, report: ExplainFilesReport) -> None:
    """Print what was explained, how faithful the maps are, and where they are."""
    for one in report.images:
        if one.error is None:
            print_text(console, plain_text(console, printable("; ".join(_parts(one)))))
    page = str(Path(report.folder) / "index.html")
    console.print(Text("Page: ") + plain_text(console, page, "bold"), soft_wrap=True)


def _parts(one: ExplainedFile) -> Iterator[str]:
    yield f"{one.path}: {one.predicted} {percent(one.probability or 0)}"
    if one.explained != one.predicted:
        yield f"explained: {one.explained} {percent(one.explained_probability or 0)}"
    if one.is_constant:
        yield "the answer depends on no single place"
        return
    yield (
        f"deletion {probability(one.deletion or 0)} (random "
        f"{probability(one.random_deletion or 0)}), insertion {probability(one.insertion or 0)} "
        f"(random {probability(one.random_insertion or 0)})"
    )
