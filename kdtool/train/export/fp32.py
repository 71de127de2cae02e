"""The fp32 ONNX file of a model, which gets its name once it was compared with PyTorch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

from kdtool import __version__
from kdtool.edge.count.graph import count_model
from kdtool.edge.metadata import image_properties, model_api_properties, write_metadata
from kdtool.errors import GateError, StudyError
from kdtool.files import replaced, scratch_folder, sha256_of
from kdtool.results.base import Record, Role
from kdtool.results.evidence import OperatingPoint
from kdtool.results.study import FileResult, Parity
from kdtool.study.folder import load_study
from kdtool.study.keys import key_of
from kdtool.train.evaluation.evaluate import Evaluated, split_labels
from kdtool.train.export.accuracy import answers_on_test, decision, file_temperature
from kdtool.train.export.onnx_file import called, compare, given_shape, make_onnx
from kdtool.train.models.checkpoint import load_facts, load_weights
from kdtool.train.models.create import make_model
from kdtool.train.models.trained_teacher import in_order
from kdtool.train.run import TEACHERS, Run, Trained, load_model, table_of


def export(run: Run, evaluated: Evaluated) -> FileResult:
    """Write `ROLE.onnx` if it passes the comparison with PyTorch on every test image.

    Raises:
        GateError: It did not pass; an earlier file of that name is left unchanged.
        RecipeError: `export.operating_point` is for two classes, but the data has more.
    """
    trained, table = evaluated.trained, run.recipe.export
    temperature, point = file_temperature(run, evaluated), decision(run, evaluated)
    path, classes = run.study.folder / f"{trained.role}.onnx", run.splits.classes

    def make() -> tuple[FileResult, list[Path]]:
        model = make_onnx(
            load_model(run, trained),
            run.image_shape,
            len(classes),
            table.opset,
            table.input,
            temperature,
        )
        describe(model, run, trained, temperature, point)
        labels = split_labels(run.splits.test)
        with replaced(path) as unfinished:
            onnx.save(model, unfinished)
            logits, probabilities = answers_on_test(run, unfinished, path.stem)
            parity = compare(logits, evaluated.test_logits / temperature)
            if not parity.passed:
                raise GateError(f"{path} is not written: {failure(parity)}")
            result = FileResult(
                path=path.name,
                sha256=sha256_of(unfinished),
                size_bytes=unfinished.stat().st_size,
                opset=table.opset,
                accuracy=float((called(probabilities, classes, point) == labels).mean()),
                parity=parity,
                temperature=temperature,
            )
        run.reporter.say(
            f"{path.name}: same class as PyTorch on all {parity.num_images:,} test images"
            f"{tie_note(parity)}, logits within {parity.max_abs_error:.1g}"
        )
        return result, [path]

    made_from = [trained.key, table.opset, table.input, temperature, classes]
    key = key_of("export", *made_from, decision_of(point))
    return run.study.stage(f"export-{trained.role}", key, FileResult, make)


def failure(parity: Parity) -> str:
    """Return why a file did not pass the comparison with PyTorch, in words with figures."""
    if parity.max_abs_error is None:
        return "some of its logits are not finite, those of PyTorch are"
    text = f"its logits differ from PyTorch's by up to {parity.max_abs_error:.2g}"
    if parity.flipped:
        text += (
            f", and {len(parity.flipped):,} of {parity.num_images:,} test images get another class "
            f"(first indices: {', '.join(map(str, parity.flipped[:10]))})"
        )
    return text


def tie_note(parity: Parity) -> str:
    """Return how many images are ties between two classes, in brackets; empty if none is."""
    if not parity.ties:
        return ""
    images = "1 is a tie" if len(parity.ties) == 1 else f"{len(parity.ties):,} are ties"
    return f" ({images} between two classes within rounding)"


class Exportable(Record):
    """A model that can be written as ONNX."""

    ir_version: int
    opset: int


def check_exportable(run: Run, role: Role) -> None:
    """Write the untrained model of a role as ONNX, to fail before training and not after it.

    Raises:
        KdtoolError: The model cannot be written as ONNX, or not in the opset of the recipe.
    """
    if run.table(role).is_onnx:
        return
    name, table = run.table(role).model, run.recipe.export
    num_classes = len(run.splits.classes)
    model = run.network(role)

    def make() -> tuple[Exportable, list[Path]]:
        written = make_onnx(model, run.image_shape, num_classes, table.opset, table.input)
        run.reporter.say(f"{role}: {name} can be written as ONNX, opset {table.opset}")
        return Exportable(ir_version=written.ir_version, opset=table.opset), []

    key = key_of("exportable", run.identity(role), run.image_shape, table.opset, table.input)
    run.study.stage(f"exportable-{role}", key, Exportable, make)


def decision_of(point: OperatingPoint | None) -> dict[str, object]:
    """Return how a file decides its class, for its metadata; empty: the most probable class."""
    return point.model_dump(include={"rule", "positive", "threshold"}) if point else {}


def describe(
    model: onnx.ModelProto,
    run: Run,
    trained: Trained,
    temperature: float,
    point: OperatingPoint | None,
) -> None:
    """Write the metadata of a file: under `kdtool.` keys, and ONNX's own keys for images."""
    form = run.recipe.export.input
    channels, height, width = run.image_shape
    cost = count_model(model, shapes={"image": given_shape(run.image_shape, form)})
    values: dict[str, object] = {
        "schema": 1,
        "classes": list(run.splits.classes),
        "preprocess": {
            "input": form,
            "height": height,
            "width": width,
            "channels": channels,
            "scale": "divide by 255" if form == "tensor" else "inside the file",
        },
        "counts": {
            "num_params": cost.num_params,
            "num_macs": cost.num_macs,
            "num_flops": 2 * cost.num_macs,
            "params_at_least": cost.params_at_least,
            "macs_at_least": cost.macs_at_least,
        },
        "calibration": {"temperature": temperature},  # 1: not calibrated
        **({"decision": decision_of(point)} if point else {}),
        "provenance": {
            "kdtool": __version__,
            "model": run.table(trained.role).model,
            "role": trained.role,
            "seed": trained.seed,
            "data": run.fingerprint,
            "training": trained.key,
        },
    }
    standard = {} if form == "tensor" else image_properties(channels)
    if form == "pixels" and channels == 3:  # the Model API takes no gray images
        standard |= model_api_properties(run.splits.classes)
    write_metadata(model, values, standard)


@contextmanager
def checkpoint_as_onnx(checkpoint: Path) -> Iterator[Path]:
    """Yield a temporary ONNX file of a checkpoint; unlike an export, it is not checked on images.

    Args:
        checkpoint: In the folder `checkpoints` of a study with a results.json.

    Raises:
        StudyError: It is not a checkpoint, or not in a study.
        KdtoolError: The model cannot be written as ONNX.
    """
    facts = load_facts(checkpoint)
    study, recipe, results = load_study(checkpoint.resolve().parent.parent)
    # A name in the file could name any function, so only models that the recipe names are built.
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
    with scratch_folder() as folder:
        path = folder / f"{checkpoint.stem}.onnx"
        onnx.save(make_onnx(model.eval(), data.image_shape, num_classes, opset=18), path)
        yield path
