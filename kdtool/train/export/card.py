"""A folder to publish: the files of a study with a model card, in the form of Hugging Face."""

import json
import shutil
from pathlib import Path

from kdtool.errors import ModelFileError, StudyError
from kdtool.files import new_folder, sha256_of
from kdtool.report.bom import bill_of_materials
from kdtool.report.card import FILE_NAMES
from kdtool.report.write import render_card
from kdtool.results.base import Role, flat
from kdtool.results.study import Results
from kdtool.train.export.kit import no_student
from kdtool.train.run import Run, Trained

WEIGHTS = "model.safetensors"


def check_no_card(study: Path) -> Path:
    """Return the folder of a study's card, which does not exist yet.

    Raises:
        StudyError: It exists; it may hold a licence, or text of its user.
    """
    folder = study / "card"
    if folder.exists():
        raise StudyError(
            f"{folder} exists and may hold changes of yours; move it away or delete it"
        )
    return folder


def warn_of_old_card(run: Run, results: Results) -> None:
    """Warn if the card of the study holds other files than the study has now."""
    folder = run.study.folder / "card"
    now = {file.sha256 for *_, file in results.files}
    files = (folder / "onnx").glob("*.onnx")
    if any(file.is_dir() or sha256_of(file) not in now for file in files):
        run.reporter.warn(
            f"{folder} holds older files; move it away, and `kdtool export {run.study.folder} "
            "--card` writes it again"
        )


def write_card(run: Run, results: Results, models: list[Trained]) -> None:
    """Write the folder `card` of the study.

    Args:
        run: The study.
        results: Of the study.
        models: Of the role that ships, one for each seed.

    Raises:
        StudyError: The study has no student, or the folder cannot be written or exists.
        ModelFileError: A file is not the one that was compared with PyTorch.
    """
    role = results.shipped
    if role is None:
        raise no_student(run.study.folder)
    folder = check_no_card(run.study.folder)
    model = results.models[role]
    (exported,) = [one for one in models if one.seed == model.exported_seed]
    texts = {
        "README.md": render_card(results, role),
        "config.json": _json(config(results, role)),
        "preprocessor_config.json": _json(preprocessing(results)),
        "bom.cdx.json": _json(bill_of_materials(results, role)),
    }
    try:
        with new_folder(folder) as new:
            (new / "onnx").mkdir()
            for precision, file in model.files.items():
                copy = new / FILE_NAMES[precision]
                shutil.copyfile(run.study.folder / file.path, copy)
                if sha256_of(copy) != file.sha256:
                    raise ModelFileError(
                        f"{file.path} was changed since it was checked; "
                        f"`kdtool export {run.study.folder}` writes it again"
                    )
            shutil.copyfile(exported.checkpoint, new / WEIGHTS)
            for name, text in texts.items():
                (new / name).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise StudyError(f"cannot write {folder}: {error.strerror or error}") from error
    run.reporter.say(f"{folder}: to publish; add the licence of the weights to its README.md")


def config(results: Results, role: Role) -> dict[str, object]:
    """Return config.json: the names of the classes by index, and the network."""
    num_channels, height, width = results.data.image_shape
    names = results.data.classes
    return {
        "architectures": [results.models[role].model],
        "problem_type": "single_label_classification",
        "num_labels": len(names),
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
        "num_channels": num_channels,
        "image_size": [height, width],
        "kdtool_version": results.environment.kdtool,
    }


def preprocessing(results: Results) -> dict[str, object]:
    """Return preprocessor_config.json: what is left to do before the ONNX files.

    The shorter side is resized and the centre cropped, as `kdtool predict` does it; resample 2 is
    Pillow's bilinear filter. Mean and standard deviation are part of the files.
    """
    num_channels, height, width = results.data.image_shape
    form = flat(results.recipe)["export.input"]
    return {
        "do_convert_rgb": num_channels == 3,
        "do_convert_grayscale": num_channels == 1,
        "do_resize": form != "resize",
        "size": {"shortest_edge": min(height, width)}
        if height == width
        else {"height": height, "width": width},
        "resample": 2,
        "do_center_crop": form != "resize",
        "crop_size": {"height": height, "width": width},
        "do_rescale": form == "tensor",
        "rescale_factor": 1 / 255,
        "do_normalize": False,
        "data_format": "channels_first" if form == "tensor" else "channels_last",
    }


def _json(value: dict[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
