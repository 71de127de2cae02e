import pytest
import torch
from torch import nn

from kdtool.errors import KdtoolError, RecipeError
from kdtool.recipe.training import PhaseTable, TrainTable
from kdtool.train.fit.optimizer import check_trainable, freeze, make_optimizer, phases_of
from kdtool.train.models.networks import build_model
from kdtool.train.models.preprocess import Normalize, Prepared
from kdtool.train.models.weights import head_name

TABLE = TrainTable(model="torchvision:resnet18", learning_rate=4e-3)
SHAPE = (3, 32, 32)


@pytest.fixture(scope="module")
def resnet():
    return build_model("torchvision:resnet18", SHAPE, 2, seed=0)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("torchvision:resnet18", "fc"),
        ("torchvision:mobilenet_v2", "classifier.1"),
        ("torchvision:squeezenet1_1", "classifier.1"),
        ("torchvision:mobilenet_v3_small", "classifier.3"),
        ("mnist-cnn", "head.classifier"),
    ],
)
def test_the_head_is_the_layer_of_the_logits(name, head):
    assert head_name(build_model(name, SHAPE, 2, seed=0), 2) == head


def test_a_network_without_a_head_is_told():
    with pytest.raises(KdtoolError, match="no head: expected a linear layer or a 1x1 conv"):
        head_name(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()), 2)


def learning(model):
    return {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("prepared", [False, True])
def test_only_the_named_parts_learn(resnet, prepared):
    model = Prepared(Normalize([0.5], [0.5]), resnet) if prepared else resnet
    freeze(model, "layer4+head", 2)
    assert learning(resnet) == {"layer4", "fc"}
    freeze(model, "head", 2)
    assert learning(resnet) == {"fc"}
    freeze(model, "layer4.1.conv2", 2)
    assert learning(resnet) == {"layer4"}
    assert freeze(model, "all", 2) == []
    assert len(learning(resnet)) == 7


def steps_of(model, table, train, count=3):
    """Train a few steps as the loop does."""
    (phase,) = phases_of(table.model_copy(update={"train": train, "min_steps": 0}), 10)
    frozen = freeze(model, phase.train, 2)
    optimizer = make_optimizer(model, table, phase, 2)
    model.train()
    for module in frozen:
        module.eval()
    for _ in range(count):
        optimizer.zero_grad()
        model(torch.rand(4, *SHAPE)).square().sum().backward()
        optimizer.step()
    return frozen


def test_what_is_frozen_stays_as_it_was_statistics_included():
    torch.manual_seed(0)
    model = build_model("torchvision:resnet18", SHAPE, 2, seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    steps_of(model, TABLE, "layer4+head")
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in changed} == {"layer4", "fc"}
    assert "layer4.0.bn1.running_mean" in changed
    assert "layer4.0.bn1.num_batches_tracked" in changed


def test_dropout_is_off_in_what_is_frozen_and_on_before_the_head():
    model = build_model("torchvision:mobilenet_v2", SHAPE, 2, seed=0)
    frozen = steps_of(model, TABLE, "head", count=1)
    assert not model.features.training
    assert model.features in frozen
    assert model.classifier[0].training  # the dropout between features and head
    assert not any(module.training for module in model.features.modules())


def test_the_head_may_learn_faster_than_the_rest(resnet):
    (phase,) = phases_of(TABLE.model_copy(update={"backbone_learning_rate": 1e-5}), 10)
    freeze(resnet, "all", 2)
    optimizer = make_optimizer(resnet, TABLE, phase, 2)
    rates = {
        group["full_lr"]: sum(p.numel() for p in group["params"])
        for group in optimizer.param_groups
    }
    assert rates == {4e-3: 512 * 2 + 2, 1e-5: 11_176_512}


@pytest.mark.parametrize(
    ("name", "plain", "extra"),
    [
        ("adam", torch.optim.Adam, {}),
        ("adamw", torch.optim.AdamW, {}),
        ("sgd", torch.optim.SGD, {"momentum": 0.9}),
    ],
)
def test_the_fused_optimizers_are_those_of_pytorch(name, plain, extra):
    table = TABLE.model_copy(update={"optimizer": name, "weight_decay": 0.01})
    models = [nn.Linear(5, 3) for _ in "ab"]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [
        make_optimizer(models[0], table, phases_of(table, 10)[0], 3),
        plain(models[1].parameters(), table.learning_rate, weight_decay=0.01, **extra),
    ]
    for batch in torch.randn(3, 4, 5):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            model(batch).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(models[0].weight, models[1].weight)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": "layer5"}, 'has no part "layer5"; did you mean "layer'),
        ({"train": "layer4+hed"}, 'has no part "hed"; did you mean "head"?'),
        ({"train": ""}, 'has no part ""'),
        ({"train": "relu+avgpool"}, "but these parts have no weights"),
        (
            {"phase": [PhaseTable(epochs=1), PhaseTable(epochs=1, train="features")]},
            "its parts are conv1, bn1, relu, maxpool, layer1",
        ),
    ],
)
def test_a_part_that_is_not_there_is_told_before_training(resnet, changes, message):
    with pytest.raises(RecipeError) as caught:
        check_trainable(resnet, TABLE.model_copy(update=changes), 2)
    assert message in str(caught.value)
