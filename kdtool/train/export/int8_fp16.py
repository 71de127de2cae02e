"""int8 and fp16 files: made from the fp32 file, and kept only if they cost little accuracy."""

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
from kdtool.results.base import Interval, Record
from kdtool.results.study import FileResult, Precision, Quantization
from kdtool.stats import intervals
from kdtool.study.keys import key_of
from kdtool.train.data.splits import Split
from kdtool.train.evaluation.evaluate import Evaluated, split_labels
from kdtool.train.export.fp32 import decision, file_temperature
from kdtool.train.export.onnx_file import Answers, answers, as_given, called, compare
from kdtool.train.run import Run


class Smaller(Record):
    """A smaller file, and what it costs in accuracy."""

    file: FileResult | None  # None: refused
    refused: str | None  # why
    difference: float  # accuracy of what it calls - of what the fp32 file calls, on test
    ci95: Interval
    mcnemar_p: float  # exact


def make_smaller(run: Run, evaluated: Evaluated, fp32: FileResult, precision: Precision) -> Smaller:
    """Write `ROLE.int8.onnx` or `ROLE.fp16.onnx`, unless it loses more than `export.max_drop`.

    What stays in fp32 is chosen on validation images; test images are looked at once, at the end.
    """
    table, folder = run.recipe.export, run.study.folder
    path = folder / f"{evaluated.trained.role}.{precision}.onnx"

    def make() -> tuple[Smaller, list[Path]]:
        source = onnx.load(folder / fp32.path)
        run.reporter.say(f"making {path.name}")
        with tempfile.TemporaryDirectory() as scratch:
            trial = Path(scratch) / path.name
            drop, quantization = first_that_keeps(run, evaluated, source, precision, trial)
            smaller = on_test(run, evaluated, trial, quantization)
            if max(drop, -smaller.difference) <= table.max_drop:
                write_atomic(path, trial.read_bytes())
                return smaller, [path]
        path.unlink(missing_ok=True)  # of an earlier recipe
        kept = quantization.kept_fp32 if quantization else []
        even = " even with its first and last layer in fp32" if kept else ""
        refused = (
            f"{path.name} is not kept: it loses {100 * drop:.2f} points of accuracy on validation "
            f"and {-100 * smaller.difference:.2f} on test images{even}; "
            f"max_drop = {table.max_drop:g} allows {100 * table.max_drop:g}"
        )
        run.reporter.warn(refused)
        return smaller.model_copy(update={"file": None, "refused": refused}), []

    how = [table.target, table.calibration_images] if precision == "int8" else []
    key = key_of("smaller", fp32.sha256, how, table.max_drop, table.input, run.fingerprint)
    return run.study.stage(f"export-{path.stem}", key, Smaller, make)


def first_that_keeps(
    run: Run, evaluated: Evaluated, source: ModelProto, precision: Precision, trial: Path
) -> tuple[float, Quantization | None]:
    """Write to `trial` the first variant that loses at most `max_drop` on validation, or the last.

    Returns:
        What the one written loses there, and how it was made if it is int8.
    """
    if precision == "fp16":
        onnx.save(to_fp16(source), trial)
        return validation_drop(run, evaluated, trial), None
    table = run.recipe.export
    images = calibration_images(run)
    for kept_fp32 in ([], first_and_last_layer(source)):
        model = to_int8(source, images, table.target, kept_fp32)
        quantization = Quantization(
            target=table.target, num_calibration=len(images), kept_fp32=kept_fp32
        )
        write_metadata(model, {"quantization": quantization.model_dump()})
        onnx.save(model, trial)
        drop = validation_drop(run, evaluated, trial)
        if drop <= table.max_drop:
            break
    return drop, quantization


def calibration_images(run: Run) -> NDArray[np.generic]:
    """Return training images, evenly spread over the split, as the file takes them."""
    train, table = run.splits.train, run.recipe.export
    num_images = min(table.calibration_images, len(train))
    chosen = np.linspace(0, len(train) - 1, num_images).round().astype(int)
    return as_given(train.images.cpu().numpy()[chosen], table.input)


def validation_drop(run: Run, evaluated: Evaluated, path: Path) -> float:
    """Return how much less accurate a file is than PyTorch's model, on validation."""
    labels = split_labels(run.splits.validation)
    _, calls = calls_of_file(run, evaluated, path, run.splits.validation)
    reference = calls_of_model(run, evaluated, evaluated.validation_logits)
    return float((reference == labels).mean() - (calls == labels).mean())


def on_test(
    run: Run, evaluated: Evaluated, path: Path, quantization: Quantization | None
) -> Smaller:
    """Compare a file with PyTorch's model, and so with the fp32 file, on every test image."""
    labels, temperature = split_labels(run.splits.test), file_temperature(run, evaluated)
    logits, calls = calls_of_file(run, evaluated, path, run.splits.test)
    right = calls == labels
    reference = calls_of_model(run, evaluated, evaluated.test_logits) == labels
    parity = compare(logits, evaluated.test_logits / temperature)
    file = FileResult(
        path=path.name,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        opset=model_opset(read_model(path)),
        accuracy=float(right.mean()),
        parity=parity.model_copy(update={"passed": None}),
        quantization=quantization,
        temperature=temperature,
    )
    return Smaller(
        file=file,
        refused=None,
        difference=float(right.mean() - reference.mean()),
        ci95=intervals.paired_difference_interval(right, reference),
        mcnemar_p=intervals.mcnemar_p(right, reference),
    )


def calls_of_file(
    run: Run, evaluated: Evaluated, path: Path, split: Split
) -> tuple[Answers, NDArray[np.int64]]:
    """Return the logits `(N, C)` that a file gives, and the classes `(N,)` that it calls."""
    images = as_given(split.images.cpu().numpy(), run.recipe.export.input)
    logits, probabilities = answers(path, images)
    return logits, called(probabilities, run.splits.classes, decision(run, evaluated))


def calls_of_model(
    run: Run, evaluated: Evaluated, logits: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return the classes `(N,)` that PyTorch's model calls by the file's temperature and threshold.

    Args:
        run: The study.
        evaluated: The model.
        logits: `(N, C)` of a split.
    """
    probabilities = softmax(logits / np.float32(file_temperature(run, evaluated)), axis=1)
    return called(probabilities, run.splits.classes, decision(run, evaluated))
