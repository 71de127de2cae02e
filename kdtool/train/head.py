"""Where the logits of a network come from."""

from torch import nn

from kdtool.errors import KdtoolError


def head_name(network: nn.Module, num_logits: int) -> str:
    """Return the dotted name of the layer that gives the logits.

    It is the last linear layer or 1x1 convolution, in the order in which the network names its
    layers, with as many outputs.

    Raises:
        KdtoolError: There is none.
    """
    found = ""
    for name, layer in network.named_modules():
        if (isinstance(layer, nn.Linear) and layer.out_features == num_logits) or (
            isinstance(layer, nn.Conv2d)
            and layer.out_channels == num_logits
            and layer.kernel_size == (1, 1)
        ):
            found = name
    if not found:
        raise KdtoolError(
            f"{type(network).__name__} has no head: expected a linear layer or a 1x1 convolution "
            f"with {num_logits} outputs"
        )
    return found
