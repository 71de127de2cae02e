"""The networks: built in, from torchvision or timm, or a function of the user's."""

import copy
import importlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from kdtool.errors import KdtoolError
from kdtool.format import plural
from kdtool.install import install_command
from kdtool.recipe.names import model_problem, working_folder

ImageShape = tuple[int, int, int]  # C, H, W


def mnist_cnn(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Return the teacher of the course report: 1,011,466 parameters for MNIST.

    Source: github.com/sunhuanhuan920/ECE1512_2023F_ProjectRepo_Zhenhuan_Sun, Task_1.ipynb.
    """
    return _cnn(image_shape, num_classes, first_stride=1)


def mnist_cnn_small(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Return `mnist_cnn` with both pools of stride 2: 225,034 parameters for 10 logits.

    Source: google-research/google-research, subclass_distillation/mnist_colab.ipynb.
    """
    return _cnn(image_shape, num_classes, first_stride=2)


def _cnn(image_shape: ImageShape, num_classes: int, first_stride: int) -> nn.Module:
    channels, *sides = image_shape
    # A valid 3x3 convolution takes 2 pixels, and a 2x2 pool of stride 1 takes one.
    height, width = (((side - 4) // first_stride + 1 - 2) // 2 for side in sides)
    features = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 32, 3),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2, stride=first_stride),
            conv2=nn.Conv2d(32, 64, 3),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2, stride=2),
            flatten=nn.Flatten(),
        )
    )
    head = OrderedDict(
        dropout1=nn.Dropout(0.5),
        hidden=nn.Linear(64 * height * width, 128),
        relu3=nn.ReLU(),
        dropout2=nn.Dropout(0.5),
        classifier=nn.Linear(128, num_classes),
    )
    return nn.Sequential(OrderedDict(features=features, head=nn.Sequential(head)))


def mnist_mlp(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Return the student of the course report: 1,238,730 parameters for MNIST.

    Source: as `mnist_cnn`.
    """
    channels, height, width = image_shape
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            hidden1=nn.Linear(channels * height * width, 784),
            relu1=nn.ReLU(),
            hidden2=nn.Linear(784, 784),
            relu2=nn.ReLU(),
            classifier=nn.Linear(784, num_classes),
        )
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, and a shortcut past them."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        # Keras' defaults: a bias before BatchNorm, and its epsilon.
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1)
        self.norm1 = nn.BatchNorm2d(channels, eps=1e-3)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(channels, eps=1e-3)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(channels_in, channels, 1, 2)

    def forward(self, features: Tensor) -> Tensor:
        """Return `(B, channels, H / stride, W / stride)`.

        Args:
            features: `(B, channels_in, H, W)`.
        """
        inner = nn.functional.relu(self.norm1(self.conv1(features)))
        return nn.functional.relu(self.shortcut(features) + self.norm2(self.conv2(inner)))


def resnet8(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Return the image classifier of MLPerf Tiny: 78,186 parameters for CIFAR-10.

    Its convolutions of stride 2 see a border of zeros on all sides, Keras' on the right and below
    only.

    Source: mlcommons/tiny, benchmark/training/image_classification/keras_model.py,
    `resnet_v1_eembc` with 16 filters.
    """
    model = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(image_shape[0], 16, 3, padding=1),
            norm=nn.BatchNorm2d(16, eps=1e-3),
            relu=nn.ReLU(),
            block1=ResidualBlock(16, 16, stride=1),
            block2=ResidualBlock(16, 32, stride=2),
            block3=ResidualBlock(32, 64, stride=2),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Linear(64, num_classes),
        )
    )
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # Keras' he_normal
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return model


def as_input(images: Tensor) -> Tensor:
    """Return uint8 images `(B, C, H, W)` as the float32 in [0, 1] that the models take."""
    return images.to(torch.float32) / 255


USUAL_SIDE = 224  # pixels, of ImageNet; some networks scale smaller images down to nothing
ENLARGE = (
    f"if they are too small for it, input_size = {USUAL_SIDE}, or fewer if it takes fewer, has the "
    "model enlarge them"
)

AUXILIARY = {"googlenet", "inception_v3"}  # of torchvision

BUILT_IN: dict[str, Callable[[ImageShape, int], nn.Module]] = {
    "mnist-cnn": mnist_cnn,
    "mnist-cnn-small": mnist_cnn_small,
    "mnist-mlp": mnist_mlp,
    "resnet8": resnet8,
}


def build_model(name: str, image_shape: ImageShape, num_classes: int, seed: int) -> nn.Module:
    """Return the network `name` on the CPU, its initial weights drawn from `seed`.

    Args:
        name: Built in, `torchvision:NAME`, `timm:NAME` or `package.module:function`; the function
            takes `image_shape` and `num_classes`.
        image_shape: C, H, W of the images.
        num_classes: Length of the logits.
        seed: The same seed gives the same weights.

    Raises:
        KdtoolError: There is no such network, or it does not take such images.
    """
    check_model_name(name)
    kind, colon, rest = name.partition(":")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            if not colon:
                model = BUILT_IN[name](image_shape, num_classes)
            elif kind == "torchvision":
                # Without auxiliary heads: the loss takes one output.
                plain = {"aux_logits": False, "init_weights": True} if rest in AUXILIARY else {}
                model = torchvision_models().get_model(
                    rest, weights=None, num_classes=num_classes, **plain
                )
                take_channels(model, image_shape[0])
            elif kind == "timm":
                model = _timm_model(rest, image_shape, num_classes)
            else:
                network = _users_function(kind, rest)
                with working_folder():  # it may import more
                    model = network(image_shape, num_classes)
            with working_folder():
                _check_output(model, image_shape, num_classes)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            users = colon and kind not in {"torchvision", "timm"}
            called = f"; it is called as {rest}({image_shape}, {num_classes})" if users else ""
            hint = f"; {ENLARGE}" if min(image_shape[1:]) < USUAL_SIDE and colon else ""
            raise KdtoolError(
                f"model {name} cannot be used for images of {shown_shape(image_shape)} "
                f"and {num_classes} classes: {error}{called}{hint}"
            ) from error
    return model


def check_model_name(name: str) -> None:
    """Raise KdtoolError if there is no network `name`; builds nothing."""
    if problem := model_problem(name):
        raise KdtoolError(problem)
    # What no text shows: a registry that is laid out in another way, and what an import binds.
    kind, colon, rest = name.partition(":")
    found = True
    if kind == "torchvision":
        found = rest in torchvision_models().list_models(module=torchvision_models())
    elif kind == "timm":
        found = timm().is_model(rest)
    elif colon:
        _users_function(kind, rest)
    if not found:
        raise KdtoolError(f'got "{name}", but {kind} has no such model')


def torchvision_models() -> ModuleType:
    """Return torchvision.models, imported on use."""
    # Imported on use: it takes as long as torch, and most recipes do without.
    return importlib.import_module("torchvision.models")


def timm() -> ModuleType:
    """Return timm.

    Raises:
        KdtoolError: It is not installed.
    """
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise KdtoolError(f"models timm:NAME need timm: {install_command('timm')}") from error


def _timm_model(name: str, image_shape: ImageShape, num_classes: int) -> nn.Module:
    model = timm().create_model(
        name, pretrained=False, num_classes=num_classes, in_chans=image_shape[0]
    )
    assert isinstance(model, nn.Module)
    return model


def _users_function(module: str, function: str) -> Callable[[ImageShape, int], nn.Module]:
    try:
        with working_folder():
            found = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        raise KdtoolError(
            f"model {module}:{function}: cannot import {error.name}, looked in {Path.cwd()} too"
        ) from error
    except (ImportError, SyntaxError, ValueError, TypeError) as error:
        raise KdtoolError(
            f"model {module}:{function}: cannot import {module!r}: {error}"
        ) from error
    except AttributeError as error:
        raise KdtoolError(f"model {module}:{function}: {module} has no {function}") from error
    if not callable(found):
        raise KdtoolError(f"model {module}:{function}: {function} is not a function")
    made: Callable[[ImageShape, int], nn.Module] = found
    return made


def first_convolution(network: nn.Module) -> str | None:
    """Return the name of the first convolution in the order of the layers; None: it has none."""
    names = (name for name, part in network.named_modules() if isinstance(part, nn.Conv2d))
    return next(names, None)


def take_channels(network: nn.Module, channels: int) -> None:
    """Replace the first convolution of an RGB network by one for `channels`, randomly drawn."""
    name = first_convolution(network)
    if name is None:
        return
    layer = network.get_submodule(name)
    assert isinstance(layer, nn.Conv2d)
    if layer.in_channels == channels:
        return
    first = nn.Conv2d(
        channels,
        layer.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        layer.dilation,  # type: ignore[arg-type]
        bias=layer.bias is not None,
    )
    network.set_submodule(name, first)


def _check_output(model: object, image_shape: ImageShape, num_classes: int) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"got a {type(model).__name__}, expected a torch.nn.Module")
    images = torch.zeros(2, *image_shape)
    with torch.no_grad():
        _check_logits(model.eval()(images), num_classes)
        # As in training: channels last, and with what a network returns in train mode.
        training = copy.deepcopy(model).to(memory_format=torch.channels_last).train()
        _check_logits(training(images.contiguous(memory_format=torch.channels_last)), num_classes)


def _check_logits(logits: object, num_classes: int) -> None:
    if not isinstance(logits, Tensor) or logits.shape != (2, num_classes):
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        hint = (
            ""
            if isinstance(logits, Tensor)
            else ", a tensor: a function of yours (model = "
            '"module:function") can build it without auxiliary outputs'
        )
        raise ValueError(
            f"got an output of {given} for 2 images, expected (2, {num_classes}){hint}"
        )


def shown_shape(image_shape: ImageShape) -> str:
    """Return height, width and channels as text."""
    channels, height, width = image_shape
    return f"{height}x{width} with {plural(channels, 'channel')}"
