"""Networks for images of 32 x 32 pixels, as functions for a recipe.

Teachers and students of published comparisons: the ResNets of He et al. for CIFAR, those of CRD and
mdistiller, and torchvision's with a stem for small images. The names of their parts are those of
the published weights. `resnet8`, the network of MLPerf Tiny, is built into kdtool.
"""

from collections.abc import Callable

import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

ImageShape = tuple[int, int, int]  # C, H, W
# Makes the shortcut of a block that changes shape, of input channels, channels and stride.
Shortcut = Callable[[int, int, int], nn.Module]


class Padded(nn.Module):
    """Shortcut without weights: every other pixel, and channels of zeros on both sides.

    Source: He et al. 2015, arXiv:1512.03385, section 3.3, option A.
    """

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.before = (channels - channels_in) // 2
        self.after = channels - channels_in - self.before
        self.stride = stride

    def forward(self, features: Tensor) -> Tensor:
        """Return `(B, channels, H / stride, W / stride)`."""
        kept = features[:, :, :: self.stride, :: self.stride]
        return F.pad(kept, (0, 0, 0, 0, self.before, self.after))


def projected(channels_in: int, channels: int, stride: int) -> nn.Module:
    """Return a shortcut with weights, option B of He et al."""
    convolution = nn.Conv2d(channels_in, channels, 1, stride=stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels))


class Block(nn.Module):
    """Two 3x3 convolutions, and a shortcut past them."""

    def __init__(self, channels_in: int, channels: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        is_same = stride == 1 and channels_in == channels
        self.downsample = nn.Identity() if is_same else shortcut(channels_in, channels, stride)

    def forward(self, features: Tensor) -> Tensor:
        """Return `(B, channels, H / stride, W / stride)`."""
        inner = F.relu(self.bn1(self.conv1(features)))
        return F.relu(self.downsample(features) + self.bn2(self.conv2(inner)))


class CifarResNet(nn.Module):
    """A convolution, three stages of blocks, the mean over all pixels, and a linear layer."""

    def __init__(
        self, widths: tuple[int, int, int, int], depth: int, shortcut: Shortcut, channels: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        num_blocks = (depth - 2) // 6  # in each stage, of two layers each
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(
                Block(before, width, stride, shortcut),
                *(Block(width, width, 1, shortcut) for _ in range(num_blocks - 1)),
            )
            for before, width, stride in zip(widths[:3], widths[1:], (1, 2, 2), strict=True)
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def features(self, images: Tensor) -> Tensor:
        """Return the mean of each channel of the last stage, `(B, widths[3])`."""
        first = F.relu(self.bn1(self.conv1(images)))
        pooled: Tensor = self.pool(self.layer3(self.layer2(self.layer1(first))))
        return pooled


class HeNet(CifarResNet):
    """Of 6n + 2 layers, as He et al. describe; names as in akamaster/pytorch_resnet_cifar10."""

    def __init__(self, image_shape: ImageShape, num_classes: int, *, depth: int) -> None:
        super().__init__((16, 16, 32, 64), depth, Padded, image_shape[0])
        self.linear = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits `(B, num_classes)`."""
        logits: Tensor = self.linear(self.features(images))
        return logits


class WideNet(CifarResNet):
    """Four times as wide, as in CRD (arXiv:1910.10699); names as in megvii-research/mdistiller."""

    def __init__(self, image_shape: ImageShape, num_classes: int, *, depth: int) -> None:
        super().__init__((32, 64, 128, 256), depth, projected, image_shape[0])
        self.fc = nn.Linear(256, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits `(B, num_classes)`."""
        logits: Tensor = self.fc(self.features(images))
        return logits


def resnet20(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Return a network of 20 layers, 0.27 million parameters for 10 classes."""
    return HeNet(image_shape, num_classes, depth=20)


def resnet56(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Return a network of 56 layers, 0.85 million."""
    return HeNet(image_shape, num_classes, depth=56)


def resnet8x4(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Return the student of the usual CIFAR-100 pair, 1.2 million parameters for 100 classes."""
    return WideNet(image_shape, num_classes, depth=8)


def resnet32x4(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Return its teacher, 7.4 million."""
    return WideNet(image_shape, num_classes, depth=32)


def resnet18(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Return torchvision's ResNet18 for small images, 11.2 million parameters for 10 classes."""
    return small_stem(torchvision.models.resnet18(num_classes=num_classes), image_shape[0])


def resnet34(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Return torchvision's ResNet34 for small images, 21.3 million."""
    return small_stem(torchvision.models.resnet34(num_classes=num_classes), image_shape[0])


def small_stem(network: nn.Module, channels: int) -> nn.Module:
    """Replace the 7x7 convolution of stride 2 by a 3x3 one of stride 1, and leave out the pool."""
    network.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network
