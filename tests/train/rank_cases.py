"""What one rank computes alone and several compute together, to be compared."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from kdtool.recipe.data import DigitsTable
from kdtool.recipe.training import PhaseTable, TrainTable
from kdtool.train.data.splits import load_splits
from kdtool.train.fit.batches import Training
from kdtool.train.fit.loop import fit
from kdtool.train.fit.losses import label_loss, subclass_teacher_loss
from kdtool.train.fit.methods import dist_loss
from kdtool.train.models.predict import predict
from kdtool.train.ranks.batch_norm import synced_batch_norm
from kdtool.train.reporter import Silent

# 482 images in batches of 96: the last one has two, fewer than ranks, and 144 to validate.
NUM_IMAGES, BATCH = 482, 96
TABLE = TrainTable(
    model="mnist-mlp",
    epochs=2,
    batch_size=BATCH,
    min_steps=0,
    learning_rate=3e-3,
    precision="fp32",
)


class StopError(Exception):
    """Ends a training after its first epoch."""


def digits():
    splits = load_splits(DigitsTable(source="digits"), Silent().warn, Silent().progress)
    train = splits.train.only(torch.arange(len(splits.train)) < NUM_IMAGES)
    return type(splits)(
        train, splits.validation, splits.test, splits.classes, splits.result, splits.test_names
    )


def seeded(build):
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return build()


# Without kinks: a value within rounding of one takes the other side, which shows in the weights.
def mlp(num_logits=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.GELU(), nn.Linear(32, num_logits))


def normed():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.BatchNorm2d(8, momentum=0.01),
        nn.GELU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(72, 16),
        nn.BatchNorm1d(16),
        nn.GELU(),
        nn.Linear(16, 10),
    )


class OwnMean(nn.Module):
    """Subtracts a running mean, which each rank takes from its part of a batch."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(64))

    def forward(self, x):
        if self.training:
            self.mean.lerp_(x.mean(dim=0), 0.1)
        return x - self.mean


class Again(nn.Sequential):
    """A network that the backward pass computes a second time."""

    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=False)


def labels(logits, batch):
    return label_loss(logits, batch.targets)


def subclasses(logits, batch):
    return subclass_teacher_loss(logits, batch.targets, 10, weight=1.0, temperature=1.0)


def like_others(logits, batch):
    """A loss over the images of the batch."""
    teacher = 4 * F.one_hot(batch.targets, 10).float() + torch.linspace(0, 1, 10)
    return dist_loss(logits, teacher, temperature=2.0, beta=1.0, gamma=2.0)


# network, loss, changes of the table, augmentation
CASES = {
    "augmented": (mlp, labels, {}, ["shift:0.1", "rotate:20", "flip", "contrast:0.2"]),
    "mixed": (mlp, labels, {"mixup": 0.4, "label_smoothing": 0.1}, ["shift:0.1"]),
    "batch norm": (normed, labels, {"ema": 0.9}, ["rotate:10"]),
    "computed again": (lambda: Again(*normed()), labels, {}, []),
    "two phases": (
        normed,
        labels,
        {"optimizer": "sgd", "phase": [PhaseTable(epochs=1, train="head"), PhaseTable(epochs=1)]},
        [],
    ),
    "subclasses": (lambda: mlp(20), subclasses, {}, []),
    "dist": (mlp, like_others, {"optimizer": "adamw"}, []),
    "views": (mlp, labels, {}, ["rotate:20"]),
}


def train(ranks, splits, name, state_path, *, interrupt=False):
    """Train; return validation losses and the logits `(144, C * S)` of the kept weights."""
    build, loss, changes, augment = CASES[name]
    model = seeded(build)
    table = TABLE.model_copy(update=changes)
    num_logits = model[-1].out_features
    views = 2 if name == "views" else None
    training = Training(table, 7, "accuracy", augment, num_logits, views=views, ranks=ranks)

    def update(done, _text):
        if interrupt and done > NUM_IMAGES:
            raise StopError

    result, weights = fit(model, splits, training, loss, state_path, update, Silent().warn)
    model.load_state_dict(weights)
    losses = torch.tensor([epoch.validation_loss for epoch in result.epochs])
    return {"losses": losses, "logits": predict(model, splits.validation)}


def running_mean(ranks, splits, state_path):
    """Return the running mean that this rank keeps of a network with statistics of its own."""
    model = nn.Sequential(nn.Flatten(), OwnMean(), nn.Linear(64, 10))
    training = Training(TABLE, 7, "accuracy", [], 10, ranks=ranks)
    silent = Silent()
    _, weights = fit(model, splits, training, labels, state_path, lambda *_: None, silent.warn)
    return weights["1.mean"].tolist()


def batch_norm(ranks):
    """Two layers in a row over 11 images, of which no three ranks have as many."""
    network = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.BatchNorm1d(4, momentum=None)
        )
    )
    images = torch.linspace(-1, 3, 11 * 2 * 9).sin().reshape(11, 2, 3, 3)
    wanted = torch.linspace(0, 9, 44).cos().reshape(11, 4)
    own = images[ranks.rows(11)].clone().requires_grad_()
    if ranks.are_several:
        with synced_batch_norm():
            output = network(own)
    else:
        output = network(own)
    whole = ranks.whole(output, 11)
    ((whole - wanted).square().mean() + whole.exp().mean()).backward()
    gradients = [one.grad for one in network.parameters()]
    ranks.average(gradients, 1)
    found = {"output": whole.detach(), "of images": sum_of_rows(ranks, own.grad)}
    found |= {f"gradient {at}": one for at, one in enumerate(gradients)}
    return found | dict(network.named_buffers())


def sum_of_rows(ranks, gradient):
    """Return the gradient of all images; its scale is the number of ranks."""
    return ranks.whole(gradient, 11) / ranks.count
