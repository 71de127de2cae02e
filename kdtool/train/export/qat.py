"""Quantization-aware distillation: the fp32 network teaches the copy that computes in 8 bits.

Its control learns alike, but in fp32: what it gains too is not due to the 8 bits.

Source: Jacob et al. 2018, arXiv:1712.05877, section 3, with BatchNorm folded and ranges fixed; a
network as the teacher of its own copy, Mishra and Marr 2018, arXiv:1711.05852, scheme C.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

import onnx
import torch
from onnx import ModelProto
from torch import Tensor

from kdtool.errors import KdtoolError
from kdtool.files import replaced
from kdtool.format import percent
from kdtool.recipe.schema import QatTable
from kdtool.recipe.training import TrainTable
from kdtool.results.study import TrainingResult
from kdtool.study.keys import key_of, short_key
from kdtool.train.data.splits import Splits
from kdtool.train.evaluation.evaluate import Evaluated
from kdtool.train.export.accuracy import file_temperature
from kdtool.train.export.onnx_file import compare
from kdtool.train.export.trainable import TrainableGraph, fake_quantized, trainable, with_weights
from kdtool.train.fit.batches import Batch, Training
from kdtool.train.fit.loop import BatchLoss, fit
from kdtool.train.fit.losses import balanced_weights, distillation_loss
from kdtool.train.fit.optimizer import epochs_to_train, phases_of
from kdtool.train.fit.state import damage_of
from kdtool.train.models.predict import predict
from kdtool.train.reporter import Reporter
from kdtool.train.run import Run

Arithmetic = Literal["int8", "fp32"]  # that a network learns in; fp32 is the control


def fine_tune(
    run: Run, evaluated: Evaluated, source: ModelProto, int8: ModelProto, arithmetic: Arithmetic
) -> ModelProto:
    """Return `source` with weights that learned on, from the network of `source` as the teacher.

    Args:
        run: The study.
        evaluated: The model that `source` is the file of.
        source: fp32, after `prepared`; is not changed.
        int8: Made from `source` by `to_int8`; its ranges stay as they are.
        arithmetic: int8: as this file computes. fp32: as `source` does, on the same batches.

    Raises:
        KdtoolError: The network has a node without a form in PyTorch, a batch does not fit into
            memory, or the loss is not finite.
    """
    role, seed = evaluated.trained.role, evaluated.trained.seed
    table, device, data = run.table(role), run.device, run.recipe.data
    splits, title = run.splits_of(role), f"{role}, seed {seed}, fine-tuned in {arithmetic}"
    model = fake_quantized(int8, source) if arithmetic == "int8" else trainable(source)
    teacher = trainable(source).to(device)
    check_form(run, evaluated, teacher)
    key = key_of(
        "qat",
        arithmetic,
        [digest(source), digest(int8) if arithmetic == "int8" else None],
        tuning_table(table, run.recipe.export.qat, len(splits.train)),
        run.recipe.export.qat.soft_weight,
        [
            run.fingerprint,
            run.splits.result.excluded,
            data.augment,
            *([data.views] if data.views else []),
        ],
        [seed, device.type],
    )
    name = f"qat-{arithmetic}-{role}-seed{seed}-{short_key(key)}"
    path = run.study.folder / "checkpoints" / f"{name}.onnx"

    def make() -> tuple[TrainingResult, list[Path]]:
        training = Training(table, seed, augment=data.augment, views=data.views)
        state_path = path.with_suffix(".state.pt")
        if fault := damage_of(state_path):
            run.reporter.warn(f"{state_path} {fault}; {title} begins again")
            state_path.unlink()
        result = teach(
            model, teacher, splits, training, run.recipe.export.qat, state_path, run.reporter
        )
        with replaced(path) as unfinished:
            onnx.save(with_weights(source, model), unfinished)
        state_path.unlink(missing_ok=True)
        run.reporter.say(
            f"{title}: {percent(result.best.validation_accuracy)} accuracy on validation (epoch "
            f"{result.best_epoch} of {len(result.epochs)})"
        )
        return result, [path]

    run.study.stage(name, key, TrainingResult, make)
    return onnx.load(path)


def teach(
    model: TrainableGraph,
    teacher: TrainableGraph,
    splits: Splits,
    training: Training,
    table: QatTable,
    state_path: Path,
    reporter: Reporter,
) -> TrainingResult:
    """Train a network on the logits of its teacher and on the labels; it keeps its best weights.

    Args:
        model: To train, in place.
        teacher: On the device of `splits`.
        splits: To learn from, and to choose the epoch on, by accuracy.
        training: How the teacher was trained.
        table: How much longer its copy learns.
        state_path: Of the unfinished training, as of `fit`.
        reporter: Shows progress and warnings.
    """
    num_images = len(splits.train)
    tuning = replace(training, table=tuning_table(training.table, table, num_images))
    loss = tuning_loss(teacher, splits, tuning, table.soft_weight)
    total = epochs_to_train(tuning.table, num_images) * num_images
    title = f"fine-tuning in {'int8' if model.roundings else 'fp32, the control'}"
    with reporter.progress(title, total) as update:
        return fit(model, splits, tuning, loss, state_path, update, reporter.warn)[0]


def tuning_table(student: TrainTable, table: QatTable, num_images: int) -> TrainTable:
    """Return how the copy of a student learns: as the student did, for a while and at a low rate.

    Its arithmetic is fp32: bf16 has no more digits than the integers that are learned.
    """
    last = phases_of(student, num_images)[-1]
    rate = min(last.learning_rate, last.backbone_learning_rate or last.learning_rate)
    changes: dict[str, object] = {
        "weights": None,  # it starts from those of the student
        "epochs": table.epochs,
        "phase": [],
        "min_steps": table.min_steps,
        "train": "all",
        "learning_rate": rate * table.learning_rate,
        "backbone_learning_rate": None,
        "warmup": 0.0,
        "schedule": "cosine",
        "early_stop": None,
        "mixup": 0.0,
        "ema": 0.0,
        "precision": "fp32",
    }
    return student.model_copy(update=changes)


def tuning_loss(
    teacher: TrainableGraph, splits: Splits, training: Training, soft_weight: float
) -> BatchLoss:
    """Return the loss of a batch: KL from the teacher at temperature 1, and that of the labels.

    Args:
        teacher: Receives no gradient.
        splits: Its training images; without augmentation the teacher sees them once.
        training: Of the copy.
        soft_weight: Weight of KL in [0, 1]; the rest goes to the labels.
    """
    num_classes, weights = len(splits.classes), None
    if training.table.class_weights == "balanced":
        weights = balanced_weights(splits.train.labels, num_classes)
    teacher.eval().requires_grad_(requires_grad=False)
    known = None if training.augment else predict(teacher, splits.train)

    @torch.no_grad()
    def answers(batch: Batch) -> Tensor:
        found: Tensor = teacher(batch.images) if known is None else known[batch.index]
        return found

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        soft, hard = answers(batch), batch.targets
        return distillation_loss(logits, soft, hard, num_classes, 1.0, soft_weight, weights)

    return loss


def check_form(run: Run, evaluated: Evaluated, teacher: TrainableGraph) -> None:
    """Check on the validation images that the file's form in PyTorch computes what the model does.

    Raises:
        KdtoolError: It does not.
    """
    logits = predict(teacher, run.splits.validation).cpu().numpy()
    parity = compare(logits, evaluated.validation_logits / file_temperature(run, evaluated))
    if not parity.passed:
        raise KdtoolError(
            "the network cannot learn in 8 bits: computed by its ONNX nodes in PyTorch, its logits "
            f"differ by up to {parity.max_abs_error:.2g}; set export.qat.epochs = 0"
        )


def digest(model: ModelProto) -> str:
    """Return a hash of a graph, without the metadata of its file."""
    content = model.graph.SerializeToString(deterministic=True)
    return hashlib.sha256(content).hexdigest()
