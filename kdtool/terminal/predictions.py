"""What `kdtool predict` prints: a line for each image, how many were right, or a csv table."""

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from kdtool.edge.predict import Accuracy, Prediction, PredictionReport
from kdtool.format import (
    FORMULA,
    count,
    csv_text,
    listed,
    percent,
    percent_number,
    percent_range,
    plural,
    printable,
)
from kdtool.terminal.text import plain_text, print_text


def show_predictions(console: Console, report: PredictionReport) -> None:
    """Print a line for each image that could be read: its classes, the decided one first."""
    for prediction in report.predictions:
        if prediction.error:
            continue
        # A letter that the terminal lacks is escaped.
        encoded = _describe(prediction, report).encode(console.encoding, "backslashreplace")
        text = Text(encoded.decode(console.encoding))
        if console.is_terminal:
            print_text(console, text)
        else:  # a line for each image, for other programs
            console.print(text, soft_wrap=True)


def _describe(prediction: Prediction, report: PredictionReport) -> str:
    limits = {}
    if report.threshold is not None:
        limits[report.positive] = f" (threshold {100 * report.threshold:.4g} %)"
    first = prediction.decided or prediction.refused
    called_first = sorted(prediction.classes, key=lambda entry: entry.name != first)
    classes = ", ".join(
        f"{entry.name} {percent_number(entry.probability)} %{limits.get(entry.name, '')}"
        for entry in called_first
    )
    if prediction.refused is not None:
        classes = f"no answer ({classes})"
    if prediction.resized_from is None:
        return f"{prediction.path}: {classes}"
    width, height = prediction.resized_from
    return f"{prediction.path}: {classes} (resized from {width} x {height})"


def show_totals(console: Console, report: PredictionReport) -> None:
    """Print how many images were answered, and how many of these answers are right."""
    for text in _totals(report):
        print_text(console, plain_text(console, printable(text)))


def _totals(report: PredictionReport) -> Iterator[str]:
    num_read = report.num_answered + report.num_refused
    if report.min_confidence is not None and num_read:
        share = percent(report.num_answered / num_read)
        yield (
            f"Answered {count(report.num_answered)} of {plural(num_read, 'image')} ({share}); the "
            f"others are less probable than {100 * report.min_confidence:.4g} %."
        )
    if report.accuracy is None:
        return
    yield f"Accuracy of all: {_accuracy(report.accuracy)}."
    if report.min_confidence is not None and report.accuracy_answered:
        yield f"Accuracy of the answered: {_accuracy(report.accuracy_answered)}."
    if report.other_folders:
        names = listed(report.other_folders)
        yield f"Not counted, as they have the name of no class of the model: {names}."


def _accuracy(found: Accuracy) -> str:
    return (
        f"{percent(found.accuracy)} (95 % interval {percent_range(found.ci95)}), "
        f"{count(found.num_right)} right of {plural(found.num_images, 'image')} in folders with "
        "the name of a class"
    )


def predictions_csv(report: PredictionReport) -> str:
    """Return a row for each image as CSV (RFC 4180), with the probability of every class.

    A spreadsheet computes a cell that begins with `=`, `+`, `-` or `@`. Paths get `./` in front,
    which is the same file, and other names a single quote.

    Args:
        report: With all classes of each image.
    """
    columns = [f"p_{name}" for name in report.classes]
    rows: list[list[object]] = [
        ["path", "answer", "class", "probability", "label", "error", *columns]
    ]
    for one in report.predictions:
        probabilities = {entry.name: entry.probability for entry in one.classes}
        called = one.decided or one.refused
        answer = "unreadable" if one.error else "refused" if one.refused is not None else "given"
        rows.append(
            [
                _path_cell(one.path),
                answer,
                one.decided or "",
                "" if called is None else probabilities[called],
                one.label or "",
                one.error or "",
                *(probabilities.get(name, "") for name in report.classes),
            ]
        )
    return csv_text(rows)


def _path_cell(path: str) -> str:
    return f"./{path}" if path.startswith(FORMULA) else path
