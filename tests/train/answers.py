"""Splits and answers of models, made by hand."""

from pathlib import Path

import numpy as np
import torch

from kdtool.results.study import DataResult, EpochRecord, TrainingResult
from kdtool.train.data.splits import Split, Splits
from kdtool.train.evaluation.evaluate import Evaluated, score
from kdtool.train.run import Trained


def softmax(logits):
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def splits_of(labels, classes, *, fine_labels=None, groups=(), excluded=()):
    """Three equal splits of random 4x4 images."""
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (len(labels), 1, 4, 4), np.uint8))
    fine = None if fine_labels is None else torch.as_tensor(fine_labels)
    split = Split(images, torch.as_tensor(labels), fine)
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    result = DataResult(
        source="idx",
        description="made by hand",
        classes=list(classes),
        image_shape=(1, 4, 4),
        num_train=len(labels),
        num_validation=len(labels),
        num_test=len(labels),
        class_counts={"train": counts, "validation": counts, "test": counts},
        fine_classes=sorted(name for group in groups for name in group),
        groups=[list(group) for group in groups],
        excluded=list(excluded),
        num_duplicates=0,
        duplicates=[],
        fingerprint="0",
        warnings=[],
    )
    return Splits(split, split, split, tuple(classes), result)


def evaluated(role, labels, classes, logits, *, seed=0, subclass_logits=None):
    """A model that gives `logits` on validation and on test."""
    epoch = EpochRecord(
        epoch=1, train_loss=1.0, validation_loss=1.0, validation_accuracy=0.5, seconds=1.0
    )
    result = TrainingResult(
        epochs=[epoch],
        best_epoch=1,
        num_steps=1,
        images_per_second=1.0,
        device="cpu",
        precision="fp32",
    )
    return Evaluated(
        trained=Trained(role, seed, f"{role}-{seed}", Path("absent.safetensors"), result),
        test=score(labels, softmax(logits), classes),
        test_logits=logits,
        validation_logits=logits,
        test_subclass_logits=subclass_logits,
    )
