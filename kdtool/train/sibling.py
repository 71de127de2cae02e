"""A model that stands in a study beside this one is taken over, and not trained again."""

from pathlib import Path

from kdtool.files import write_atomic
from kdtool.learning import TrainingResult
from kdtool.study import Study


def from_sibling(study: Study, checkpoint: Path, key: str) -> TrainingResult | None:
    """Copy the checkpoint of a model from a study beside `study`; None if none has it.

    The key covers the data, the recipe, the layers, the seed and kdtool's version. It knows nothing
    of PyTorch's version and of the modules that a network of the user's imports.
    """
    for record in sorted(study.folder.parent.glob(f"*/stages/{checkpoint.stem}.json")):
        sibling = Study(record.parent.parent)
        result = sibling.done(checkpoint.stem, key, TrainingResult)
        if result is not None and sibling.folder != study.folder:
            there = sibling.folder / checkpoint.relative_to(study.folder)
            write_atomic(checkpoint, there.read_bytes())
            return result.model_copy(update={"taken_from": sibling.folder.name})
    return None
