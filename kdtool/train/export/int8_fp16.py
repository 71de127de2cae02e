"""int8 and fp16 files: made from fp32, chosen on validation images, confirmed once on test."""

from pathlib import Path

import onnx

from kdtool.edge.fp16 import to_fp16
from kdtool.edge.int8.saturation import saturation
from kdtool.edge.model_file import model_opset, read_model
from kdtool.files import scratch_folder, sha256_of, write_atomic
from kdtool.results.base import Precision, Record
from kdtool.results.quantization import Ladder, Quantization
from kdtool.results.study import FileResult
from kdtool.study.keys import key_of
from kdtool.train.evaluation.evaluate import Evaluated, split_labels
from kdtool.train.export.accuracy import (
    AccuracyDifference,
    accuracy_difference,
    answers_on_test,
    calls_of_file,
    calls_of_model,
    file_temperature,
    keeps_accuracy,
    on_validation,
)
from kdtool.train.export.ladder import int8_on_validation
from kdtool.train.export.onnx_file import compare
from kdtool.train.run import Run


class Smaller(Record):
    """A smaller file, and what it costs in accuracy."""

    file: FileResult | None  # None: refused
    refused: str | None  # why
    validation: AccuracyDifference  # by which the file was chosen or refused
    test: AccuracyDifference | None  # None: refused, so the test images were not used
    ladder: Ladder | None  # what was tried; None: of fp16


def make_smaller(run: Run, evaluated: Evaluated, fp32: FileResult, precision: Precision) -> Smaller:
    """Write `ROLE.int8.onnx` or `ROLE.fp16.onnx`, unless it loses more than `export.max_drop`.

    Validation images decide that, and how an int8 file is made. A file that was chosen is then
    compared once on the test images, which change nothing about it.
    """
    table, folder = run.recipe.export, run.study.folder
    path = folder / f"{evaluated.trained.role}.{precision}.onnx"

    def make() -> tuple[Smaller, list[Path]]:
        run.reporter.say(f"making {path.name}")
        if precision == "int8" and (text := saturation(path.name, table.target)):
            run.reporter.warn(text)
        with scratch_folder() as scratch:
            trial, original = scratch / path.name, folder / fp32.path
            quantization, ladder = None, None
            if precision == "int8":
                validation, quantization, ladder = int8_on_validation(
                    run, evaluated, original, trial
                )
            else:
                onnx.save(to_fp16(onnx.load(original)), trial)
                validation = on_validation(run, evaluated, trial)
            if keeps_accuracy(validation, table.max_drop):
                file, test = confirm_on_test(run, evaluated, trial, quantization)
                write_atomic(path, trial.read_bytes())
                made = Smaller(
                    file=file, refused=None, validation=validation, test=test, ladder=ladder
                )
                return made, [path]
        path.unlink(missing_ok=True)  # of an earlier recipe
        refused = refusal(path.name, validation, table.max_drop, ladder)
        run.reporter.warn(refused)
        made = Smaller(file=None, refused=refused, validation=validation, test=None, ladder=ladder)
        return made, []

    how: list[object] = []
    if precision == "int8":
        how = [table.target, table.calibration_images, table.max_fp32_layers, table.qat]
    key = key_of("smaller", fp32.sha256, how, table.max_drop, table.input, run.fingerprint)
    return run.study.stage(f"export-{path.stem}", key, Smaller, make)


def refusal(
    name: str, validation: AccuracyDifference, max_drop: float, ladder: Ladder | None
) -> str:
    """Say why a file is not kept, and of an int8 file that the best of all that were tried is not.

    Args:
        name: Of the file.
        validation: What it costs on validation, or the best one that was tried.
        max_drop: Largest loss of accuracy that the recipe allows.
        ladder: What was tried for an int8 file.
    """
    what = "it loses"
    if ladder and len(ladder.rungs) > 1:
        best = max(ladder.rungs, key=lambda rung: rung.difference)
        what = f"the best of {len(ladder.rungs)} attempts ({best.name}) loses"
    return (
        f"{name} is not kept: {what} {-100 * validation.difference:.2f} points of accuracy on "
        f"validation images; max_drop = {max_drop:g} allows {100 * max_drop:g}"
    )


def confirm_on_test(
    run: Run, evaluated: Evaluated, path: Path, quantization: Quantization | None
) -> tuple[FileResult, AccuracyDifference]:
    """Compare a chosen file with PyTorch's model, and so with the fp32 file, on the test images.

    The fp32 file gives PyTorch's class on every test image, ties within rounding excepted.
    """
    labels, temperature = split_labels(run.splits.test), file_temperature(run, evaluated)
    logits, probabilities = answers_on_test(run, path, path.stem)
    calls = calls_of_file(run, evaluated, probabilities)
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
