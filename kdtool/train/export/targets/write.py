"""Write the targets of a study, each from the file that ships, else from fp32.

A target is converted from the ONNX file, or, with a case in `writer_of`, from the PyTorch module.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kdtool.edge.kit.build import Answered
from kdtool.edge.portable.classifier import decision
from kdtool.edge.session import open_session
from kdtool.edge.targets.form import write_form
from kdtool.edge.targets.target import TARGET_NAMES, WEB, Folders, Target, target_of
from kdtool.edge.targets.write import Source, TargetFacts, WriteModel, write_target
from kdtool.report.decision import precision_to_ship
from kdtool.results.base import Precision, Role
from kdtool.results.study import Results
from kdtool.results.targets import TargetResult
from kdtool.train.data.large.stored import channels_last
from kdtool.train.evaluation.evaluate import split_labels
from kdtool.train.export.accuracy import probabilities_on_test
from kdtool.train.export.kit import no_student
from kdtool.train.export.onnx_file import in_file_form
from kdtool.train.export.targets.executorch import write_executorch
from kdtool.train.export.targets.litert import CONVERTER, write_litert
from kdtool.train.export.targets.ncnn import write_ncnn
from kdtool.train.export.targets.program import program_of
from kdtool.train.export.targets.venv import make
from kdtool.train.export.targets.web import FOLDER, write_page
from kdtool.train.models.networks import ImageShape
from kdtool.train.run import Run, Trained, load_model


@dataclass(frozen=True, kw_only=True, slots=True)
class Shipped:
    """The student that ships: its files in order of preference, and the test images."""

    sources: Sequence[Source]
    facts: TargetFacts
    images: NDArray[np.uint8]  # `(N, H, W, C)`
    labels: NDArray[np.int64]
    network: nn.Module  # float32 `(N, C, H, W)` in [0, 1] -> logits and probabilities, as the file

    @property
    def answered(self) -> Answered:
        """The test images with the answers of the fp32 file."""
        (fp32,) = [one for one in self.sources if one.precision == "fp32"]
        return Answered(images=self.images, labels=self.labels, probabilities=fp32.probabilities)


def write_targets(
    run: Run, results: Results, models: Mapping[Role, Sequence[Trained]], folders: Folders
) -> Results:
    """Write `STUDY/targets/NAME` for each name, where its runtime answers as ONNX Runtime does.

    Args:
        run: The study.
        results: Of the study.
        models: Of the study, one for each seed of a role.
        folders: With the names of targets.

    Returns:
        The results with these targets, and earlier ones of other names.

    Raises:
        StudyError: The study has no student, or a folder cannot be written.
        KdtoolError: The environment of a converter cannot be made.
    """
    if "litert" in folders.targets:
        make(CONVERTER, run.reporter.say)
    shipped = shipped_of(run, results, models)
    made = {one.name: one for one in results.targets}
    for name in folders.targets:
        run.reporter.say(f"{name}: writing it, and running it on all test images")
        if name == WEB:
            made[name] = write_page(run, results, shipped.answered, folders.web_package)
        else:
            made[name] = write_one(run, target_of(name), shipped)
        report_one(run, made[name])
    ordered = [made[name] for name in TARGET_NAMES if name in made]
    return results.model_copy(update={"targets": ordered})


def write_one(run: Run, target: Target, shipped: Shipped) -> TargetResult:
    """Write one target."""
    return write_target(
        run.study.folder / FOLDER / target.name,
        target,
        shipped.sources,
        shipped.facts,
        shipped.images,
        shipped.labels,
        writer_of(target, shipped.network, run.image_shape),
    )


def writer_of(target: Target, network: nn.Module, image_shape: ImageShape) -> WriteModel:
    """Return what writes the model of a target.

    Args:
        target: The runtime.
        network: Of `Shipped`; of int8, ExecuTorch gets the file.
        image_shape: C, H, W.
    """
    match target.name:
        case "ncnn":
            return lambda _, path: write_ncnn(network, image_shape, path)
        case "executorch":

            def write(source: Source, path: Path) -> None:
                if source.precision == "int8":
                    program = program_of(source.path, image_shape)
                    write_executorch(program, program.example(), path)
                else:
                    write_executorch(network, torch.zeros(1, *image_shape), path)

            return write
        case "litert":
            return lambda _, path: write_litert(network, image_shape, path)
        case _:
            return lambda source, path: write_form(target, source.path, path)


def shipped_of(run: Run, results: Results, models: Mapping[Role, Sequence[Trained]]) -> Shipped:
    """Return what targets are written from.

    Raises:
        StudyError: The study has no student, or no room for a copy of test images in a file.
    """
    role = results.shipped
    if role is None or not results.models[role].files:
        raise no_student(run.study.folder)
    model = results.models[role]
    order: list[Precision] = list(dict.fromkeys([precision_to_ship(results, role), "fp32"]))
    images = run.splits.test.pixels
    paths = {precision: run.study.folder / model.files[precision].path for precision in order}
    sources = [
        Source(
            precision=precision,
            path=paths[precision],
            sha256=model.files[precision].sha256,
            probabilities=probabilities_on_test(run, paths[precision]),
        )
        for precision in order
    ]
    (exported,) = [one for one in models[role] if one.seed == model.exported_seed]
    chosen = decision(open_session(paths["fp32"]))
    positive, threshold = chosen or (None, None)
    facts = TargetFacts(
        study=results.name,
        role=role,
        classes=results.data.classes,
        positive=positive,
        threshold=threshold,
        num_golden=run.recipe.export.golden_images,
        seconds=run.recipe.profile.seconds,
    )
    return Shipped(
        sources=sources,
        facts=facts,
        images=channels_last(images, run.study.folder),
        labels=split_labels(run.splits.test),
        network=in_file_form(
            load_model(run, exported),
            len(results.data.classes),
            "tensor",
            model.files["fp32"].temperature,
        ),
    )


def report_one(run: Run, result: TargetResult) -> None:
    """Report what became of a target; of a refusal, why."""
    for check in result.checks:
        if check.refused:
            run.reporter.warn(f"{result.name}, {check.precision}: {check.refused}")
    if result.path is not None:
        check = result.last
        run.reporter.say(
            f"{result.path}: {check.precision}, same class as ONNX Runtime on all "
            f"{check.num_images:,} test images, probabilities within {check.max_difference:.1g}"
        )


def warn_of_old_targets(run: Run, results: Results) -> None:
    """Warn of folders whose files are no longer those of the study."""
    parent: Path = run.study.folder / FOLDER
    valid = {one.name for one in results.targets if one.path is not None}
    for folder in sorted(parent.glob("*")) if parent.is_dir() else []:
        if folder.is_dir() and folder.name in TARGET_NAMES and folder.name not in valid:
            run.reporter.warn(
                f"{folder} holds an older model; `kdtool export {run.study.folder} --for "
                f"{folder.name}` writes it again"
            )
