"""The losses are computed on the device and compared with values by hand; a wrong one is named."""

import math

import pytest
import torch
from shell import RECIPE

from kdtool.recipe.load import load_recipe, with_settings
from kdtool.train.fit.losses import kd_loss, label_loss
from kdtool.train.fit.methods import method_loss
from kdtool.train.pipeline.doctor import arithmetic as module
from kdtool.train.pipeline.doctor.arithmetic import Compared, arithmetic, judge

CPU = torch.device("cpu")
METHODS = ["kd", "ls", "dkd", "dist", "wttm", "mse", "nkd", "rld"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return load_recipe(path)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_right_here(recipe, method):
    found = arithmetic(with_settings(recipe, {"distill.method": method}), CPU)
    assert found.mark == "ok", found
    assert "losses, products and gradients on cpu are within " in found.found


# A fault of a library would look like these.
FAULTS = [
    ("kd_loss", lambda s, t, heat: kd_loss(s, t, 1.0), "kd", "kd is "),
    ("kd_loss", lambda s, t, heat: 1.01 * kd_loss(s, t, heat), "kd", "kd is "),
    ("label_loss", lambda *x: label_loss(*x) * (1 + 1e-3), "kd", "the cross-entropy is "),
    ("label_loss", lambda z, y, w=None: label_loss(z, y), "kd", "the weighted cross-entropy is "),
    ("distillation_loss", lambda *x: torch.tensor(math.nan), "kd", "the loss of distillation is "),
    (
        "auxiliary_loss",
        lambda logits, heat: torch.tensor(0.0),
        "kd",
        "the auxiliary loss of opposite",
    ),
    ("method_loss", lambda *x: 1.001 * method_loss(*x), "dkd", "the loss of the method is "),
]


@pytest.mark.parametrize(("name", "fault", "method", "message"), FAULTS)
def test_a_wrong_loss_is_named(recipe, monkeypatch, name, fault, method, message):
    monkeypatch.setattr(module, name, fault)
    found = arithmetic(with_settings(recipe, {"distill.method": method}), CPU)
    assert found.mark == "fails"
    assert found.found.startswith(message)
    assert "on cpu, expected" in found.found
    assert "--device cpu" in found.fix


def test_a_product_in_low_precision_is_found(monkeypatch, recipe):
    monkeypatch.setattr(module, "as_tensor", lambda x, _: torch.from_numpy(x).float() * 1.01)
    found = arithmetic(recipe, CPU)
    assert found.mark == "fails"
    assert found.found.startswith("a matrix product (its largest error) is ")
    assert "; so are 1 more value" in found.found


@pytest.mark.parametrize(
    ("got", "is_right"), [(2.0, True), (2.0001, True), (2.001, False), (math.nan, False)]
)
def test_a_value_is_right_within_a_ten_thousandth(got, is_right):
    assert Compared("x", 2.0, got).is_right == is_right
    assert judge([Compared("x", 2.0, got)], "cpu").mark == ("ok" if is_right else "fails")
