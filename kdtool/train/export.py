"""The ONNX file of a model of the study, under its final name only if it is the model."""

from pathlib import Path

import onnx

from kdtool import __version__
from kdtool.edge.metadata import write_metadata
from kdtool.errors import GateError
from kdtool.files import replaced, sha256_of
from kdtool.results import Exportable, FileResult, Role
from kdtool.study import key_of
from kdtool.train.evaluate import Evaluated, split_labels
from kdtool.train.models import build_model, describe_model
from kdtool.train.onnx_file import check_parity, make_onnx
from kdtool.train.run import Run, load_model


def export(run: Run, evaluated: Evaluated) -> FileResult:
    """Write `ROLE.onnx`, once it gave the class that PyTorch gave on every test image.

    Raises:
        GateError: It gave another class on some; a file of that name from before stays as it was.
    """
    trained, table = evaluated.trained, run.recipe.export
    path = run.study.folder / f"{trained.role}.onnx"

    def make() -> tuple[FileResult, list[Path]]:
        model = make_onnx(load_model(run, trained), run.image_shape, table.opset)
        write_metadata(model, description(run, evaluated))
        images, labels = run.splits.test.images.cpu().numpy(), split_labels(run.splits.test)
        with replaced(path) as unfinished:
            onnx.save(model, unfinished)
            parity, probabilities = check_parity(unfinished, images, evaluated.test_logits)
            if not parity.passed:
                raise GateError(
                    f"{path} is not written: its logits differ from PyTorch's by up to "
                    f"{parity.max_abs_error:.2g}, and {len(parity.flipped)} of "
                    f"{parity.num_images} test images get another class "
                    f"(the first: {parity.flipped[:10]})"
                )
            result = FileResult(
                path=path.name,
                sha256=sha256_of(unfinished),
                size_bytes=unfinished.stat().st_size,
                opset=table.opset,
                accuracy=float((probabilities.argmax(axis=1) == labels).mean()),
                parity=parity,
            )
        run.terminal.say(
            f"{path.name}: the class that PyTorch gives on all {parity.num_images:,} test images, "
            f"logits within {parity.max_abs_error:.1g}"
        )
        return result, [path]

    key = key_of("export", trained.key, table, run.splits.classes)
    return run.study.stage(f"export-{trained.role}", key, FileResult, make)


def check_exportable(run: Run, role: Role) -> None:
    """Write the untrained model of a role as ONNX: what fails then would fail after training.

    Raises:
        KdtoolError: It cannot be written, or not in the recipe's opset.
    """
    name, opset = run.table(role).model, run.recipe.export.opset
    model = build_model(name, run.image_shape, len(run.splits.classes), seed=0)

    def make() -> tuple[Exportable, list[Path]]:
        written = make_onnx(model.eval(), run.image_shape, opset)
        run.terminal.say(f"{role}: {name} can be written as ONNX, opset {opset}")
        return Exportable(ir_version=written.ir_version, opset=opset), []

    key = key_of("exportable", describe_model(name, model), run.image_shape, opset)
    run.study.stage(f"exportable-{role}", key, Exportable, make)


def description(run: Run, evaluated: Evaluated) -> dict[str, object]:
    """Return what the file tells of itself, under `kdtool.` keys of its metadata."""
    trained = evaluated.trained
    return {
        "schema": 1,
        "classes": list(run.splits.classes),
        "preprocess": {"input": "uint8 (N, H, W, C)", "scale": "1/255, inside the file"},
        "provenance": {
            "kdtool": __version__,
            "model": run.table(trained.role).model,
            "role": trained.role,
            "seed": trained.seed,
            "data": run.fingerprint,
            "training": trained.key,
        },
    }
