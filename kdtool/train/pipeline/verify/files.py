"""What results.json says of the ONNX files, from their answers: run here again, or as stored."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from kdtool.edge.session import RUNTIME_ERRORS
from kdtool.errors import KdtoolError, reason
from kdtool.results.base import TEACHER_OF, Precision, Role
from kdtool.results.commands.verification import Part, compared, joined, not_checked
from kdtool.results.evidence import PairedDifference
from kdtool.results.study import FileResult, SpeedResult
from kdtool.study.verify.integrity import RESULTS, found_sha256
from kdtool.study.verify.records import as_json
from kdtool.study.verify.scores import UNREADABLE, are_answers
from kdtool.train.evaluation.evaluate import Evaluated, split_labels
from kdtool.train.export.accuracy import (
    AccuracyDifference,
    accuracy_difference,
    calls_of_file,
    calls_of_model,
    file_temperature,
    on_validation,
)
from kdtool.train.export.choose import SHIPPED, shipment
from kdtool.train.export.int8_fp16 import Smaller
from kdtool.train.export.onnx_file import Answers, answers, as_given, compare
from kdtool.train.pipeline.finish import chosen_of
from kdtool.train.pipeline.verify.opened import Opened, as_known
from kdtool.train.reporter import Reporter

NAME = "ONNX files: accuracy, parity and gates, from their answers"
CLOSE = 1e-5  # what a probability of a file differs by on the machine of the study, at most


@dataclass(frozen=True)
class Found:
    """The answers of a file to the test images."""

    probabilities: Answers  # (N, C)
    # (N, C), of this machine; None: the file was not run, or another machine made the study, and
    # the probabilities are the stored ones
    logits: Answers | None


def run_again(opened: Opened, reporter: Reporter) -> Part:
    """Run each file on the test images, and compute what results.json says of it.

    Where the images are not here, its stored answers take their place.
    """
    chosen = chosen_of(opened.run, opened.evaluated)
    parts = []
    for role, model in opened.results.models.items():
        teacher = TEACHER_OF.get(role, role) if role in SHIPPED else role
        if not model.files:
            continue
        if role not in chosen or (teacher in opened.results.models and teacher not in chosen):
            parts.append(not_checked(NAME, f"files of the {role}: predictions are missing"))
            continue
        found: dict[Precision, Found] = {}
        for precision, file in model.files.items():
            reporter.say(f"running {file.path} on the test images")
            one, part = _answers(opened, chosen[role], precision, file)
            parts.append(part)
            if one is not None:
                found[precision] = one
        if found.keys() == model.files.keys():
            parts += _compared(opened, role, chosen, found)
    return joined(NAME, parts)


def _answers(
    opened: Opened, one: Evaluated, precision: Precision, file: FileResult
) -> tuple[Found | None, Part]:
    """Return the answers of a file, and whether they are the stored ones."""
    run, path = opened.run, opened.run.study.folder / file.path
    stored, fault = _stored(opened, one, file)
    reasons = not_checked(NAME, *([fault] if fault else []))
    known = None if stored is None else Found(stored, None)
    if not opened.has_images:
        return known, reasons
    if found_sha256(path) != file.sha256:
        return known, not_checked(NAME, f"answers of {file.path}: it is not the file on record")
    try:
        given = as_given(run.splits.test.pixels, run.recipe.export.input)
        logits, probabilities = answers(path, given)
    except (KdtoolError, *RUNTIME_ERRORS) as error:
        return known, not_checked(NAME, f"answers of {file.path}: {reason(error)}")
    if stored is not None:
        both = stored, probabilities
        reasons = _alike(opened, one, precision, file, both, logits)
    return (Found(probabilities, logits) if opened.same_machine else known), reasons


def _stored(opened: Opened, one: Evaluated, file: FileResult) -> tuple[Answers | None, str]:
    """Return the stored probabilities of a file, or why there are none."""
    kept = opened.run.study.folder / "predictions" / f"{file.path}.npy"
    try:
        stored: Answers = np.load(kept, allow_pickle=False)
    except UNREADABLE as error:
        return None, f"stored answers of {file.path}: {kept.name} cannot be read: {reason(error)}"
    if not are_answers(stored, *one.test_logits.shape):
        return None, f"stored answers of {file.path}: {kept.name} is of other images"
    return stored, ""


def _alike(
    opened: Opened,
    one: Evaluated,
    precision: Precision,
    file: FileResult,
    both: tuple[Answers, Answers],
    logits: Answers,
) -> Part:
    """Compare the answers of a file with the stored ones.

    Another processor or ONNX Runtime rounds otherwise. An fp32 file must give PyTorch's class there
    too; int8 and fp16 may not.
    """
    stored, probabilities = both
    relative = f"predictions/{file.path}.npy"
    if opened.same_machine:
        difference = float(np.abs(probabilities - stored).max())
        same = "equal" if difference <= CLOSE else f"differ by up to {difference:.2g}"
        return compared(NAME, relative, "equal", same, f"answers of {file.path}")
    calls = [calls_of_file(opened.run, one, each) for each in (stored, probabilities)]
    num_other = int((calls[0] != calls[1]).sum())
    note = (
        f"{file.path} was run on another processor or ONNX Runtime than where the study was made: "
        f"{num_other:,} of {len(stored):,} test images get another class; the numbers in "
        "results.json are compared with its stored answers"
    )
    part = not_checked(NAME, note)
    if precision != "fp32":
        return part
    parity = compare(logits, one.test_logits / file_temperature(opened.run, one))
    flips = compared(NAME, RESULTS, [], parity.flipped, f"classes of {file.path} on this machine")
    return joined(NAME, [part, flips])


def _compared(
    opened: Opened, role: Role, chosen: Mapping[Role, Evaluated], found: Mapping[Precision, Found]
) -> Iterator[Part]:
    """Compare what follows from the answers of a role's files with results.json."""
    run, model, one = opened.run, opened.results.models[role], chosen[role]
    speed = opened.records.get("latency")
    stages = {
        precision: opened.records.get(f"export-{role}.{precision}")
        for precision in {**model.files, **model.refused}
        if precision != "fp32"
    }
    if speed is None or None in stages.values() or "fp32" not in model.files:
        yield not_checked(NAME, f"files of the {role}: a record of their stages is missing")
        return
    made: dict[Precision, Smaller] = {
        precision: Smaller.model_validate(stage.result)
        for precision, stage in stages.items()
        if stage is not None
    }
    files = {
        precision: _file(opened, role, chosen, model.files[precision], answered)
        for precision, answered in found.items()
    }
    smaller: dict[Precision, Smaller] = {
        precision: _smaller(opened, one, old, files.get(precision), found.get(precision))
        for precision, old in made.items()
    }
    again = shipment(run, files["fp32"], smaller, SpeedResult.model_validate(speed.result))
    stored = {
        "files": {precision: as_json(file) for precision, file in model.files.items()},
        "refused": dict(model.refused),
        "int8_ladder": model.int8_ladder and as_json(model.int8_ladder),
        "recommended": model.recommended,
    }
    recomputed = {
        "files": {precision: as_json(file) for precision, file in again.files.items()},
        "refused": dict(again.refused),
        "int8_ladder": again.int8_ladder and as_json(again.int8_ladder),
        "recommended": again.recommended,
    }
    known = as_known(stored, recomputed, opened.results)
    yield compared(NAME, RESULTS, stored, known, f"models.{role}")


def _file(
    opened: Opened,
    role: Role,
    chosen: Mapping[Role, Evaluated],
    file: FileResult,
    found: Found,
) -> FileResult:
    """Return what results.json should say of a file, but for its gate and its times."""
    run, one, labels = opened.run, chosen[role], split_labels(opened.run.splits.test)
    calls, temperature = calls_of_file(run, one, found.probabilities), file_temperature(run, one)
    parity = file.parity
    if found.logits is not None:
        parity = compare(found.logits, one.test_logits / temperature)
        if file.parity.passed is None:
            parity = parity.model_copy(update={"passed": None})
    against = None
    teacher = chosen.get(TEACHER_OF[role]) if role in SHIPPED else None
    if teacher is not None:
        reference = calls_of_model(run, teacher, teacher.test_logits)
        difference = accuracy_difference(calls, reference, labels)
        against = PairedDifference(difference=difference.difference, ci95=difference.ci95)
    return file.model_copy(
        update={
            "accuracy": float((calls == labels).mean()),
            "parity": parity,
            "temperature": temperature,
            "against_teacher": against,
        }
    )


def _smaller(
    opened: Opened,
    one: Evaluated,
    old: Smaller,
    file: FileResult | None,
    found: Found | None,
) -> Smaller:
    """Return the record of a smaller file with its accuracy on both splits as it is now."""
    if file is None or found is None:
        return old
    run = opened.run
    reference = calls_of_model(run, one, one.test_logits)
    calls = calls_of_file(run, one, found.probabilities)
    test = accuracy_difference(calls, reference, split_labels(run.splits.test))
    validation: AccuracyDifference = old.validation
    if found.logits is not None:
        validation = on_validation(run, one, run.study.folder / file.path)
    return old.model_copy(update={"file": file, "test": test, "validation": validation})
