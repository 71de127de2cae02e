"""A study of networks with BatchNorm: checkpoints and ONNX files hold recomputed statistics."""

import copy

import numpy as np
import pytest
import torch
from loading import load_splits
from shell import kdtool
from torch.optim.swa_utils import update_bn

from kdtool.edge.session import open_session
from kdtool.recipe.data import DigitsTable
from kdtool.recipe.training import TrainTable
from kdtool.results.study import load_results
from kdtool.train.fit.batch_norm import images_of, sample
from kdtool.train.fit.batches import Training
from kdtool.train.models.checkpoint import load_weights
from kdtool.train.models.predict import validate

NETS = """
from torch import nn

def slow(image_shape, num_classes):
    layers = [nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16, momentum=0.0003), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(576, num_classes))
"""
RECIPE = """
name = "slow"
seeds = [3]
[data]
source = "digits"
[teacher]
model = "slow_nets:slow"
epochs = 4
learning_rate = 4e-3
[student]
model = "slow_nets:slow"
epochs = 4
learning_rate = 4e-3
ema = 0.5
[export]
precisions = ["fp32"]
[profile]
seconds = 0.02
[explain]
images = 1
"""


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slow")
    (folder / "slow_nets.py").write_text(NETS)
    (folder / "slow.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        kdtool("distill", folder / "slow.toml", "--out", folder, "--json")
        yield folder / "slow"


@pytest.mark.parametrize("role", ["teacher", "control", "student"])
def test_checkpoint_and_onnx_file_have_the_statistics_of_their_weights(slow, role):
    from slow_nets import slow as network

    splits = load_splits(DigitsTable(source="digits"), print)
    (path,) = (slow / "checkpoints").glob(f"{role}-seed3-*.safetensors")
    model = network((1, 8, 8), 10)
    load_weights(path, model)
    reference = copy.deepcopy(model)
    training = Training(TrainTable(model="slow"), seed=3)
    for part in reference.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    update_bn(images_of(splits.train, sample(splits.train, training), 128, training), reference)
    for name, value in reference.named_buffers():
        torch.testing.assert_close(model.get_buffer(name), value, rtol=1e-4, atol=1e-5)

    result = load_results(slow / "results.json").models[role]
    (seed,) = result.seeds
    found = validate(model, splits.validation, 10)
    assert (found.loss, found.accuracy) == (
        seed.best.validation_loss,
        seed.best.validation_accuracy,
    )
    assert found.accuracy > 0.8
    assert seed.warnings == []
    assert result.files["fp32"].parity.passed

    session = open_session(slow / result.files["fp32"].path)
    images = splits.test.images.permute(0, 2, 3, 1).contiguous().numpy()
    (given,) = session.get_inputs()
    logits = session.run(["logits"], {given.name: images})[0]
    with torch.no_grad():
        expected = model.eval()(splits.test.images / 255).numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3)
