"""From a table of the recipe to a model: the network, its weights and its preprocessing."""

from torch import nn

from kdtool.recipe_train import TrainTable
from kdtool.train.models import ImageShape, build_model
from kdtool.train.onnx_teacher import OnnxTeacher


def make_model(table: TrainTable, image_shape: ImageShape, num_logits: int, seed: int) -> nn.Module:
    """Return the model of `[teacher]` or `[student]` on the CPU, before this study trains it.

    Args:
        table: Names the network.
        image_shape: C, H, W of the images.
        num_logits: Length of the logits.
        seed: Of the weights that are drawn.

    Raises:
        KdtoolError: There is no such network, or it does not take such images.
    """
    if table.is_onnx:
        return OnnxTeacher(table, image_shape)
    return build_model(table.model, image_shape, num_logits, seed)
