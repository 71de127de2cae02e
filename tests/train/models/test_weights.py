"""Weights from files: read without running code, fitted by name and shape."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models import mnasnet0_5, resnet18, shufflenet_v2_x0_5

from kdtool.errors import KdtoolError
from kdtool.train.models.networks import build_model
from kdtool.train.models.weights import adapt_channels, fit_weights
from kdtool.train.models.weights_file import load_file_of_weights

NETWORK = "torchvision:shufflenet_v2_x0_5"


def network(num_logits=2, channels=3):
    return build_model(NETWORK, (channels, 64, 64), num_logits, seed=1)


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return shufflenet_v2_x0_5(num_classes=7).state_dict()


def fit(weights, num_logits=2, channels=3, *, head="may fit"):
    model = network(num_logits, channels)
    return model, fit_weights(model, weights, num_logits, "w.pth", head=head)


def equal(model, weights, but=()):
    own = model.state_dict()
    return {name for name in own if not torch.equal(own[name], weights.get(name))} == set(but)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda weights: {"epoch": torch.tensor(3), "ema": weights},
        lambda weights: {"model": {f"module.{name}": w for name, w in weights.items()}},
        lambda weights: {"state_dict": {f"model._orig_mod.{n}": w for n, w in weights.items()}},
        lambda weights: (
            {f"network.{n}": w for n, w in weights.items()} | {"prepare.mean": torch.zeros(3)}
        ),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_are_found_in_what_programs_write(weights, tmp_path, wrap, suffix):
    content, path = wrap(weights), tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(content, path)
    elif all(isinstance(value, torch.Tensor) for value in content.values()):
        save_file(content, path)
    else:
        pytest.skip("safetensors holds tensors only")
    model, notes = fit(load_file_of_weights(path), 7)
    assert notes == []
    assert equal(model, weights)


def test_a_file_is_read_again_only_if_it_was_changed(weights, tmp_path):
    path = tmp_path / "w.pth"
    torch.save(weights, path)
    first = load_file_of_weights(path)
    assert load_file_of_weights(path) is first
    torch.save({"fc.bias": weights["fc.bias"]}, path)
    assert load_file_of_weights(path).keys() == {"fc.bias"}


def test_all_but_the_head_is_taken_of_another_number_of_classes(weights):
    drawn = network().state_dict()
    model, notes = fit(weights)
    assert notes == ["all layers but the head are loaded (7 outputs in the file, 2 outputs here)"]
    assert equal(model, weights | {name: drawn[name] for name in ("fc.weight", "fc.bias")})


def test_a_backbone_without_head_or_counters_is_enough(weights):
    bare = {n: w for n, w in weights.items() if not n.startswith("fc.") and "tracked" not in n}
    _, notes = fit(bare)
    assert notes == ["all layers but the head are loaded (no head in the file, 2 outputs here)"]


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_images_get_the_answer_of_colour_images_of_equal_channels(channels):
    other, grey = 4 - channels, torch.rand(2, 1, 5, 5)
    filters = torch.randn(4, other, 3, 3)
    expected = torch.conv2d(grey.expand(-1, other, -1, -1), filters)
    found = torch.conv2d(grey.expand(-1, channels, -1, -1), adapt_channels(filters, channels))
    torch.testing.assert_close(found, expected)


def test_the_first_convolution_is_adapted_to_grey_images(weights):
    model, notes = fit(weights, 7, channels=1)
    assert notes == [
        "conv1.0 has 3 input channels in the file and 1 here: its filters were added up"
    ]
    torch.testing.assert_close(model.conv1[0].weight, weights["conv1.0.weight"].sum(1, True))


def test_weights_of_another_architecture_are_an_error_that_names_tensors():
    with pytest.raises(KdtoolError) as caught:
        fit(resnet18(num_classes=2).state_dict())
    for part in (
        "w.pth holds weights of another architecture than ShuffleNetV2",
        "missing (conv1.0.weight, conv1.1.bias, ",
        "unexpected (bn1.bias, bn1.num_batches_tracked, ",
        "set `model` to the network that they were trained in",
    ):
        assert part in str(caught.value)


def test_another_architecture_is_reported_before_another_head():
    with pytest.raises(KdtoolError, match="another architecture than ShuffleNetV2"):
        fit(resnet18(num_classes=7).state_dict(), head="fits")


def test_a_network_that_keeps_the_version_of_its_weights_takes_them(tmp_path):
    given = mnasnet0_5(num_classes=2).state_dict()
    save_file(given, tmp_path / "w.safetensors")
    model = build_model("torchvision:mnasnet0_5", (3, 64, 64), 2, seed=1)
    assert fit_weights(model, load_file(tmp_path / "w.safetensors"), 2, "w", head="fits") == []
    assert equal(model, given)


def test_a_network_whose_head_is_no_layer_of_torch_takes_weights_that_fit():
    network = nn.Sequential(nn.Conv1d(1, 2, 3))
    drawn = {name: torch.full_like(w, 0.5) for name, w in network.state_dict().items()}
    assert fit_weights(network, drawn, 2, "w.pth", head="fits") == []
    assert torch.equal(network[0].weight, drawn["0.weight"])


def test_a_trained_teacher_needs_its_head(weights):
    with pytest.raises(
        KdtoolError, match=r"got a head with 7 outputs, expected 2 outputs of a trained"
    ):
        fit(weights, head="fits")


def test_a_head_of_other_meaning_is_not_taken_though_it_fits():
    torch.manual_seed(20)
    given = shufflenet_v2_x0_5(num_classes=2).state_dict()
    model, notes = fit(given, head="drawn")
    assert notes == ["all layers but the head are loaded (2 outputs in the file, 2 outputs here)"]
    assert torch.equal(model.conv1[0].weight, given["conv1.0.weight"])
    assert not torch.equal(model.fc.weight, given["fc.weight"])


def test_a_head_that_is_a_single_number_is_one_message(weights):
    damaged = weights | {"fc.weight": torch.tensor(1.0)}
    with pytest.raises(
        KdtoolError, match=r"is damaged: its fc\.weight is a single number, expected"
    ):
        fit(damaged)


@pytest.mark.parametrize(
    ("number", "dtype"),
    [
        (float("nan"), torch.float32),
        (float("inf"), torch.float32),
        (float("inf"), torch.float16),
        (float("nan"), torch.float8_e4m3fn),  # which has no infinity
    ],
)
def test_weights_that_are_no_numbers_are_refused_with_the_tensor(tmp_path, number, dtype):
    good, bad = torch.ones(3, dtype=dtype), torch.tensor([1.0, number]).to(dtype)
    path = tmp_path / "w.pth"
    torch.save({"state_dict": {"a.weight": good, "b.bias": bad, "n": torch.tensor(3)}}, path)
    with pytest.raises(KdtoolError, match=r"1 of 3 tensors hold NaN or infinity, such as b\.bias"):
        load_file_of_weights(path)
