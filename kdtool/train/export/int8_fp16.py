"""int8 and fp16 files: made from fp32, chosen on validation images, confirmed once on test."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto
from scipy.special import softmax

from kdtool.edge.metadata import write_metadata
from kdtool.edge.model_file import model_opset, read_model
from kdtool.edge.quantize import first_and_last_layer, to_fp16, to_int8
from kdtool.files import sha256_of, write_atomic
from kdtool.results.base import Interval, Precision, Record
from kdtool.results.study import FileResult, Quantization
from kdtool.stats import intervals
from kdtool.study.keys import key_of
from kdtool.train.data.splits import Split
from kdtool.train.evaluation.evaluate import Evaluated, Labels, split_labels
from kdtool.train.export.fp32 import decision, file_temperature
from kdtool.train.export.onnx_file import Answers, answers, as_given, called, compare
from kdtool.train.run import Run


class AccuracyDifference(Record):
    """Accuracy of a smaller file minus that of the fp32 model, on the same images."""

    num_images: int
    difference: float
    ci95: Interval  # paired
    mcnemar_p: float  # exact


class Smaller(Record):
    """A smaller file, and what it costs in accuracy."""

    file: FileResult | None  # None: refused
    refused: str | None  # why
    validation: AccuracyDifference  # by which the file was chosen or refused
    test: AccuracyDifference | None  # None: refused, so the test images were not used


def make_smaller(run: Run, evaluated: Evaluated, fp32: FileResult, precision: Precision) -> Smaller:
    """Write `ROLE.int8.onnx` or `ROLE.fp16.onnx`, unless it loses more than `export.max_drop`.

    Validation images decide that, and which layers of an int8 file stay in fp32. A file that was
    chosen is then compared once on the test images, which change nothing about it.
    """
    table, folder = run.recipe.export, run.study.folder
    path = folder / f"{evaluated.trained.role}.{precision}.onnx"

    def make() -> tuple[Smaller, list[Path]]:
        source = onnx.load(folder / fp32.path)
        run.reporter.say(f"making {path.name}")
        with tempfile.TemporaryDirectory() as scratch:
            trial = Path(scratch) / path.name
            validation, quantization = choose_on_validation(
                run, evaluated, source, precision, trial
            )
            if keeps_accuracy(validation, table.max_drop):
                file, test = confirm_on_test(run, evaluated, trial, quantization)
                write_atomic(path, trial.read_bytes())
                return Smaller(file=file, refused=None, validation=validation, test=test), [path]
        path.unlink(missing_ok=True)  # of an earlier recipe
        kept = quantization.kept_fp32 if quantization else []
        even = " even with its first and last layer in fp32" if kept else ""
        refused = (
            f"{path.name} is not kept: it loses {-100 * validation.difference:.2f} points of "
            f"accuracy on validation images{even}; "
            f"max_drop = {table.max_drop:g} allows {100 * table.max_drop:g}"
        )
        run.reporter.warn(refused)
        return Smaller(file=None, refused=refused, validation=validation, test=None), []

    how = [table.target, table.calibration_images] if precision == "int8" else []
    key = key_of("smaller", fp32.sha256, how, table.max_drop, table.input, run.fingerprint)
    return run.study.stage(f"export-{path.stem}", key, Smaller, make)


def choose_on_validation(
    run: Run, evaluated: Evaluated, source: ModelProto, precision: Precision, trial: Path
) -> tuple[AccuracyDifference, Quantization | None]:
    """Write to `trial` the first variant that keeps its accuracy on validation, or the last.

    int8 has two variants: all layers in int8, then the first and the last layer in fp32.

    Returns:
        What the written variant costs on validation, and how it was made if it is int8.
    """
    if precision == "fp16":
        onnx.save(to_fp16(source), trial)
        return on_validation(run, evaluated, trial), None
    table = run.recipe.export
    images = calibration_images(run)
    for kept_fp32 in ([], first_and_last_layer(source)):
        model = to_int8(source, images, table.target, kept_fp32)
        quantization = Quantization(
            target=table.target, num_calibration=len(images), kept_fp32=kept_fp32
        )
        write_metadata(model, {"quantization": quantization.model_dump()})
        onnx.save(model, trial)
        found = on_validation(run, evaluated, trial)
        if keeps_accuracy(found, table.max_drop):
            break
    return found, quantization


def keeps_accuracy(validation: AccuracyDifference, max_drop: float) -> bool:
    """Return whether a file is chosen: on validation it loses at most `max_drop`."""
    return -validation.difference <= max_drop


def calibration_images(run: Run) -> NDArray[np.generic]:
    """Return training images, evenly spread over the split, in the input form of the file."""
    train, table = run.splits.train, run.recipe.export
    num_images = min(table.calibration_images, len(train))
    chosen = np.linspace(0, len(train) - 1, num_images).round().astype(int)
    return as_given(train.images.cpu().numpy()[chosen], table.input)


def on_validation(run: Run, evaluated: Evaluated, path: Path) -> AccuracyDifference:
    """Compare a file with PyTorch's model on the validation images."""
    _, calls = calls_of_file(run, evaluated, path, run.splits.validation)
    reference = calls_of_model(run, evaluated, evaluated.validation_logits)
    return accuracy_difference(calls, reference, split_labels(run.splits.validation))


def confirm_on_test(
    run: Run, evaluated: Evaluated, path: Path, quantization: Quantization | None
) -> tuple[FileResult, AccuracyDifference]:
    """Compare a chosen file with PyTorch's model, and so with the fp32 file, on the test images.

    The fp32 file gives PyTorch's class on every test image, ties within rounding excepted.
    """
    labels, temperature = split_labels(run.splits.test), file_temperature(run, evaluated)
    logits, calls = calls_of_file(run, evaluated, path, run.splits.test)
    reference = calls_of_model(run, evaluated, evaluated.test_logits)
    parity = compare(logits, evaluated.test_logits / temperature)
    file = FileResult(
        path=path.name,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        opset=model_opset(read_model(path)),
        accuracy=float((calls == labels).mean()),
        parity=parity.model_copy(update={"passed": None}),
        quantization=quantization,
        temperature=temperature,
    )
    return file, accuracy_difference(calls, reference, labels)


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
    images = as_given(split.images.cpu().numpy(), run.recipe.export.input)
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
