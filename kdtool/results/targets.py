"""Records of targets: runtimes that got a file of their own, and those that were refused one."""

from pydantic import Field

from kdtool.results.base import Interval, Precision, Record


class TargetCheck(Record):
    """One file of the study in one runtime, compared with ONNX Runtime on every test image."""

    precision: Precision  # of the file
    sha256: str  # of the study's file
    num_images: int  # test images
    agreement: float | None  # share of the images that are not flipped; None: it did not run
    flipped: list[int]  # test images that get another class than in ONNX Runtime, ties excluded
    # Test images with another class although ONNX Runtime's own margin is within
    # `max_difference` and `tolerance`
    ties: list[int] = Field(default=[])
    max_difference: float | None  # of a probability; None: it did not run, or some are not finite
    # What a probability differs by at most between correct machines; int8 files that add branches
    # may differ by more
    tolerance: float
    refused: str | None  # why this file is not written; None: it is


class TargetResult(Record):
    """What became of one target."""

    name: str  # in `--for`
    runtime: str  # package that was run
    version: str  # of that package
    checks: list[TargetCheck]  # in the order tried; the last one passed, or none did
    path: str | None  # folder, relative to the study; None: refused
    size_bytes: int | None  # of the model's file
    # Time of its file in its runtime / time of the study's file in ONNX Runtime, measured in turn,
    # one image at a time in one thread; None: refused
    time_ratio: float | None
    time_ratio_ci95: Interval | None  # of `time_ratio`
    noise: str | None = None  # why the times should not be trusted; None: no sign

    @property
    def last(self) -> TargetCheck:
        """The check that decided."""
        return self.checks[-1]


def valid_targets(old: list[TargetResult], hashes: set[str]) -> list[TargetResult]:
    """Return the targets whose files are unchanged.

    Args:
        old: Of earlier results.
        hashes: SHA-256 of the study's files.
    """
    return [one for one in old if all(check.sha256 in hashes for check in one.checks)]
