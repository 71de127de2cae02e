"""Predictions as lines for a person."""

from rich.console import Console

from kdtool.edge.predict import Prediction, PredictionReport


def show_predictions(console: Console, report: PredictionReport) -> None:
    """Print a line for each image: its class, then the others, or why it could not be read."""
    for prediction in report.predictions:
        # A letter that the terminal does not have is printed as its number.
        text = _describe(prediction, report).encode(console.encoding, "backslashreplace")
        console.print(
            text.decode(console.encoding),
            style="red" if prediction.error else None,
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _describe(prediction: Prediction, report: PredictionReport) -> str:
    if prediction.error:
        return f"error: {prediction.error}"
    limits = {}
    if report.threshold is not None:
        limits[report.positive] = f" (called from {100 * report.threshold:.4g} % on)"
    called_first = sorted(prediction.classes, key=lambda entry: entry.name != prediction.decided)
    classes = ", ".join(
        f"{entry.name} {100 * entry.probability:.1f} %{limits.get(entry.name, '')}"
        for entry in called_first
    )
    if prediction.resized_from is None:
        return f"{prediction.path}: {classes}"
    width, height = prediction.resized_from
    return f"{prediction.path}: {classes} (resized from {width} x {height})"
