"""Whether runtimes that are timed give the answers of ONNX Runtime, for `kdtool profile`.

No test images are needed: golden images that a kit or target has, and random patterns. So it is a
weaker check than that of `kdtool export --for`, by the same rule.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdtool.edge.latency.driver import Worker
from kdtool.edge.latency.job import Job
from kdtool.edge.portable.picture import read_image
from kdtool.edge.targets.pairs import Pair, Trial
from kdtool.edge.targets.runners.common import as_input
from kdtool.edge.targets.verify import cause, compare
from kdtool.errors import KdtoolError, ModelFileError
from kdtool.files import scratch_folder
from kdtool.results.profile import Agreement
from kdtool.results.targets import TargetCheck

NUM_PATTERNS = 64
MOST_GOLDEN = 64
CELLS = (2, 4, 8, 4096)  # along a side of a pattern, at most one a pixel


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """Images that runtimes answer."""

    num_golden: int
    pixels: NDArray[np.uint8]  # `(N, H, W, C)`, golden images first


def try_pairs(
    worker: Worker,
    pairs: Sequence[Pair],
    jobs: Mapping[str, Sequence[Job]],
    references: Mapping[Path, Job],
) -> dict[str, Trial]:
    """Run files in other runtimes, in every setting, and compare their answers in the first.

    Args:
        worker: It runs one after the other.
        pairs: What will be timed; those of ONNX Runtime with the ONNX file are not tried.
        jobs: By name of the pair, in every setting.
        references: By ONNX file, its job in ONNX Runtime.

    Returns:
        By name of the pair.

    Raises:
        KdtoolError: ONNX Runtime cannot run a file.
    """
    images = {
        source: images_for(source, job.facts) for source, job in references.items() if job.facts
    }
    expected = {
        source: _answers(worker, references[source], given) for source, given in images.items()
    }
    trials = {}
    for pair in pairs:
        if pair.is_reference:
            continue
        given = images.get(pair.source) if pair.facts else None
        first, *others = jobs[pair.name]
        agreement = None
        try:
            found = _answers(worker, first, given)
            for job in others:
                _answers(worker, job, None)
        except KdtoolError as error:
            trials[pair.name] = Trial(failure=_reason(str(error), pair.path))
            continue
        if given and pair.facts:
            agreement = _agreement(found, expected[pair.source], pair.facts, given)
        trials[pair.name] = Trial(agreement=agreement)
    return trials


def images_for(source: Path, facts: Mapping[str, Any]) -> Images:
    """Return the images that the runtimes of a file answer.

    Golden images are in `golden` next to it, and in the kit and the targets of a study.

    Args:
        source: ONNX file.
        facts: What it takes.
    """
    shape = (facts["height"], facts["width"], facts["channels"])
    folder = source.parent
    places = [folder, folder / "kit", *sorted(folder.glob("targets/*"))]
    golden: dict[bytes, NDArray[np.uint8]] = {}
    for place in places:
        if (place / "golden" / "expected.json").is_file():
            for path in sorted(place.glob("golden/*.png")):
                pixels = _golden_image(path, shape)
                if pixels is not None:
                    golden[pixels.tobytes()] = pixels
    kept = list(golden.values())[:MOST_GOLDEN]
    pixels = np.concatenate([np.reshape(kept, (-1, *shape)).astype(np.uint8), patterns(*shape)])
    return Images(num_golden=len(kept), pixels=pixels)


def _golden_image(path: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8] | None:
    """Return an image of the model's size; None: it has another size, so is of another model."""
    try:
        pixels, (width, height) = read_image(path, list(shape))
    except ValueError as error:
        raise ModelFileError(f"{error}; export the folder again, or delete it") from error
    return pixels if (height, width) == shape[:2] else None


def patterns(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Return random images `(N, H, W, C)`, the same in each call: from few patches to noise.

    Noise alone looks alike to a network, which gives all of it one class.
    """
    generator = np.random.default_rng(0)
    found = []
    for index in range(NUM_PATTERNS):
        high, wide = (min(CELLS[index % len(CELLS)], side) for side in (height, width))
        cells = generator.integers(0, 256, (high, wide, channels), dtype=np.uint8)
        rows, columns = np.arange(height) * high // height, np.arange(width) * wide // width
        found.append(cells[rows][:, columns])
    return np.stack(found)


def _answers(worker: Worker, job: Job, given: Images | None) -> NDArray[np.float32] | None:
    """Load a model in a process of its own, run it, and return its probabilities `(N, K)`.

    Args:
        worker: That runs it.
        job: Of the model.
        given: What it answers; None: nothing, it only runs.

    Raises:
        KdtoolError: It cannot be run, or its process ended.
    """
    worker.open(job)
    if given is None or job.facts is None:
        worker.ask("close")
        return None
    with scratch_folder() as scratch:
        images, found = scratch / "images.npy", scratch / "probabilities.npy"
        np.save(images, as_input(given.pixels, job.facts))
        worker.ask("answers", str(images), str(found))
        worker.ask("close")
        return np.asarray(np.load(found), np.float32)


def _agreement(
    found: NDArray[np.float32] | None,
    expected: NDArray[np.float32] | None,
    facts: Mapping[str, Any],
    given: Images,
) -> Agreement:
    """Compare the answers of a runtime with those of ONNX Runtime, by the rule of a target."""
    assert found is not None
    assert expected is not None  # both are classifiers
    check = compare(
        found,
        expected,
        facts["precision"],
        positive=facts["positive"],
        threshold=facts["threshold"],
        sha256="",
    )
    return Agreement(
        num_golden=given.num_golden,
        num_patterns=len(given.pixels) - given.num_golden,
        num_flipped=None if check.agreement is None else len(check.flipped),
        num_ties=len(check.ties),
        max_difference=check.max_difference,
        problem=_problem(check),
    )


def _problem(check: TargetCheck) -> str | None:
    """Return how the answers differ; the images themselves have no names here."""
    if not check.flipped:
        return check.refused
    return f"{len(check.flipped)} of {check.num_images} images get another class"


def _reason(error: str, path: Path) -> str:
    """Return why a runtime cannot run a file, without the name of the file."""
    text = cause(error)
    _, found, rest = text.partition(f"{path}: ")
    return rest if found else text.replace(str(path), "it")
