"""A checkpoint of a study as an ONNX file, to be profiled."""

from pathlib import Path

import onnx

from kdtool.errors import StudyError
from kdtool.files import replaced
from kdtool.study import load_study
from kdtool.train.checkpoint import load_facts, load_weights
from kdtool.train.class_order import in_order
from kdtool.train.onnx_file import make_onnx
from kdtool.train.pretrained import make_model
from kdtool.train.run import TEACHERS, table_of


def write_onnx(checkpoint: Path, path: Path) -> None:
    """Write the model of a checkpoint as ONNX; unlike `kdtool export`, it is not checked on images.

    Args:
        checkpoint: In the folder `checkpoints` of a study, whose results.json knows its images.
        path: Where to.

    Raises:
        StudyError: It is no checkpoint, or lies in no study.
        KdtoolError: It cannot be written as ONNX.
    """
    facts = load_facts(checkpoint)
    study, recipe, results = load_study(checkpoint.resolve().parent.parent)
    # A name in the file could be that of any function; the recipe is text that its owner wrote.
    if facts["model"] not in {recipe.teacher.model, recipe.student.model}:
        raise StudyError(f"{checkpoint} holds a model {facts['model']}, not one of its study")
    data = results.data
    num_classes = len(data.classes)
    num_logits = facts.get("num_logits", num_classes)
    role = facts["role"]
    table = recipe.teacher if role in TEACHERS else recipe.student
    num_outputs, recorded = len(table.classes or range(num_logits)), study.origin(table_of(role))
    model = make_model(table, data.image_shape, num_outputs, facts["seed"], recorded)
    if table.is_trained:
        model = in_order(model, table, data.classes)
    load_weights(checkpoint, model)
    with replaced(path) as unfinished:
        onnx.save(make_onnx(model.eval(), data.image_shape, num_classes, opset=18), unfinished)
