"""A study whose numbers are computed again: its predictions, and its images where they are here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kdtool import __version__
from kdtool.environment import collect_environment
from kdtool.errors import KdtoolError, reason
from kdtool.results.base import Role
from kdtool.results.commands.verification import Part, compared, joined, not_checked
from kdtool.results.study import Results, TrainingResult
from kdtool.study.stages import StageRecord
from kdtool.study.verify.finished_study import FinishedStudy
from kdtool.study.verify.integrity import RESULTS
from kdtool.study.verify.records import as_json, training_of
from kdtool.study.verify.scores import Predicted, Predictions
from kdtool.train.data.splits import Split, Splits
from kdtool.train.evaluation.evaluate import Evaluated, score, split_labels
from kdtool.train.reporter import Reporter, Silent
from kdtool.train.run import Run, Trained, load_data

DATA = "the images, with results.json and the predictions"
NO_IMAGES = "answers of the ONNX files: need the images; --set data.root=FOLDER says where they are"


@dataclass(frozen=True)
class Opened:
    """A study whose numbers are computed again; nothing of it is written."""

    run: Run
    results: Results
    records: Mapping[str, StageRecord]
    evaluated: dict[Role, list[Evaluated]]  # those with all predictions, from these
    has_images: bool  # False: the splits of `run` have labels only
    same_machine: bool  # that made the study: the same processor and ONNX Runtime


def open_again(
    finished: FinishedStudy, predictions: Predicted, reporter: Reporter
) -> tuple[Opened, Part]:
    """Load the images, if they are here, and read the models' predictions.

    Args:
        finished: The study.
        predictions: Of its models, at least of one.
        reporter: Shows progress.

    Returns:
        The study, and whether the images are its own.
    """
    results, records = finished.results, finished.records
    run, part = _run(finished, predictions, reporter)
    has_images = run is not None
    if run is None:
        splits = labels_alone(results, next(iter(predictions.values())))
        device = torch.device("cpu")
        run = Run(finished.study, finished.recipe, splits, splits, device, Silent())
    evaluated = _evaluated(run, results, records, predictions)
    return Opened(run, results, records, evaluated, has_images, _same_machine(results)), part


def _run(
    finished: FinishedStudy, predictions: Predicted, reporter: Reporter
) -> tuple[Run | None, Part]:
    """Load the images; None if they are not those of the study, or not on this machine."""
    recipe, results = finished.recipe, finished.results
    device = torch.device("cpu")
    reporter.say("loading the images")
    try:
        splits, transfer = load_data(recipe, device, Silent())
    except KdtoolError as error:
        return None, not_checked(DATA, f"the images: {reason(error)}", NO_IMAGES)
    found, stored = splits.result, results.data
    if found.fingerprint != stored.fingerprint and found.description != stored.description:
        why = f"the study is of {stored.description}; here its recipe finds {found.description}"
        return None, not_checked(DATA, f"the images: {why}", NO_IMAGES)
    skipped = {"read_from", "duplicate_images"}  # of the machine, and a file of the study
    old, new = (
        {key: value for key, value in as_json(one).items() if key not in skipped}
        for one in (stored, found)
    )
    parts = [compared(DATA, RESULTS, old, as_known(old, new, results), "data")]
    for one in predictions.values():
        for name, split in (("test", splits.test), ("validation", splits.validation)):
            labels = one.test_labels if name == "test" else one.validation_labels
            same = "equal" if np.array_equal(labels, split_labels(split)) else "others"
            parts.append(compared(DATA, one.file, "equal", same, f"{name}_labels"))
    part = joined(DATA, parts)
    if part.mismatches:
        return None, part
    return Run(finished.study, recipe, splits, transfer, device, Silent()), part


def labels_alone(results: Results, one: Predictions) -> Splits:
    """Return splits with the stored labels of the images, which are black and take no memory."""

    def split(labels: NDArray[np.int64]) -> Split:
        black = torch.zeros(1, dtype=torch.uint8).expand(len(labels), *results.data.image_shape)
        return Split(black, torch.from_numpy(labels))

    return Splits(
        train=split(one.validation_labels[:0]),
        validation=split(one.validation_labels),
        test=split(one.test_labels),
        classes=tuple(results.data.classes),
        result=results.data,
    )


def _evaluated(
    run: Run,
    results: Results,
    records: Mapping[str, StageRecord],
    predictions: Predicted,
) -> dict[Role, list[Evaluated]]:
    """Return the models of each role of which all predictions can be read."""
    found: dict[Role, list[Evaluated]] = {}
    for role, model in results.models.items():
        seeds = []
        for seed in model.seeds:
            one, training = predictions.get((role, seed.seed)), training_of(records, role, seed)
            if one is None or training is None:
                break
            name, record = training
            result = TrainingResult.model_validate(record.result)
            checkpoint = run.study.folder / "checkpoints" / f"{name}.safetensors"
            seeds.append(
                Evaluated(
                    Trained(role, seed.seed, record.key, checkpoint, result),
                    score(
                        one.test_labels,
                        np.asarray(one.test_probabilities, np.float32),
                        run.splits.classes,
                        run.splits.positive,
                    ),
                    np.asarray(one.test_logits, np.float32),
                    np.asarray(one.validation_logits, np.float32),
                    None
                    if one.test_subclass_logits is None
                    else np.asarray(one.test_subclass_logits, np.float32),
                )
            )
        if len(seeds) == len(model.seeds):
            found[role] = seeds
    return found


def _same_machine(results: Results) -> bool:
    here = collect_environment()
    runtime = [one.packages.get("onnxruntime") for one in (here, results.environment)]
    return here.cpu == results.environment.cpu and runtime[0] == runtime[1]


def as_known(stored: Any, found: Any, results: Results) -> Any:
    """Return what was found without what an older kdtool did not store."""
    if results.environment.kdtool == __version__:
        return found
    if isinstance(stored, dict) and isinstance(found, dict):
        return {key: as_known(stored.get(key), found[key], results) for key in found}
    if isinstance(stored, list) and isinstance(found, list) and len(stored) == len(found):
        return [as_known(*pair, results) for pair in zip(stored, found, strict=True)]
    return stored if stored in (None, []) else found
