"""Learning in 8 bits regains what rounding costs, and learning in fp32 does not."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from loading import load_splits
from quantized import int8_of
from recorded import Recorded
from shell import RECIPE
from torch import nn
from torch.nn import functional as F

from kdtool.edge.int8.quantize import prepared, to_int8
from kdtool.edge.int8.ranges import measure_activations, min_max
from kdtool.edge.session import open_session
from kdtool.errors import KdtoolError
from kdtool.recipe.data import DigitsTable
from kdtool.recipe.load import load_recipe, with_settings
from kdtool.recipe.schema import QatTable
from kdtool.recipe.training import PhaseTable, TrainTable
from kdtool.study.folder import Study
from kdtool.train.evaluation.evaluate import evaluate
from kdtool.train.export.fp32 import export
from kdtool.train.export.onnx_file import as_given, make_onnx
from kdtool.train.export.qat import fine_tune, teach, tuning_loss, tuning_table
from kdtool.train.export.trainable import fake_quantized, trainable, with_weights
from kdtool.train.fit.batches import Training, batch_maker
from kdtool.train.fit.loop import fit
from kdtool.train.fit.losses import label_loss
from kdtool.train.pipeline.roles import train_role
from kdtool.train.reporter import Silent
from kdtool.train.run import open_run

TABLE = TrainTable(
    model="mnist-cnn",
    epochs=10,
    batch_size=64,
    learning_rate=6e-3,
    schedule="cosine",
    precision="fp32",
)
WIDTH, SPREAD = 16, 1.75


def depthwise_network():
    def unit():
        depth = nn.Conv2d(WIDTH, WIDTH, 3, 1, 1, groups=WIDTH, bias=False)
        point = nn.Conv2d(WIDTH, WIDTH, 1, bias=False)
        return [depth, nn.BatchNorm2d(WIDTH), nn.ReLU(), point, nn.BatchNorm2d(WIDTH), nn.ReLU()]

    torch.manual_seed(2)
    first = [nn.Conv2d(1, WIDTH, 3, 1, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU()]
    last = [nn.MaxPool2d(4), nn.Flatten(), nn.Linear(WIDTH, 10)]
    return nn.Sequential(*first, *unit(), nn.MaxPool2d(2), *unit(), *last)


@torch.no_grad()
def make_uneven(network):
    """Scale the channels before each point-wise convolution, and its weights by the inverse.

    The network computes the same, but one step for all channels rounds most of them badly.
    """
    layers, draws = list(network), torch.Generator().manual_seed(0)
    for norm, layer in zip(layers, layers[2:], strict=False):
        if isinstance(layer, nn.Conv2d) and layer.groups == 1:
            sizes = torch.exp(SPREAD * torch.randn(WIDTH, generator=draws))
            norm.weight *= sizes
            norm.bias *= sizes
            layer.weight /= sizes.reshape(1, -1, 1, 1)


@pytest.fixture(scope="module")
def splits():
    """The digits, with the test images next to those of validation, to measure more finely."""
    given = load_splits(DigitsTable(source="digits"), print)
    parts = (given.validation, given.test)
    both = replace(
        given.validation,
        images=torch.cat([one.images for one in parts]),
        labels=torch.cat([one.labels for one in parts]),
    )
    return replace(given, validation=both)


@pytest.fixture(scope="module")
def source(splits, tmp_path_factory):
    """A trained network, its fp32 file as it is quantized."""
    network, state = depthwise_network(), tmp_path_factory.mktemp("state") / "a.state.pt"
    fit(
        network,
        splits,
        Training(TABLE, 0),
        lambda logits, batch: label_loss(logits, batch.targets),
        state,
        lambda _done, _text: None,
        print,
    )
    make_uneven(network.to(memory_format=torch.contiguous_format))
    return prepared(make_onnx(network.eval(), (1, 8, 8), 10, 18), "portable")


@pytest.fixture(scope="module")
def pixels(splits):
    return as_given(splits.train.images.numpy()[:300], "pixels")


def accuracy(model, splits, folder):
    onnx.save(model, folder / "model.onnx")
    images = as_given(splits.validation.images.numpy(), "pixels")
    (logits,) = open_session(folder / "model.onnx").run(["logits"], {"image": images})
    return (logits.argmax(axis=1) == splits.validation.labels.numpy()).mean()


def taught(model, source, splits, folder, name, **changes):
    table = QatTable(**{"min_steps": 200, "learning_rate": 0.3} | changes)
    training = Training(TABLE, 0)
    state = folder / f"{name}.state.pt"
    result = teach(model, trainable(source), splits, training, table, state, Silent())
    return result, with_weights(source, model)


def test_it_regains_most_of_what_8_bits_cost_and_its_control_does_not(
    source, splits, pixels, tmp_path
):
    ranges = min_max(measure_activations(source, pixels))
    int8 = to_int8(source, ranges, "portable")
    whole, lost = (accuracy(model, splits, tmp_path) for model in (source, int8))
    assert whole - lost > 0.3
    module = fake_quantized(int8, source)
    result, learned = taught(module, source, splits, tmp_path, "int8")
    regained = accuracy(to_int8(learned, ranges, "portable"), splits, tmp_path)
    # The file computes what the module did in the epoch that was chosen
    assert regained == pytest.approx(result.best.validation_accuracy, abs=0.01)
    _, control = taught(trainable(source), source, splits, tmp_path, "fp32")
    assert accuracy(control, splits, tmp_path) > whole - 0.02
    of_control = accuracy(int8_of(control, pixels, "portable"), splits, tmp_path)
    assert regained > lost + 0.6 * (whole - lost)
    assert of_control < lost + 0.2 * (whole - lost)


def test_the_same_seed_gives_the_same_weights(source, splits, pixels, tmp_path):
    int8 = int8_of(source, pixels, "portable")
    files = [
        taught(fake_quantized(int8, source), source, splits, tmp_path, name, epochs=1, min_steps=0)
        for name in "ab"
    ]
    (first, one), (_, other) = files
    assert first.num_steps == 21  # 1,294 images in batches of 64
    assert one.SerializeToString() == other.SerializeToString() != source.SerializeToString()


def test_the_loss_is_kl_at_temperature_1_and_that_of_the_labels(source, splits):
    teacher = trainable(source)
    table = TABLE.model_copy(update={"class_weights": "balanced"})
    index = torch.arange(50)
    for augment in ((), ("flip",)):
        training = Training(table, 0, augment=augment)
        batch = batch_maker(splits.train, training, 10)(3, index)
        logits = torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
        found = tuning_loss(teacher, splits, training, 0.3)(logits, batch)
        with torch.no_grad():
            soft = teacher(batch.images).softmax(1)  # of the images as the copy sees them
        kl = (soft * (soft.log() - logits.log_softmax(1))).sum(1).mean()
        weights = 1 / torch.bincount(splits.train.labels)
        labels = F.cross_entropy(logits, batch.targets, weights)
        torch.testing.assert_close(found, 0.3 * kl + 0.7 * labels)
    assert not any(one.requires_grad for one in teacher.parameters())


@pytest.mark.parametrize(
    ("changes", "rate"),
    [
        ({}, 6e-4),
        ({"backbone_learning_rate": 1e-4}, 1e-5),
        ({"epochs": 12, "phase": [PhaseTable(epochs=2, learning_rate=1e-2)]}, 1e-3),
        (
            {
                "epochs": 12,
                "phase": [
                    PhaseTable(epochs=2, train="head"),
                    PhaseTable(epochs=2, learning_rate=1e-3, backbone_learning_rate=2e-3),
                ],
            },
            1e-4,
        ),
    ],
)
def test_the_copy_learns_at_a_share_of_the_last_and_lowest_rate(changes, rate):
    others = {"mixup": 0.2, "ema": 0.99, "early_stop": 3, "train": "head", "warmup": 2.0}
    student = TABLE.model_copy(update=others | changes)
    found = tuning_table(student, QatTable(epochs=4, min_steps=7), num_images=1000)
    assert found.learning_rate == pytest.approx(rate)
    assert (found.epochs, found.min_steps, found.batch_size) == (4, 7, 64)
    assert (found.phase, found.backbone_learning_rate, found.train) == ([], None, "all")
    assert (found.mixup, found.ema, found.early_stop, found.warmup) == (0, 0, None, 0)
    assert (found.schedule, found.precision) == ("cosine", "fp32")
    assert TrainTable.model_validate(found.model_dump()) == found


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run, its control, and the control's fp32 and int8 files."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.toml").write_text(RECIPE)
    settings = {
        "seeds": [3],
        "student.model": "mnist-cnn",
        "student.epochs": 1,
        "export.qat.epochs": 1,
        "export.qat.min_steps": 0,
    }
    recipe = with_settings(load_recipe(folder / "tiny.toml"), settings)
    reporter = Recorded()
    run = open_run(Study(folder / "tiny", reporter.warn), recipe, "cpu", reporter)
    (trained,) = train_role(run, "control", {})
    evaluated = evaluate(run, trained)
    source = prepared(onnx.load(folder / "tiny" / export(run, evaluated).path), "portable")
    images = as_given(run.splits.train.images.numpy()[:50], "pixels")
    return run, evaluated, source, int8_of(source, images, "portable")


def test_a_fine_tuned_network_is_a_stage_that_survives_a_damaged_state(exported):
    run, evaluated, source, int8 = exported
    tuned = {one: fine_tune(run, evaluated, source, int8, one) for one in ("fp32", "int8")}
    assert [text.partition(":")[0] for text in run.reporter.said[-2:]] == [
        "control, seed 3, fine-tuned in fp32",
        "control, seed 3, fine-tuned in int8",
    ]
    contents = {one: model.SerializeToString() for one, model in tuned.items()}
    assert len({*contents.values(), source.SerializeToString()}) == 3
    num_said = len(run.reporter.said)
    again = fine_tune(run, evaluated, source, int8, "int8").SerializeToString()
    assert (again, len(run.reporter.said)) == (contents["int8"], num_said)  # nothing is computed
    (path,) = (run.study.folder / "checkpoints").glob("qat-int8-control-seed3-*.onnx")
    path.unlink()
    state = path.with_suffix(".state.pt")
    state.write_bytes(b"torn")
    again = fine_tune(run, evaluated, source, int8, "int8").SerializeToString()
    assert again == contents["int8"]
    assert not state.exists()
    assert "is not a training state of this kdtool; control, seed 3" in run.reporter.warned[-1]


def test_a_graph_that_does_not_compute_what_the_model_does_is_not_fine_tuned(exported):
    run, evaluated, source, int8 = exported
    other = replace(evaluated, validation_logits=evaluated.validation_logits + np.float32(0.5))
    with pytest.raises(KdtoolError, match=r"its logits differ by up to 0.5; set export.qat.epochs"):
        fine_tune(run, other, source, int8, "int8")
