"""What a file answers, and what a smaller one costs in accuracy, on the same images as fp32."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from kdtool.environment import collect_environment
from kdtool.files import replaced, sha256_of
from kdtool.results.base import Interval, Record
from kdtool.results.evidence import OperatingPoint
from kdtool.stats import intervals
from kdtool.study.keys import key_of
from kdtool.train.evaluation.calibration import fit_temperature
from kdtool.train.evaluation.evaluate import Evaluated, Labels, split_labels
from kdtool.train.evaluation.operating_point import operating_point
from kdtool.train.export.onnx_file import Answers, answers, as_given, called
from kdtool.train.run import Run


def file_temperature(run: Run, evaluated: Evaluated) -> float:
    """Return the divisor of the logits in the file: 1, or the fitted one with `calibrate`."""
    if not run.recipe.export.calibrate:
        return 1.0
    return fit_temperature(evaluated.validation_logits, split_labels(run.splits.validation))


def decision(run: Run, evaluated: Evaluated) -> OperatingPoint | None:
    """Return the threshold of the positive class in the files of a model; None: more classes.

    Raises:
        RecipeError: `export.operating_point` is for two classes, but the data has more.
    """
    rule, temperature = run.recipe.export.operating_point, file_temperature(run, evaluated)
    return operating_point(evaluated, run.splits, rule, temperature)


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
    images = as_given(run.splits.validation.pixels, run.recipe.export.input)
    calls = calls_of_file(run, evaluated, answers(path, images)[1])
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


def calls_of_file(run: Run, evaluated: Evaluated, probabilities: Answers) -> NDArray[np.int64]:
    """Return the classes `(N,)` that a file calls, given its probabilities `(N, C)`."""
    return called(probabilities, run.splits.classes, decision(run, evaluated))


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


class FileAnswers(Record):
    """The answers of a file, which are in a file of their own."""

    num_images: int


def answers_on_test(run: Run, path: Path, name: str) -> tuple[Answers, Answers]:
    """Return the logits and probabilities of a file on the test images, both `(N, C)`.

    The probabilities are kept for `probabilities_on_test`: the images pass each file once.

    Args:
        run: The study.
        path: Of the file, now.
        name: That it gets, without `.onnx`.
    """
    images = as_given(run.splits.test.pixels, run.recipe.export.input)
    logits, probabilities = answers(path, images)
    kept = _kept_at(run, name)

    def make() -> tuple[FileAnswers, list[Path]]:
        with replaced(kept) as unfinished:
            np.save(unfinished, probabilities)
        return FileAnswers(num_images=len(probabilities)), [kept]

    run.study.stage(f"answers-{name}", _key_of_answers(run, path), FileAnswers, make)
    return logits, probabilities


def probabilities_on_test(run: Run, path: Path) -> Answers:
    """Return the probabilities `(N, C)` of a file of the study on the test images."""
    if run.study.done(f"answers-{path.stem}", _key_of_answers(run, path), FileAnswers) is None:
        return answers_on_test(run, path, path.stem)[1]
    probabilities: Answers = np.load(_kept_at(run, path.stem), allow_pickle=False)
    return probabilities


def _kept_at(run: Run, name: str) -> Path:
    return run.study.folder / "predictions" / f"{name}.onnx.npy"


def _key_of_answers(run: Run, path: Path) -> str:
    environment = collect_environment()
    # int8 is rounded otherwise on another processor, or by another version.
    machine = [environment.cpu, environment.packages.get("onnxruntime")]
    settings = [run.recipe.export.input, run.fingerprint, machine]
    return key_of("file-answers", sha256_of(path), settings)
