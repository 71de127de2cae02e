"""A trained model as an ONNX file that takes raw pixels, compared with PyTorch before it ships."""

import contextlib
import copy
import io
import itertools
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kdtool.edge.session import open_session
from kdtool.errors import KdtoolError
from kdtool.results import Parity
from kdtool.train.models import ImageShape, as_input

PARITY_BATCH = 256
# Two correct float32 runtimes differ by about 1e-6 of the largest logit.
TOLERANCE = 1e-4


class Shipped(nn.Module):
    """The model as it ships: uint8 images `(B, H, W, C)` in, logits and probabilities out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and probabilities, both `(B, C)`."""
        logits = self.model(as_input(image.permute(0, 3, 1, 2)))
        return logits, logits.softmax(dim=1)


def make_onnx(model: nn.Module, image_shape: ImageShape, opset: int) -> onnx.ModelProto:
    """Return `model` as ONNX, with its preprocessing inside and nothing of this machine.

    Args:
        model: Left as it was.
        image_shape: C, H, W.
        opset: 18 or above.

    Raises:
        KdtoolError: The exporter cannot write the model, or not in that opset.
    """
    channels, height, width = image_shape
    shipped = Shipped(copy.deepcopy(model)).cpu().float().eval()
    example = torch.zeros(2, height, width, channels, dtype=torch.uint8)
    with _silence(), _explained():
        program = torch.onnx.export(
            shipped,
            (example,),
            dynamo=True,
            external_data=False,  # one file, however small or large
            verbose=False,
            opset_version=opset,
            input_names=["image"],
            output_names=["logits", "probabilities"],
            dynamic_shapes=({0: "batch"},),
        )
    assert program is not None
    exported = program.model_proto
    written = next(entry.version for entry in exported.opset_import if entry.domain == "")
    if written != opset:
        raise KdtoolError(
            f"got export.opset = {opset}, but PyTorch writes opset {written} instead; "
            "use a lower one, 18 is the lowest"
        )
    _strip(exported)
    onnx.checker.check_model(exported, full_check=True)
    return exported


def check_parity(
    path: Path, images: NDArray[np.uint8], logits: NDArray[np.float32]
) -> tuple[Parity, NDArray[np.float32]]:
    """Compare the file with PyTorch on every image.

    Args:
        path: The ONNX file.
        images: `(N, C, H, W)`.
        logits: `(N, C)`, what PyTorch gave.

    Returns:
        The comparison, and the file's own probabilities `(N, C)`.
    """
    session = open_session(path)
    pixels = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    logits_of_file, probabilities = [], []
    # Batches of 1, 2 and 5 first: a batch dimension that was frozen by mistake shows at once.
    bounds = [0, 1, 3, 8, *range(8 + PARITY_BATCH, len(images), PARITY_BATCH), len(images)]
    bounds = sorted({min(bound, len(images)) for bound in bounds})
    for start, end in itertools.pairwise(bounds):
        some_logits, some_probabilities = session.run(None, {"image": pixels[start:end]})
        logits_of_file.append(some_logits)
        probabilities.append(some_probabilities)
    given = np.concatenate(logits_of_file)
    max_abs_error = float(np.abs(given - logits).max())
    flipped = np.flatnonzero(given.argmax(axis=1) != logits.argmax(axis=1))
    parity = Parity(
        num_images=len(images),
        agreement=1 - len(flipped) / len(images),
        max_abs_error=max_abs_error,
        flipped=flipped.tolist(),
        passed=len(flipped) == 0
        and max_abs_error <= TOLERANCE * max(1.0, float(np.abs(logits).max())),
    )
    return parity, np.concatenate(probabilities)


def _strip(model: onnx.ModelProto) -> None:
    """Remove what tells of the exporting machine, and shapes that later tools find stale."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
    for named in (graph, *graph.node, *graph.input, *graph.output):
        named.doc_string = ""
    del graph.value_info[:]
    model.producer_name, model.producer_version, model.doc_string = "kdtool", "", ""
    graph.name = "kdtool"


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn what the exporter says into one line."""
    try:
        yield
    except torch.onnx.OnnxExporterError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        first = next((line for line in str(cause).splitlines() if line.strip()), "")
        raise KdtoolError(f"PyTorch cannot write the model as ONNX: {first}") from error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's notes about its own inner workings off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
