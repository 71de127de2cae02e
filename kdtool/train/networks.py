"""The built-in networks."""

from collections import OrderedDict

from torch import nn

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
