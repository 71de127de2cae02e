"""The outputs of a teacher that comes trained, put into the order of the data's classes."""

import difflib
import json
from collections.abc import Sequence

from torch import Tensor, nn

from kdtool.errors import RecipeError
from kdtool.recipe_train import TrainTable
from kdtool.train.onnx_teacher import OnnxTeacher


class InOrder(nn.Module):
    """A model whose logits are put into another order; what is not wanted is left out."""

    def __init__(self, model: nn.Module, outputs: Sequence[str], classes: Sequence[str]) -> None:
        """Name the outputs of `model`, all classes among them."""
        super().__init__()
        self.model, self.outputs = model, list(outputs)
        self.index = [self.outputs.index(name) for name in classes]

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `(B, C)`, those of `model` at the places `index`."""
        logits: Tensor = self.model(images)[:, self.index]
        return logits

    def extra_repr(self) -> str:
        """Tell the order."""
        return f"index={self.index}"


def in_order(model: nn.Module, table: TrainTable, classes: Sequence[str]) -> nn.Module:
    """Return a trained teacher that gives one logit for each class of the data, in their order.

    Args:
        model: The teacher, with as many outputs as `table.classes` has names.
        table: Names its outputs, where the file does not.
        classes: Of the data.

    Raises:
        RecipeError: A class of the data has no output, or the names do not fit the outputs.
    """
    names, num_logits = table.classes, len(table.classes or classes)
    if isinstance(model, OnnxTeacher):
        names, num_logits = table.classes or model.classes, model.num_logits
    if len(names or classes) != num_logits:
        given = f"{len(names)} names" if names else f"none of them, and the data {len(classes)}"
        raise RecipeError(
            f"{table.model} has {num_logits} outputs, and {given}; name in teacher.classes what "
            "each output stands for, in order"
        )
    if names is None:
        return model
    if isinstance(model, OnnxTeacher) and names == model.classes and names != list(classes):
        model.notes.append(
            f"its classes are {', '.join(names[:20])}: put into the order of the data's"
        )
    missing = [name for name in classes if name not in names]
    if missing or len(set(names)) < len(names):
        raise RecipeError(_misnamed(table, names, classes, missing))
    return model if list(names) == list(classes) else InOrder(model, names, classes)


def classes_line(names: Sequence[str]) -> str:
    """Return the line of a recipe that names a teacher's outputs."""
    return f"teacher.classes = {json.dumps(list(names), ensure_ascii=False)}"


def _misnamed(
    table: TrainTable, names: Sequence[str], classes: Sequence[str], missing: Sequence[str]
) -> str:
    where = "teacher.classes" if table.classes else f"{table.model} names its outputs, and"
    if not missing:
        twice = next(name for name in names if list(names).count(name) > 1)
        return f"{where} has {twice!r} twice; each output needs a name of its own"
    close = difflib.get_close_matches(missing[0], names, n=1)
    text = f"{where} lacks {missing[0]!r}, a class of the data"
    text += f"; did you mean it by {close[0]!r}?" if close else f": {', '.join(names[:20])}"
    if table.classes is None and len(names) == len(classes):
        text += f"; if they are the classes of the data in their order, set {classes_line(classes)}"
    elif table.classes is None:
        text += "; name its outputs as the data's classes are, in teacher.classes"
    return text
