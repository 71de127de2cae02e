"""What a smaller file costs in accuracy, on the same images as the fp32 model."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from kdtool.results.base import Interval, Record
from kdtool.stats import intervals
from kdtool.train.data.splits import Split
from kdtool.train.evaluation.evaluate import Evaluated, Labels, split_labels
from kdtool.train.export.fp32 import decision, file_temperature
from kdtool.train.export.onnx_file import Answers, answers, as_given, called
from kdtool.train.run import Run


class AccuracyDifference(Record):
    """Accuracy of a smaller file minus that of the fp32 model, on the same images."""

    num_images: int
    difference: float
    ci95: Interval  # paired
    mcnemar_p: float  # exact


def keeps_accuracy(validation: AccuracyDifference, max_drop: float) -> bool:
    """Return whether a file is chosen: on validation it loses at most `max_drop`."""
    return -validation.difference <= max_drop


def on_validation(run: Run, evaluated: Evaluated, path: Path) -> AccuracyDifference:
    """Compare a file with PyTorch's model on the validation images."""
    _, calls = calls_of_file(run, evaluated, path, run.splits.validation)
    reference = calls_of_model(run, evaluated, evaluated.validation_logits)
    return accuracy_difference(calls, reference, split_labels(run.splits.validation))


def accuracy_difference(
    calls: NDArray[np.int64], reference: NDArray[np.int64], labels: Labels
) -> AccuracyDifference:
    """Compare the accuracy of two models on the same images.

    Args:
        calls: `(N,)` classes that a file calls.
        reference: `(N,)` classes that the fp32 model calls.
        labels: `(N,)` true classes.
    """
    right, reference_right = calls == labels, reference == labels
    return AccuracyDifference(
        num_images=len(labels),
        # of whole numbers: a loss of exactly `max_drop` is not above it by rounding
        difference=(int(right.sum()) - int(reference_right.sum())) / len(labels),
        ci95=intervals.paired_difference_interval(right, reference_right),
        mcnemar_p=intervals.mcnemar_p(right, reference_right),
    )


def calls_of_file(
    run: Run, evaluated: Evaluated, path: Path, split: Split
) -> tuple[Answers, NDArray[np.int64]]:
    """Return the logits `(N, C)` of a file, and the classes `(N,)` that it calls."""
    images = as_given(split.pixels, run.recipe.export.input)
    logits, probabilities = answers(path, images)
    return logits, called(probabilities, run.splits.classes, decision(run, evaluated))


def calls_of_model(
    run: Run, evaluated: Evaluated, logits: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return the classes `(N,)` that PyTorch's model calls at the file's temperature and threshold.

    Args:
        run: The study.
        evaluated: The model.
        logits: `(N, C)` of a split.
    """
    probabilities = softmax(logits / np.float32(file_temperature(run, evaluated)), axis=1)
    return called(probabilities, run.splits.classes, decision(run, evaluated))
