"""Names of networks, against the registries themselves and against files of a user."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from kdtool.recipe import names

needs_torchvision = pytest.mark.skipif(
    find_spec("torchvision") is None, reason="without torchvision its names are unknown"
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with a module and a package of networks."""
    monkeypatch.chdir(tmp_path)
    stop = "raise SystemExit('this module must not run')\n"
    (tmp_path / "nets.py").write_text(
        stop + "from os.path import join as joined\n"
        "def small(shape, classes): ...\n"
        "large = lambda shape, classes: None\n"
        "if True:\n    def inside(shape, classes): ...\n"
    )
    (tmp_path / "torn.py").write_text("x = 1\ndef small(:\n")
    (tmp_path / "magic.py").write_text(stop + "globals()['small'] = print\n")
    (tmp_path / "star.py").write_text(stop + "from nets import *\n")
    (tmp_path / "regular" / "deep").mkdir(parents=True)
    (tmp_path / "regular" / "deep" / "__init__.py").touch()
    (tmp_path / "regular" / "space").mkdir()
    (tmp_path / "space").mkdir()
    (tmp_path / "space" / "net.py").write_text(stop + "def small(): ...\n")
    (tmp_path / "regular" / "__init__.py").write_text(stop)
    (tmp_path / "regular" / "deep" / "net.py").write_text(stop + "def small(): ...\n")
    (tmp_path / "clever").mkdir()
    (tmp_path / "clever" / "__init__.py").write_text(stop + "__path__.append('elsewhere')\n")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "mnist-cnn",
        "torchvision:mobilenet_v3_small",
        "nets:small",
        "nets:large",
        "nets:inside",
        "nets:joined",
        "regular.deep.net:small",
        "space.net:small",
        "regular.space.net:small",
        "magic:small",  # only its import can say
        "star:small",
        "clever.net:small",
    ],
)
def test_a_network_that_may_exist_is_no_problem(here, name):
    assert names.model_problem(name) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mnist-cn",
            'got "mnist-cn", expected mnist-cnn, mnist-cnn-small, mnist-mlp, resnet8, torchvision:',
        ),
        ("mnist-cn", 'package.module:function; did you mean "mnist-cnn"?'),
        pytest.param("resnet18", 'did you mean "torchvision:resnet18"?', marks=needs_torchvision),
        pytest.param(
            "torchvision:resnet81",
            "but torchvision has no such model; did you mean",
            marks=needs_torchvision,
        ),
        pytest.param(
            "torchvision:resnet", 'did you mean "torchvision:resnet', marks=needs_torchvision
        ),
        (
            "net.pth",
            "a file of weights, expected a network; set the file as its weights: weights =",
        ),
        ("nets:smal", 'nets.py has no function smal; did you mean "small"?'),
        ("nets:xyz", "has no function xyz; it has small"),
        ("nest:small", "but there is no module nest in {here} or an installed package; did you"),
        ("nest:small", 'did you mean "nets"?'),
        ("regular.dep.net:small", "but there is no module regular.dep in {here}/regular"),
        ("regular.deep.nets:small", "no module regular.deep.nets in {here}/regular/deep; did you"),
        ("space.nets:small", 'no module space.nets in {here}/space; did you mean "net"?'),
        ("nets.more:small", "but nets is a module, not a package"),
        ("torn:small", "but line 2 of {here}/torn.py is not valid Python: invalid syntax"),
        ("nets.py:small", "but nets is a module, not a package"),
        (
            "a/b:small",
            "expected package.module:function, such as nets:small for `small` in nets.py",
        ),
        ("nets:", "expected package.module:function"),
        ("math:small", "but math is a module of Python; expected one with a network of yours"),
        ("os:system", "but os is a module of Python"),
        ("subprocess:run", "but subprocess is a module of Python"),
    ],
)
def test_a_network_that_does_not_exist_is_named_with_what_was_meant(here, name, message):
    assert message.format(here=here) in names.model_problem(name)


def test_the_names_of_torchvision_are_those_of_its_registry():
    models = pytest.importorskip("torchvision.models")
    assert names.torchvision_names() == set(models.list_models(module=models))
    # `weights = "imagenet"` is therefore never wrong for one of them.
    assert all(len(models.get_model_weights(name)) for name in names.torchvision_names())


def test_the_names_of_timm_are_those_of_its_registry():
    pytest.importorskip("timm")
    registry = pytest.importorskip("timm.models._registry")
    assert names.timm_names() == set(registry._model_entrypoints)
    assert names.model_problem("timm:resnet18.a1_in1k") is None
    assert 'did you mean "timm:resnet18"?' in names.model_problem("timm:resnet81")


def test_a_missing_timm_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr(names, "find_module", lambda _name: None)
    assert "timm is not installed; install it with" in names.model_problem("timm:resnet18")


def test_the_built_in_names_are_those_that_are_built():
    networks = pytest.importorskip("kdtool.train.models.networks")
    assert tuple(networks.BUILT_IN) == names.BUILT_IN


def test_no_name_imports_torch():
    code = (
        "import sys; from kdtool.recipe.names import model_problem;"
        "[model_problem(n) for n in ('torchvision:x', 'timm:x', 'torch.nn:x', 'x', 'a.b:c')];"
        "print({'torch', 'torchvision', 'timm'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
