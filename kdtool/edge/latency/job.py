"""A model to time, the input it gets, and the timing loops; used by worker and driver."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import default_rng  # here: otherwise the first job would import it
from numpy.typing import NDArray

from kdtool.edge.shapes import Dims, GivenShapes, input_shapes
from kdtool.errors import ModelFileError

if TYPE_CHECKING:  # records need pydantic, which doubles the worker's imports
    from kdtool.results.profile import Runtime

ANSWER = "kdtool: "  # prefix of every line that a worker sends to its driver
PROBABILITIES = "probabilities"  # output of a classifier
MOST_VALUES = 2**36  # of an input: half a TiB of noise
FORKS = sys.platform == "linux"  # elsewhere libraries do not survive a fork
FLOATS = (np.float64, np.float32, np.float16)
INTEGERS = (
    np.int8, np.int16, np.int32, np.int64, np.uint16, np.uint32, np.uint64, np.bool_,
)  # fmt: skip

Feed = dict[str, NDArray[Any]]
Declared = Mapping[str, tuple[Dims | None, object]]  # input -> dimensions, type


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One model with one setting of threads, batch size, provider and runtime."""

    path: str
    threads: int = 1
    batch_size: int = 1
    provider: str = "cpu"
    runtime: "Runtime" = "onnxruntime"
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)  # see `input_shapes`
    # Of a classifier, as in the `model.json` of a target; None: any other model
    facts: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModel:
    """A loaded model with an input."""

    run: Callable[[], object]
    load_ns: int
    # A batch of images as a classifier takes them -> probabilities `(B, K)`; None: no classifier
    answer: Callable[[NDArray[Any]], NDArray[Any]] | None
    provider: str  # key of `PROVIDERS` that is used
    provider_share: float | None = 1.0  # of the nodes, in [0, 1]; None: unknown
    arithmetic: str | None = None  # number format that the runtime was set to


def random_input(declared: Declared, batch_size: int, shapes: GivenShapes) -> Feed:
    """Return a batch of noise for every input of a model, the same in each call.

    Integers other than pixels (uint8) are 0 or 1, which every table has as a position.

    Raises:
        ModelFileError: An input holds no numbers, or its size is unknown.
    """
    generator = default_rng(0)
    sizes = input_shapes({name: dims for name, (dims, _) in declared.items()}, batch_size, shapes)
    feed: Feed = {}
    for name, (_, dtype) in declared.items():
        known = [one for one in (np.uint8, *FLOATS, *INTEGERS) if dtype == one]
        if not known:
            raise ModelFileError(
                f"input {name!r} has the type {dtype}; kdtool times models with inputs of "
                "integers, bool, float64, float32 or float16"
            )
        if (values := math.prod(sizes[name])) > MOST_VALUES:
            raise ModelFileError(
                f"input {name!r} would have {values:,} values, more than fit into memory; give "
                "another --shape or a smaller --batch, or export the model again"
            )
        noise = generator.random(sizes[name])  # from 0 up to, but without, 1
        if known[0] not in FLOATS:
            noise = np.floor(noise * (256 if known[0] is np.uint8 else 2))
        feed[name] = np.asarray(noise, known[0])
    return feed


def answers(model: LoadedModel, images: NDArray[Any], batch_size: int) -> NDArray[np.float32]:
    """Return the probabilities of a classifier, `(N, K)`, computed in the batches that are timed.

    Args:
        model: A classifier.
        images: `(N, ...)`, as it takes them.
        batch_size: Of the model; the last batch is filled up with the first images.
    """
    assert model.answer is not None
    found = []
    for start in range(0, len(images), batch_size):
        batch = np.arange(start, start + batch_size) % len(images)
        found.append(np.array(model.answer(images[batch]), np.float32))  # a runtime may reuse it
    return np.concatenate(found)[: len(images)]


def warm_up(run: Callable[[], object], runs: int, seconds: float) -> None:
    """Run a model at least `runs` times and for at least `seconds`, without timing."""
    end = time.perf_counter() + seconds
    num_runs = 0
    while num_runs < runs or time.perf_counter() < end:
        run()
        num_runs += 1


def time_block(run: Callable[[], object], seconds: float) -> list[int]:
    """Run a model for `seconds`, at least once; return the time of each run in ns."""
    runs_ns: list[int] = []
    now = time.perf_counter_ns()
    end = now + int(seconds * 1e9)
    while now < end or not runs_ns:
        started = time.perf_counter_ns()
        run()
        now = time.perf_counter_ns()
        runs_ns.append(now - started)
    return runs_ns
