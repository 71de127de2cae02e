"""Files as training programs write them: read without running code, into fresh networks."""

import argparse
import collections
import datetime
import pathlib
import pickle
import re
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from kdtool.errors import KdtoolError
from kdtool.train.models.networks import build_model
from kdtool.train.models.weights import fit_weights
from kdtool.train.models.weights_file import load_file_of_weights

NAME = "torchvision:mobilenet_v3_small"


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return models.mobilenet_v3_small(num_classes=10).state_dict()


def loads(content, expected, path, name=NAME, side=32):
    """Whether a file of `content` gives a fresh network the bits of `expected`."""
    torch.save(content, path)
    network = build_model(name, (3, side, side), 10, seed=1)
    assert fit_weights(network, load_file_of_weights(path), 10, path.name, head="fits") == []
    own = network.state_dict()
    return all(torch.equal(value, expected[key]) for key, value in own.items())


class AttributeDict(dict):
    """As Lightning's, under whose name it is written below."""


AttributeDict.__module__ = "pytorch_lightning.utilities.parsing"

SCALARS = [
    np.bool_(True),
    np.int8(3),
    np.uint64(3),
    np.float16(0.5),
    np.float32(0.5),
    np.float64(91.5),
    np.longdouble(1),
    np.complex64(1j),
    np.str_("best"),
    np.datetime64("2026-01-01"),
]


@pytest.mark.parametrize(
    "extra",
    [
        *SCALARS,
        np.arange(3),
        np.dtype("int16"),
        pathlib.Path("/data"),
        pathlib.PurePosixPath("/data"),
        pathlib.PureWindowsPath("C:/data"),
        argparse.Namespace(lr=0.1, root=pathlib.Path("/data"), sizes=[1, 2]),
        types.SimpleNamespace(lr=0.1),
        collections.OrderedDict(a=1),
        collections.defaultdict(list, a=[1]),
        collections.defaultdict(float),
        collections.Counter("aab"),
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        frozenset({1, 2}),
        slice(1, 2),
        1j,
    ],
    ids=repr,
)
def test_what_programs_write_next_to_weights_is_harmless(weights, tmp_path, extra):
    path = tmp_path / "w.pth"
    torch.save({"epoch": 3, "state_dict": weights, "extra": extra}, path)
    found = load_file_of_weights(path)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], value) for name, value in weights.items())


def test_hyperparameters_of_lightning_are_read_without_lightning(weights, tmp_path, monkeypatch):
    name = AttributeDict.__module__
    for part in ("pytorch_lightning", "pytorch_lightning.utilities", name):
        monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
    sys.modules[name].AttributeDict = AttributeDict
    content = {
        "state_dict": {f"model.{key}": value for key, value in weights.items()}
        | {"criterion.weight": torch.ones(10)},
        "hyper_parameters": AttributeDict(lr=0.1, root=pathlib.Path("/data")),
        "callbacks": collections.defaultdict(dict),
    }
    torch.save(content, tmp_path / "w.ckpt")
    for part in ("pytorch_lightning", "pytorch_lightning.utilities", name):
        monkeypatch.delitem(sys.modules, part)
    found = load_file_of_weights(tmp_path / "w.ckpt")
    network = build_model(NAME, (3, 32, 32), 10, seed=1)
    assert fit_weights(network, found, 10, "w.ckpt", head="fits") == []
    assert all(torch.equal(v, weights[key]) for key, v in network.state_dict().items())


def prefixed(prefix, weights):
    return {prefix + name: value for name, value in weights.items()}


@pytest.mark.parametrize(
    "prefix",
    [
        "net.",
        "module.",
        "_orig_mod.",
        "backbone.",
        "module.backbone.",
        "model._orig_mod.module.x1.",
    ],
)
@pytest.mark.parametrize("place", ["", "state_dict", "model", "model_state", "ema", "network"])
def test_any_common_prefix_is_cut_off(weights, tmp_path, prefix, place):
    content = prefixed(prefix, weights)
    content = {place: content, "epoch": 1} if place else content
    assert loads(content, weights, tmp_path / "w.pth")


def test_a_prefix_is_cut_off_with_a_loss_and_metrics_next_to_the_network(weights, tmp_path):
    content = prefixed("model.net.", weights) | {
        "model.loss.weight": torch.ones(10),
        "accuracy.total": torch.zeros(1),
    }
    assert loads({"state_dict": content}, weights, tmp_path / "w.pth")


def test_a_backbone_and_a_head_side_by_side_are_put_together(weights, tmp_path):
    split = {
        ("module.head." if name.startswith("classifier.3.") else "module.backbone.") + name: value
        for name, value in weights.items()
    }
    assert loads(split, weights, tmp_path / "w.pth")


def test_the_weights_in_use_go_before_averaged_ones(weights, tmp_path):
    other = {name: torch.zeros_like(value) for name, value in weights.items()}
    both = prefixed("model.", weights) | prefixed("model_ema.", other)
    assert loads(both, weights, tmp_path / "w.pth")
    assert loads({"ema": other, "model": weights}, weights, tmp_path / "v.pth")


def test_two_networks_in_one_file_are_an_error_that_names_both(weights, tmp_path):
    other = {name: torch.zeros_like(value) for name, value in weights.items()}
    content = prefixed("student.", weights) | prefixed("teacher.", other)
    with pytest.raises(KdtoolError, match=r"holds the network 2 times, .* student\., teacher\.; "):
        loads(content, weights, tmp_path / "w.pth")


def test_counters_of_thop_are_ignored_and_those_of_batchnorm_may_be_missing(weights, tmp_path):
    counted = weights | {
        name.rpartition(".")[0] + end: torch.zeros(1, dtype=torch.float64)
        for name in weights
        for end in (".total_ops", ".total_params")
    }
    counted |= {"total_ops": torch.zeros(1), "total_params": torch.zeros(1)}
    assert loads(counted, weights, tmp_path / "w.pth")
    assert loads(prefixed("module.", counted), weights, tmp_path / "x.pth")
    without = {n: value for n, value in weights.items() if not n.endswith("num_batches_tracked")}
    assert loads(without, weights, tmp_path / "v.pth")


def test_data_parallel_and_parameters_are_weights_too(weights, tmp_path):
    network = models.mobilenet_v3_small(num_classes=10)
    network.load_state_dict(weights)
    assert loads(nn.DataParallel(network).state_dict(), weights, tmp_path / "w.pth")
    with_parameters = weights | dict(network.named_parameters())
    assert loads(with_parameters, weights, tmp_path / "v.pth")


def test_layers_of_old_densenets_are_renamed(tmp_path):
    torch.manual_seed(0)
    weights = models.densenet121(num_classes=10).state_dict()
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): value
        for name, value in weights.items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    for number, content in enumerate((old, prefixed("module.", old), weights)):
        assert loads(content, weights, tmp_path / f"{number}.pth", "torchvision:densenet121")


@pytest.mark.parametrize(
    ("name", "side", "auxiliary"), [("googlenet", 32, "aux1."), ("inception_v3", 80, "AuxLogits.")]
)
def test_auxiliary_heads_are_left_out(tmp_path, name, side, auxiliary):
    torch.manual_seed(0)
    make = getattr(models, name)
    weights = make(num_classes=10, aux_logits=True, init_weights=False).state_dict()
    assert any(key.startswith(auxiliary) for key in weights)
    without = {key: v for key, v in weights.items() if not key.startswith(("aux", "AuxLogits"))}
    for number, content in enumerate((weights, prefixed("module.", weights), without)):
        path = tmp_path / f"{number}.pth"
        assert loads(content, weights, path, f"torchvision:{name}", side)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: {n: v for n, v in w.items() if n != "features.0.0.weight"},
            r"1 missing \(features\.0\.0\.weight\)",
        ),
        (lambda w: w | {"aux3.weight": torch.ones(1)}, r"1 unexpected \(aux3\.weight\)"),
        (
            lambda w: prefixed("net.", w | {"extra.total": torch.ones(1)}),
            r"1 unexpected \(extra\.total\)",
        ),
        (
            lambda w: w | {"features.0.0.weight": torch.ones(16, 3, 5, 5)},
            r"1 of another shape \(features\.0\.0\.weight\)",
        ),
        (
            lambda w: {"a.0.weight": torch.ones(1), "b.0.weight": torch.ones(1)},
            r"208 missing .*2 unexpected \(a\.0\.weight, b\.0\.weight\)",
        ),
    ],
)
def test_real_mismatches_are_errors_that_name_the_tensors(weights, tmp_path, change, message):
    with pytest.raises(KdtoolError, match=message):
        loads(change(weights), weights, tmp_path / "w.pth")


class Evil:
    def __reduce__(self):
        return print, ("this code must not run",)


def write_pickle(path):
    path.write_bytes(pickle.dumps({"state_dict": Evil()}))


def write_evil(path):
    torch.save({"state_dict": Evil()}, path)


def write_whole_model(path):
    torch.save(nn.Linear(2, 2), path)


def write_script(path):
    torch.jit.script(nn.Linear(2, 2)).save(path)


def write_half(path):
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:500])


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("w.pth", lambda path: None, "cannot read the weights .*No such file"),
        ("w.pth", lambda path: path.mkdir(), "cannot read the weights .*directory"),
        ("w.pth", lambda path: path.touch(), "the file is damaged, or was neither"),
        (
            "w.pth",
            lambda path: path.write_text("hello world"),
            "the file is damaged, or was neither",
        ),
        ("w.pth", write_half, "the file is damaged, or was neither"),
        ("w.pth", write_pickle, "neither written by torch.save nor as .safetensors"),
        (
            "w.pth",
            write_evil,
            r"w.pth contains print, which can run code when the file is read; expected weights",
        ),
        (
            "w.pth",
            write_whole_model,
            r"contains torch.nn.modules.linear.Linear, .*use torch\.save\(model\.state_dict\(\), ",
        ),
        ("w.pth", write_script, r"contains TorchScript, which"),
        (
            "w.ckpt",
            lambda path: torch.save({"epoch": 3}, path),
            r"contains no weights, but \['epoch'\]",
        ),
        ("w.pt", lambda path: torch.save([1, 2], path), "contains no weights, but list; expected"),
        ("w.safetensors", lambda path: path.write_bytes(b"x" * 99), "the file is damaged"),
        ("w.onnx", lambda path: path.touch(), 'is an ONNX file.*model = "w.onnx"'),
    ],
)
def test_files_without_weights_are_errors_that_run_no_code(tmp_path, capsys, name, write, message):
    write(tmp_path / name)
    with pytest.raises(KdtoolError, match=message):
        load_file_of_weights(tmp_path / name)
    assert "must not run" not in capsys.readouterr().out


class Custom:
    """A class of the program that wrote the file."""


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (Evil(), "print"),
        (Custom(), r".*test_weights_file\.Custom"),
        (np.array([Evil()], dtype=object), r"numpy\.dtypes\.ObjectDType"),
        (collections.defaultdict(Custom), r".*test_weights_file\.Custom"),
        (argparse.Namespace(model=nn.Linear(1, 1)), r"torch\.nn\.modules\.linear\.Linear"),
        (nn.functional.relu, r"torch\.nn\.functional\.relu"),
    ],
)
def test_the_error_names_what_could_run_code(weights, tmp_path, capsys, content, named):
    path = tmp_path / "w.pth"
    torch.save({"state_dict": weights, "extra": content}, path)
    with pytest.raises(KdtoolError, match=rf"w\.pth contains {named}, which can run code"):
        load_file_of_weights(path)
    assert "must not run" not in capsys.readouterr().out
