"""The kit of a study: its recommended file, with everything that a device needs to run it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdtool.edge.kit.build import MODEL, Answered, KitFacts, build_kit
from kdtool.edge.portable.classifier import decide
from kdtool.edge.session import open_session
from kdtool.errors import StudyError
from kdtool.files import sha256_of
from kdtool.report.decision import precision_to_ship
from kdtool.report.sections.cost.files import ship_sentence
from kdtool.results.base import Precision, Role
from kdtool.results.study import Results
from kdtool.train.data.large.stored import ChannelsLast, some_of
from kdtool.train.evaluation.evaluate import split_labels
from kdtool.train.evaluation.operating_point import rates
from kdtool.train.export.accuracy import probabilities_on_test
from kdtool.train.export.onnx_file import answers, as_given
from kdtool.train.run import Run

MOST_ROUNDED = 2000  # test images that an int8 file answers a second time, rounded otherwise


def warn_of_old_kit(run: Run, results: Results) -> None:
    """Warn if the kit of the study holds another file than the one that a kit would hold now."""
    model, role = run.study.folder / "kit" / MODEL, results.shipped
    files = results.models[role].files if role else {}
    shipped = files[precision_to_ship(results, role)].sha256 if role and files else None
    if model.exists() and (model.is_dir() or sha256_of(model) != shipped):
        run.reporter.warn(
            f"{model.parent} holds an older model; `kdtool export {run.study.folder} --kit` "
            "writes the kit again"
        )


def no_student(folder: Path) -> StudyError:
    """Return the error for a study without files to ship."""
    return StudyError(f"{folder} holds no student to ship; `kdtool distill RECIPE` trains it")


def kit_facts(
    run: Run,
    results: Results,
    role: Role,
    precision: Precision,
    probabilities: NDArray[np.float32],
) -> KitFacts:
    """Return what a kit says about a file.

    Args:
        run: The study.
        results: Of the study.
        role: Of the file.
        precision: Of the file.
        probabilities: `(N, K)`, of the file on the test images.
    """
    file, positive = results.models[role].files[precision], run.splits.positive
    seen = None
    if positive is not None:  # with two classes: rates at the threshold of the file
        labels, model = split_labels(run.splits.test), run.study.folder / file.path
        called = decide(open_session(model), probabilities)
        seen = rates(called == positive, labels == positive)
    return KitFacts(
        study=results.name,
        role=role,
        precision=precision,
        file=file,
        reason=ship_sentence(results) or "",
        data=f"{results.data.num_test:,} test images of {results.data.description}",
        rates=seen,
        environment=results.environment,
        num_golden=run.recipe.export.golden_images,
    )


def write_kit(run: Run, results: Results, wheel: Path | None = None) -> None:
    """Write the folder `kit` of the study, after it ran on its own.

    Args:
        run: The study.
        results: Of the study.
        wheel: Of kdtool, to be copied into the kit.

    Raises:
        StudyError: The study has no student, or the folder or the wheel cannot be used.
        GateError: The kit gives other outputs than the file; an older kit stays unchanged.
    """
    role = results.shipped
    if role is None:
        raise no_student(run.study.folder)
    precision = precision_to_ship(results, role)
    file = results.models[role].files[precision]
    model, folder = run.study.folder / file.path, run.study.folder / "kit"
    images = run.splits.test.pixels
    labels = split_labels(run.splits.test)
    form = run.recipe.export.input
    probabilities = probabilities_on_test(run, model)
    chosen_from, rounded = np.arange(len(images)), None
    if precision == "int8":
        chosen_from = np.unique(np.linspace(0, len(images) - 1, MOST_ROUNDED).round().astype(int))
        images = some_of(images, chosen_from)
        _, rounded = answers(model, as_given(images, form), optimize=False)
    output = build_kit(
        folder,
        model,
        kit_facts(run, results, role, precision, probabilities),
        Answered(
            images=ChannelsLast(images),
            labels=labels[chosen_from],
            probabilities=probabilities[chosen_from],
            rounded=rounded,
        ),
        wheel,
    )
    run.reporter.say(f"{folder}: {output}")
