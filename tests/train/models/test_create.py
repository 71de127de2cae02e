"""From a table to a model: weights, normalization, size; all of it inside the file that ships."""

import hashlib
import shutil
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from quantized import int8_of
from torchvision.models import (
    ResNet18_Weights,
    ShuffleNet_V2_X0_5_Weights,
    shufflenet_v2_x0_5,
)
from torchvision.transforms.v2 import functional as reference

from kdtool.errors import KdtoolError
from kdtool.recipe.training import Normalization, TrainTable
from kdtool.train.export.onnx_file import answers, as_given, compare, make_onnx
from kdtool.train.models.checkpoint import save_weights
from kdtool.train.models.create import load_pretrained, make_model, origin_of
from kdtool.train.models.describe import describe_model
from kdtool.train.models.preprocess import network_of
from kdtool.train.models.trained_teacher import InOrder
from kdtool.train.run import describe_weights

SHAPE = (3, 48, 48)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "shuffle.pth"
    torch.save(shufflenet_v2_x0_5(num_classes=7).state_dict(), path)
    return path


def table(**keys):
    return TrainTable(**({"model": "torchvision:shufflenet_v2_x0_5"} | keys))


def test_a_table_without_any_of_it_is_the_bare_network():
    model = make_model(table(), SHAPE, 2, seed=0)
    assert network_of(model) is model
    assert describe_weights(table(), SHAPE, 2) == []


def test_weights_bring_their_normalization(weights):
    model = make_model(table(weights=str(weights)), SHAPE, 2, seed=0)
    images = torch.rand(2, *SHAPE)
    preset = ResNet18_Weights.DEFAULT.transforms()
    expected = reference.normalize(images, preset.mean, preset.std)
    torch.testing.assert_close(model.prepare(images), expected)
    model.eval()
    torch.testing.assert_close(model(images), model.network(expected))


@pytest.mark.parametrize(
    ("normalize", "channels", "mean"),
    [
        ("imagenet", 3, [0.485, 0.456, 0.406]),
        ("imagenet", 1, [0.449]),
        (Normalization(mean=[0.5], std=[0.25]), 3, [0.5]),
        (Normalization(mean=[0.1, 0.2, 0.3], std=[1.0]), 3, [0.1, 0.2, 0.3]),
    ],
)
def test_normalization_can_be_given(normalize, channels, mean):
    model = make_model(table(normalize=normalize), (channels, 48, 48), 2, seed=0)
    assert model.prepare.mean.flatten().tolist() == pytest.approx(mean)


def test_none_is_done_where_it_is_switched_off(weights):
    plain = table(weights=str(weights), normalize="none")
    assert network_of(model := make_model(plain, SHAPE, 2, seed=0)) is model


def test_loading_takes_all_but_the_head_and_says_so(weights):
    chosen = table(weights=str(weights))
    notes = [note.text for note in describe_weights(chosen, (1, 224, 224), 2)]
    assert notes == [
        "starts from shuffle.pth",
        "conv1.0 has 3 input channels in the file and 1 here: its filters were added up",
        "all layers but the head are loaded (7 outputs in the file, 2 outputs here)",
        "images are normalized as for the ImageNet weights shufflenetv2_x0.5-f707e7126e.pth, as "
        'shuffle.pth does not say how; if its own were not, say normalize = "none"',
    ]
    model = make_model(chosen, SHAPE, 2, seed=0)
    assert len(load_pretrained(model, chosen, 2)) == 1
    given = torch.load(weights, weights_only=True)
    assert torch.equal(model.network.conv1[0].weight, given["conv1.0.weight"])


def test_small_images_are_a_warning_and_can_be_enlarged(weights):
    notes = describe_weights(table(weights=str(weights)), (3, 32, 32), 2)
    (warning,) = [note.text for note in notes if note.warn]
    assert "images are 32 pixels wide, its weights were trained on 224: input_size = 224" in warning
    larger = table(weights=str(weights), input_size=224)
    assert not any(note.warn for note in describe_weights(larger, (3, 32, 32), 2))


def test_a_head_alone_on_random_weights_is_a_warning():
    (note,) = describe_weights(table(train="head"), SHAPE, 2)
    assert note.warn
    assert note.text == 'without weights, train = "head" freezes all other layers at random weights'
    assert describe_weights(table(), SHAPE, 2) == []


def test_a_network_of_the_users_says_nothing_of_normalization(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mynets.py").write_text(
        "from torch import nn\n"
        "def small(shape, classes):\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, classes))\n"
    )
    small = table(model="mynets:small", weights=str(tmp_path / "w.pth"))
    torch.save({"2.weight": torch.ones(2, 12), "2.bias": torch.ones(2)}, tmp_path / "w.pth")
    (warning,) = [note.text for note in describe_weights(small, SHAPE, 2) if note.warn]
    assert 'normalize = "imagenet" takes the mean and deviation of ImageNet' in warning
    model = make_model(small, SHAPE, 2, seed=0)
    load_pretrained(model, small, 2)
    assert torch.equal(model[2].weight, torch.ones(2, 12))


def test_models_with_another_preprocessing_have_another_hash(weights):
    name, given = "torchvision:shufflenet_v2_x0_5", str(weights)
    tables = [
        table(),
        table(weights=given),
        table(weights=given, input_size=64),
        table(normalize=Normalization(mean=[0.5], std=[0.25])),
    ]
    found = {describe_model(name, make_model(one, SHAPE, 2, seed=0)) for one in tables}
    assert len(found) == 4


@pytest.mark.parametrize("channels", [1, 3])
def test_the_file_that_ships_normalizes_and_enlarges_and_so_does_its_int8(tmp_path, channels):
    shape = (channels, 12, 10)
    chosen = table(model="mnist-cnn-small", normalize="imagenet", input_size=20)
    model = make_model(chosen, shape, 5, seed=0).eval()
    assert model.prepare[0].size == (24, 20)
    file = make_onnx(model, shape, 5, 18)
    images = np.random.default_rng(0).integers(0, 256, (40, *shape), dtype=np.uint8)
    pixels = as_given(images, "pixels")
    onnx.save(file, tmp_path / "model.onnx")
    onnx.save(int8_of(file, pixels, "portable"), tmp_path / "int8.onnx")
    with torch.no_grad():
        expected = model(torch.from_numpy(images) / 255).numpy()
    assert compare(answers(tmp_path / "model.onnx", pixels)[0], expected).passed
    int8 = answers(tmp_path / "int8.onnx", pixels)[0]
    assert np.corrcoef(int8.ravel(), expected.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("normalize", ["none", Normalization(mean=[0.1], std=[0.3])])
def test_a_checkpoint_of_a_study_brings_its_own_normalization(tmp_path, normalize):
    trained = make_model(table(normalize=normalize, input_size=64), SHAPE, 2, seed=1)
    save_weights(tmp_path / "teacher.safetensors", trained.state_dict(), {"role": "teacher"})
    chosen = table(weights=str(tmp_path / "teacher.safetensors"), input_size=64)
    model = make_model(chosen, SHAPE, 2, seed=2)
    assert load_pretrained(model, chosen, 2) == []
    images = torch.rand(2, *SHAPE)
    assert torch.equal(model.eval()(images), trained.eval()(images))
    notes = [note.text for note in describe_weights(chosen, SHAPE, 2)]
    assert notes == ["starts from teacher.safetensors"]


def test_the_normalization_of_a_reordered_teacher_is_found(tmp_path):
    given = table(normalize=Normalization(mean=[0.1], std=[0.3]))
    trained = InOrder(make_model(given, SHAPE, 2, seed=1), ["b", "a"], ["a", "b"])
    save_weights(tmp_path / "teacher.safetensors", trained.state_dict(), {"role": "teacher"})
    chosen = table(weights=str(tmp_path / "teacher.safetensors"))
    model = make_model(chosen, SHAPE, 2, seed=2)
    assert load_pretrained(model, chosen, 2) == []
    images = torch.rand(2, *SHAPE)
    assert torch.equal(model.eval()(images), trained.model.eval()(images))


def test_the_record_of_a_study_replaces_a_file_that_is_gone(weights, tmp_path):
    path = Path(shutil.copy(weights, tmp_path))
    chosen, name = table(weights=str(path)), "torchvision:shufflenet_v2_x0_5"
    recorded = origin_of(chosen, None)
    before = describe_model(name, make_model(chosen, SHAPE, 2, seed=0))
    path.unlink()
    assert origin_of(chosen, recorded) == recorded
    after = make_model(chosen, SHAPE, 2, seed=0, recorded=recorded)
    assert describe_model(name, after) == before
    for given in (None, recorded.model_copy(update={"name": "other.pth"})):
        with pytest.raises(KdtoolError, match=r"cannot read the weights .*shuffle\.pth"):
            origin_of(chosen, given)
    path.write_bytes(b"other content of that name")
    assert origin_of(chosen, recorded) != recorded


def test_published_weights_are_known_by_their_address(monkeypatch):
    before = origin_of(table(weights="imagenet"), None)
    best = ShuffleNet_V2_X0_5_Weights.DEFAULT
    assert best.url in before.identity
    moved = replace(best.value, url="https://example.org/newer.pth")
    monkeypatch.setattr(best, "_value_", moved)
    assert origin_of(table(weights="imagenet"), None).identity != before.identity


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model": "mnist-cnn", "weights": "imagenet"}, "no ImageNet weights exist for mnist-cnn"),
        (
            {"input_size": 32},
            "got input_size = 32 for images of 48x48 with 3 channels, expected at least",
        ),
        (
            {"normalize": Normalization(mean=[0.1, 0.2], std=[1.0])},
            "got normalize with 2 means and 1 standard deviations, expected 3",
        ),
        ({"weights": "/nowhere/w.pth"}, "cannot read the weights /nowhere/w.pth: No such file"),
    ],
)
def test_what_cannot_be_made(keys, message):
    with pytest.raises(KdtoolError) as caught:
        load_pretrained(make_model(table(**keys), SHAPE, 2, seed=0), table(**keys), 2)
    assert message in str(caught.value)


def test_weights_that_cannot_be_downloaded_are_an_error_with_remedies(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr("urllib.request._opener", None)  # it keeps the proxies of its first use
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    chosen = table(weights="imagenet")
    with pytest.raises(KdtoolError) as caught:
        load_pretrained(make_model(chosen, SHAPE, 2, seed=0), chosen, 2)
    for part in (
        "cannot get the ImageNet weights shufflenetv2_x0.5-f707e7126e.pth from https://",
        f"put the file at {tmp_path}",
        'weights = "FILE"; --set teacher.weights=none and --set student.weights=none train',
    ):
        assert part in str(caught.value)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where torch keeps the weights of the network of `table`."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints" / "shufflenetv2_x0.5-f707e7126e.pth"


def test_weights_that_were_downloaded_before_are_taken(place):
    place.parent.mkdir(parents=True)
    torch.save(shufflenet_v2_x0_5().state_dict(), place)
    chosen = table(weights="imagenet")
    model = make_model(chosen, SHAPE, 2, seed=0)
    assert load_pretrained(model, chosen, 2) == [
        "all layers but the head are loaded (1000 outputs in the file, 2 outputs here)"
    ]


class Evil:
    def __reduce__(self):
        return print, ("this code must not run",)


def test_a_file_that_would_run_code_is_not_run_where_torch_keeps_its_weights(place, capsys):
    place.parent.mkdir(parents=True)
    torch.save({"conv1.0.weight": Evil()}, place)
    chosen = table(weights="imagenet")
    with pytest.raises(KdtoolError, match=r"run code .*; delete it to download it again"):
        load_pretrained(make_model(chosen, SHAPE, 2, seed=0), chosen, 2)
    assert "must not run" not in capsys.readouterr().out


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder on a web server that torchvision's weights of ResNet18 are downloaded from."""
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def serve(name):
            best = replace(
                ShuffleNet_V2_X0_5_Weights.DEFAULT.value,
                url=f"http://127.0.0.1:{http.server_address[1]}/{name}",
            )
            monkeypatch.setattr(ShuffleNet_V2_X0_5_Weights.DEFAULT, "_value_", best)
            return folder / name

        yield serve
        http.shutdown()
        thread.join()


def test_a_download_is_kept_if_its_checksum_is_right(served, tmp_path, capsys):
    torch.save(shufflenet_v2_x0_5(num_classes=2).state_dict(), tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    chosen = table(weights="imagenet")

    def load():
        return load_pretrained(make_model(chosen, SHAPE, 2, seed=0), chosen, 2)

    served("shuffle-00000000.pth").write_bytes(content)
    with pytest.raises(KdtoolError, match=r"shuffle-00000000\.pth from http://127.*invalid hash"):
        load()
    assert not list((tmp_path / "home").rglob("*.*th"))
    name = f"shuffle-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    served(name).write_bytes(content)
    assert load() == []
    (tmp_path / "served" / name).unlink()
    assert load() == []
    assert capsys.readouterr().out == ""
