"""Predictions as lines for a person."""

from rich.console import Console

from kdtool.edge.predict import Prediction, PredictionReport


def show_predictions(console: Console, report: PredictionReport) -> None:
    """Print a line for each image: its most probable classes, or why it could not be read."""
    for prediction in report.predictions:
        # A letter that the terminal does not have is printed as its number.
        text = _describe(prediction).encode(console.encoding, "backslashreplace")
        console.print(
            text.decode(console.encoding),
            style="red" if prediction.error else None,
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _describe(prediction: Prediction) -> str:
    if prediction.error:
        return f"error: {prediction.error}"
    classes = ", ".join(
        f"{entry.name} {100 * entry.probability:.1f} %" for entry in prediction.classes
    )
    if prediction.resized_from is None:
        return f"{prediction.path}: {classes}"
    width, height = prediction.resized_from
    return f"{prediction.path}: {classes} (resized from {width} x {height})"
