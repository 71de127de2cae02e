import pytest
import torch

from kdtool.errors import KdtoolError
from kdtool.train.models.checkpoint import load_weights, save_weights
from kdtool.train.models.networks import build_model


def test_weights_survive_the_file(tmp_path):
    model = build_model("torchvision:mobilenet_v2", (3, 32, 32), 4, seed=0)
    model = model.to(memory_format=torch.channels_last)
    save_weights(tmp_path / "model.safetensors", model.state_dict(), {"role": "student"})
    other = build_model("torchvision:mobilenet_v2", (3, 32, 32), 4, seed=1)
    load_weights(tmp_path / "model.safetensors", other)
    expected, given = model.state_dict(), other.state_dict()
    assert all(torch.equal(given[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "checkpoint .* does not exist"), (b"torn", "cannot use the checkpoint")],
)
def test_a_checkpoint_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "model.safetensors"
    if content:
        path.write_bytes(content)
    with pytest.raises(KdtoolError, match=message):
        load_weights(path, build_model("mnist-mlp", (1, 8, 8), 10, seed=0))


def test_a_checkpoint_of_another_architecture(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(path, build_model("mnist-mlp", (1, 8, 8), 10, seed=0).state_dict(), {})
    with pytest.raises(KdtoolError, match="cannot use the checkpoint"):
        load_weights(path, build_model("mnist-cnn", (1, 8, 8), 10, seed=0))


def test_a_network_that_looks_for_its_version_is_loaded(tmp_path):
    model = build_model("torchvision:mnasnet0_5", (3, 32, 32), 4, seed=0)
    save_weights(tmp_path / "model.safetensors", model.state_dict(), {})
    other = build_model("torchvision:mnasnet0_5", (3, 32, 32), 4, seed=1)
    load_weights(tmp_path / "model.safetensors", other)
    assert torch.equal(other.classifier[1].weight, model.classifier[1].weight)
