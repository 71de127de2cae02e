import copy

import pytest
import torch
from torch import nn

from kdtool.train.models.count import count
from kdtool.train.models.networks import build_model


def test_resnet8_is_that_of_mlperf_tiny():
    """Published: 78,666 parameters, of which 480 are statistics, and 12.5 million MACs.

    Source: mlcommons/tiny, benchmark/training/image_classification/Logs/training_log.txt;
    MACs by hand from keras_model.py: pixels of each output x weights of each filter.
    """
    network = build_model("resnet8", (3, 32, 32), 10, seed=0)
    stacks = [2 * 9 * 16 * 16, 9 * 16 * 32 + 9 * 32 * 32 + 16 * 32, 9 * 32 * 64 + 9 * 64 * 64]
    macs = 32**2 * (9 * 3 * 16 + stacks[0]) + 16**2 * stacks[1] + 8**2 * (stacks[2] + 32 * 64) + 640
    cost = count(network, (3, 32, 32))
    statistics = sum(b.numel() for b in network.buffers() if b.dim())
    assert (cost.num_params, statistics, cost.num_params + statistics) == (78_186, 480, 78_666)
    assert cost.num_macs == macs == 12_501_632


@pytest.mark.parametrize(
    ("name", "shape", "classes", "params", "macs", "thop_macs"),
    [
        ("mnist-cnn", (1, 28, 28), 10, 1_011_466, 10_937_728, 10_937_728),
        ("mnist-mlp", (1, 28, 28), 10, 1_238_730, 1_237_152, 1_237_152),
        # The course report's "FLOPs" of these two are thop's count.
        ("torchvision:resnet50", (3, 224, 224), 2, 23_512_130, 4_087_140_352, 4_131_698_688),
        ("torchvision:mobilenet_v2", (3, 224, 224), 2, 2_226_434, 299_496_832, 326_209_280),
    ],
)
def test_the_figures_of_the_course_report(name, shape, classes, params, macs, thop_macs):
    cost = count(build_model(name, shape, classes, seed=0), shape)
    assert (cost.num_params, cost.num_macs, cost.thop_macs) == (params, macs, thop_macs)
    assert cost.num_flops == 2 * macs


def test_attention_is_counted():
    tokens, width = 49, 64
    model = nn.TransformerEncoderLayer(width, 4, dim_feedforward=128, batch_first=True)
    wrapped = nn.Sequential(nn.Flatten(2), nn.Unflatten(2, (tokens, 1)), Widen(width), model)
    linear = tokens * (4 * width * width + 2 * width * 128)
    attention = 2 * tokens * tokens * width
    assert count(wrapped, (1, 7, 7)).num_macs == linear + attention


class Widen(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width = width

    def forward(self, images):
        return images[:, 0].expand(-1, -1, self.width)


def test_counting_does_not_change_the_model():
    model = build_model("torchvision:mobilenet_v2", (3, 32, 32), 2, seed=0).train()
    model.features[0].eval()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    count(model, (3, 32, 32))
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert modes == [m.training for m in model.modules()]
    assert torch.backends.mha.get_fastpath_enabled()


class AttentionPool(nn.Module):
    """As timm's attention pooling: a learned token, expanded to the batch, asks for the classes."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.patches, self.query, self.head = (
            nn.Conv2d(1, 8, 2, 2),
            nn.Linear(8, 8),
            nn.Linear(8, 3),
        )

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)  # (B, 16, 8)
        query = self.query(self.token.expand(len(images), -1, -1))
        return self.head((query @ tokens.transpose(1, 2)).softmax(-1) @ tokens)[:, 0]


def test_a_learned_token_that_is_expanded_to_the_batch_is_counted():
    model = AttentionPool().train()
    before = copy.deepcopy(model.state_dict())
    cost = count(model, (1, 8, 8))
    patches, query, attention, head = 16 * 8 * 4, 8 * 8, 2 * 16 * 8, 8 * 3
    assert cost.num_macs == patches + query + attention + head
    assert cost.num_params == 8 + 8 * 5 + 8 * 9 + 3 * 9
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
