"""Whether the folder of a target answers as ONNX Runtime does, on every test image."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdtool.edge.kit.check import run_isolated
from kdtool.edge.kit.readme import ROUNDING, TOLERANCES
from kdtool.edge.targets.runners.common import decide
from kdtool.edge.targets.target import Target
from kdtool.errors import GateError
from kdtool.files import scratch_folder
from kdtool.results.base import Precision
from kdtool.results.targets import TargetCheck

MAX_LISTED = 10  # images, in a message
MAX_ERROR = 400  # characters of a runtime's error


def answers_of(
    folder: Path, target: Target, images: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], str | None]:
    """Run the runner of a folder on images and on its golden images.

    It runs as it is shipped, in a process that finds only the runtime with what it needs itself,
    numpy and Pillow. A target in an environment of its own would be run by its Python here.

    Args:
        folder: Of the target.
        target: Its runtime.
        images: uint8 `(N, H, W, C)`.

    Returns:
        The probabilities `(N, K)` that it writes, and why the check of the golden images failed.

    Raises:
        GateError: It wrote none.
    """
    with scratch_folder() as scratch:
        given, found = scratch / "images.npy", scratch / "probabilities.npy"
        np.save(given, images)
        arguments = ["--npy", str(given), "--out", str(found), "--check"]
        modules = ("numpy", "PIL", target.module, *target.also)
        done = run_isolated(folder.resolve() / "run.py", arguments, modules)
        if not found.is_file():
            ending = f"it ended with status {done.returncode}"
            if done.returncode < 0:
                ending = f"it was ended by signal {-done.returncode}"
            raise GateError(f"it cannot run the file: {cause(done.stderr) or ending}")
        output = " ".join(done.stdout.split()) or cause(done.stderr)
        failure = f"its check fails: {output}" if done.returncode != 0 else None
        return np.asarray(np.load(found), np.float32), failure


def cause(stderr: str) -> str:
    """Return what an error says, without the places in the source that a traceback lists."""
    kept: list[str] = []
    in_traceback = False
    for line in stderr.splitlines():
        in_traceback = line.startswith("Traceback") or (in_traceback and line.startswith(" "))
        if line.strip() and not in_traceback:
            kept.append(" ".join(line.split()))
    text = " ".join(kept)
    return (
        text
        if len(text) <= MAX_ERROR
        else f"{text[: MAX_ERROR // 2]} ... {text[-MAX_ERROR // 2 :]}"
    )


def compare(
    given: NDArray[np.float32],
    expected: NDArray[np.float32],
    precision: Precision,
    *,
    positive: int | None,
    threshold: float | None,
    sha256: str,
) -> TargetCheck:
    """Compare the answers of a runtime with those of ONNX Runtime.

    An image that gets another class is a tie if ONNX Runtime's own margin is within the largest
    difference found and within the tolerance: two correct runtimes round it either way.

    Args:
        given: `(N, K)` probabilities of the runtime.
        expected: `(N, K)` of ONNX Runtime, with the study's file.
        precision: Of the file; a probability may differ by `TOLERANCES`, of an int8 file by
            `ROUNDING`.
        positive: Index of the positive class; None: the most probable class is called.
        threshold: Its least probability.
        sha256: Of the study's file.
    """
    tolerance, _ = TOLERANCES[precision]
    if given.shape != expected.shape:
        shapes = " and ".join("x".join(map(str, one.shape)) for one in (given, expected))
        return failed(precision, sha256, len(expected), f"its answers have another shape: {shapes}")
    facts = {"positive": positive, "threshold": threshold}
    finite = np.isfinite(given).all(axis=1)
    called = np.where(finite, decide(np.nan_to_num(given), facts), -1)
    reference = decide(expected, facts)
    difference = np.abs(given.astype(np.float64) - expected).max()
    images = np.arange(len(expected))
    if positive is None or threshold is None:
        margin = expected[images, reference].astype(np.float64) - expected[images, called]
    else:
        margin = np.abs(expected[:, positive].astype(np.float64) - threshold)
    differs = called != reference
    is_tie = differs & finite & (margin <= min(difference, tolerance))
    flipped = np.flatnonzero(differs & ~is_tie).tolist()
    largest = float(difference) if np.isfinite(difference) else None
    return TargetCheck(
        precision=precision,
        sha256=sha256,
        num_images=len(expected),
        agreement=1 - len(flipped) / len(expected),
        flipped=flipped,
        ties=np.flatnonzero(is_tie).tolist(),
        max_difference=largest,
        tolerance=tolerance,
        refused=_refusal(
            flipped, len(expected), largest, ROUNDING if precision == "int8" else tolerance
        ),
    )


def failed(precision: Precision, sha256: str, num_images: int, reason: str) -> TargetCheck:
    """Return the check of a file that gave no answers."""
    return TargetCheck(
        precision=precision,
        sha256=sha256,
        num_images=num_images,
        agreement=None,
        flipped=[],
        ties=[],
        max_difference=None,
        tolerance=TOLERANCES[precision][0],
        refused=reason,
    )


def _refusal(
    flipped: list[int], num_images: int, largest: float | None, allowed: float
) -> str | None:
    """Return why a runtime's answers are refused; None: they agree."""
    if largest is None:
        return "some of its probabilities are not finite"
    differ = f"a probability differs by up to {largest:.2g}, allowed is {allowed:g}"
    if flipped:
        few = ", ".join(map(str, flipped[:MAX_LISTED]))
        few += ", ..." if len(flipped) > MAX_LISTED else ""
        return (
            f"{len(flipped):,} of {num_images:,} test images get another class than in ONNX "
            f"Runtime (indices {few}), and {differ}"
        )
    return differ if largest > allowed else None
