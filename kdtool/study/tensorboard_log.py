"""Writes a study for TensorBoard: STUDY/tensorboard/, a folder for each training run.

Needs the extra `tensorboard`, which has a writer of its own: neither PyTorch nor TensorFlow.
"""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from kdtool.files import write_atomic
from kdtool.study.folder import TENSORBOARD, Study
from kdtool.study.tracked import Curve, Tracked

# TensorBoard reads files with "tfevents" in their name. One name, so that a later log replaces an
# earlier one: with two files, TensorBoard would draw both.
NAME = "events.out.tfevents.0.kdtool"
VERSION = "brain.Event:2"  # of the format, in the first event of a file


def log_to_tensorboard(tracked: Tracked, folder: Path) -> str:
    """Write the log of a study; replaces that of earlier results.

    Args:
        tracked: What to log.
        folder: The study's.

    Returns:
        Where the log is, and how to see it.

    Raises:
        StudyError: The study is in use, or its folder cannot be written.
    """
    place = folder / TENSORBOARD
    files = {place / curve.name.replace("/", "-") / NAME: _curve(curve) for curve in tracked.curves}
    files[place / "study" / NAME] = _study(tracked)
    with Study(folder).locked():
        for path, events in files.items():
            write_atomic(path, _records(events))
        for path in place.glob(f"*/{NAME}"):
            if path not in files:  # of a seed that the study no longer has
                path.unlink()
    return f"logged to {place}; to see it: tensorboard --logdir {place}"


def _records(events: Iterator[Event]) -> bytes:
    stream = BytesIO()
    writer = RecordWriter(stream)
    writer.write(Event(file_version=VERSION).SerializeToString())
    for event in events:
        writer.write(event.SerializeToString())
    return stream.getvalue()


def _curve(curve: Curve) -> Iterator[Event]:
    for point in curve.points:
        for name, value in point.values.items():
            yield _scalar(name, value, point.epoch, point.seconds)


def _study(tracked: Tracked) -> Iterator[Event]:
    """Yield the recipe as hyperparameters, and the final figures."""
    yield Event(summary=hparams_pb(tracked.parameters, trial_id=tracked.name, start_time_secs=0))
    for name, value in tracked.figures.items():
        yield _scalar(name, value, 0, 0.0)


def _scalar(tag: str, value: float, step: int, seconds: float) -> Event:
    summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
    return Event(wall_time=seconds, step=step, summary=summary)
