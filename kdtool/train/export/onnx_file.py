"""A trained model as an ONNX file that takes raw pixels, and its comparison with PyTorch."""

import contextlib
import copy
import functools
import io
import itertools
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import overload
from unittest import mock

import numpy as np
import onnx
import onnx.parser
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor, nn

from kdtool.edge.common_form import leave_out_defaults, write_weights_as_multiplied
from kdtool.edge.converted import FRONT_END
from kdtool.edge.model_file import model_opset
from kdtool.edge.rewrite import pool_globally
from kdtool.edge.session import newest_opset, open_session
from kdtool.errors import KdtoolError, ModelFileError
from kdtool.files import scratch_folder
from kdtool.recipe.schema import InputForm
from kdtool.results.evidence import OperatingPoint
from kdtool.results.study import Parity
from kdtool.train.data.large.stored import Converted, Images, StoredImages
from kdtool.train.models.networks import ImageShape, as_input
from kdtool.train.models.predict import class_logits

LOWEST_OPSET = 18  # the exporter writes none below

# The size is torchvision's `Resize` of the shorter side; the values are Pillow's, bilinear with
# antialiasing and rounded to uint8, so an image of the model's size passes unchanged. The Reshape
# changes nothing; shape inference needs it to know the sizes.
FRONT = """
<ir_version: {ir_version}, opset_import: ["" : {opset}]>
resize (uint8[batch, height, width, {channels}] {image})
  => (uint8[batch, {h}, {w}, {channels}] sized)
<int64[2] size = {{{h}, {w}}}, int64[3] image_shape = {{{h}, {w}, {channels}}},
 int64[2] sides = {{1, 2}}, int64 two = {{2}}, float tiny = {{0.001}}>
{{
  given = Shape <start = 1, end = 3> ({image})
  floats = Cast <to = 1> (given)
  wanted = Cast <to = 1> (size)
  ratios = Div (wanted, floats)
  scale = ReduceMax <keepdims = 0> (ratios)
  exact = Mul (floats, scale)
  raised = Add (exact, tiny)
  whole = Cast <to = 7> (raised)
  scaled_size = Max (whole, size)
  scaled = Resize <antialias = 1, exclude_outside = 1, axes = [1, 2], mode = "linear",
    coordinate_transformation_mode = "half_pixel"> ({image}, , , scaled_size)
  margins = Sub (scaled_size, size)
  start = Div (margins, two)
  end = Add (start, size)
  cropped = Slice (scaled, start, end, sides)
  num_images = Shape <start = 0, end = 1> ({image})
  shape = Concat <axis = 0> (num_images, image_shape)
  sized = Reshape (cropped, shape)
}}
"""


def add_resize(model: ModelProto, size: tuple[int, int]) -> None:
    """Make `model` accept images of any size: the shorter side is scaled, the centre cropped.

    Args:
        model: Takes uint8 images `(N, H, W, C)`; opset 18 or above. Changed in place.
        size: H, W of these.
    """
    (image,) = model.graph.input
    text = FRONT.format(
        ir_version=model.ir_version,
        opset=next(entry.version for entry in model.opset_import if entry.domain == ""),
        image=image.name,
        channels=image.type.tensor_type.shape.dim[3].dim_value,
        h=size[0],
        w=size[1],
    )
    front = onnx.parser.parse_model(text).graph
    for node in front.node:
        node.name = f"{FRONT_END}{node.output[0]}"
    old = list(model.graph.node)
    for node in old:
        node.input[:] = ["sized" if name == image.name else name for name in node.input]
    del model.graph.node[:]
    model.graph.node.extend([*front.node, *old])
    model.graph.initializer.extend(front.initializer)
    image.CopyFrom(front.input[0])


PARITY_BATCH = 256
PARITY_VALUES = 40 * 3 * 224**2  # of a batch: 256 images of 224 x 224 pixels take a gigabyte
# Two correct float32 runtimes differ by about 1e-6 of the largest logit.
TOLERANCE = 1e-4

Answers = NDArray[np.float32]


class Shipped(nn.Module):
    """The model in the form of its file: images in, logits and probabilities out."""

    def __init__(
        self, model: nn.Module, num_classes: int, form: InputForm, temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.model, self.num_classes, self.form = model, num_classes, form
        self.temperature = temperature

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and probabilities, both `(B, C)`.

        Args:
            image: uint8 `(B, H, W, C)`, or of the form "tensor" float32 `(B, C, H, W)` in [0, 1].
        """
        if self.form != "tensor":
            # contiguous: the exporter writes a Gather for each view of channels-last memory
            image = as_input(image.permute(0, 3, 1, 2)).contiguous()
        logits = class_logits(self.model(image), self.num_classes)
        if self.temperature != 1:
            logits = logits / self.temperature
        return logits, logits.softmax(dim=1)


def in_file_form(
    model: nn.Module, num_classes: int, form: InputForm, temperature: float = 1.0
) -> Shipped:
    """Return a copy of a model in the form of its file: on the CPU, in float32, in eval mode."""
    return Shipped(copy.deepcopy(model), num_classes, form, temperature).cpu().float().eval()


def make_onnx(
    model: nn.Module,
    image_shape: ImageShape,
    num_classes: int,
    opset: int,
    form: InputForm = "pixels",
    temperature: float = 1.0,
) -> onnx.ModelProto:
    """Return `model` as ONNX, with its preprocessing inside and no trace of this machine.

    Args:
        model: Not changed. Its subclasses, if any, are merged into classes in the file.
        image_shape: C, H, W.
        num_classes: Outputs of the file.
        opset: 18 or above.
        form: Input of the file; see `kdtool.recipe.schema.ExportTable`.
        temperature: Divisor of the logits in the file.

    Raises:
        KdtoolError: The exporter cannot write the model, or not in that opset.
    """
    shipped = in_file_form(model, num_classes, form, temperature)
    dtype = torch.float32 if form == "tensor" else torch.uint8
    example = torch.zeros(2, *given_shape(image_shape, form), dtype=dtype)
    exported = _exported(shipped, example, opset)
    if not _works(exported, opset):
        # Which one is the highest depends on torch, onnxruntime and the network: try them.
        newest = min(opset - 1, newest_opset())
        lower = range(newest, LOWEST_OPSET - 1, -1)
        highest = next((one for one in lower if _works(_exported(shipped, example, one), one)), 0)
        raise KdtoolError(
            f"got export.opset = {opset}, but the highest that PyTorch writes and onnxruntime "
            f"reads for this network is {highest}; the lowest is {LOWEST_OPSET}"
        )
    _strip(exported)
    pool_globally(exported)
    leave_out_defaults(exported)
    write_weights_as_multiplied(exported)
    if form == "resize":
        add_resize(exported, image_shape[1:])
    onnx.checker.check_model(exported, full_check=True)
    return exported


def _exported(model: nn.Module, example: Tensor, opset: int) -> onnx.ModelProto:
    """Return what PyTorch writes; it falls back to an older opset where it lacks the given one."""
    with silence(), _explained(), _operators_made_once():
        program = torch.onnx.export(
            model,
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
    return program.model_proto


def _works(exported: onnx.ModelProto, opset: int) -> bool:
    """Return whether a model has the opset that was asked for, and onnxruntime loads it."""
    if model_opset(exported) != opset:
        return False
    with scratch_folder() as folder:
        path = folder / "model.onnx"
        onnx.save(exported, path)
        try:
            open_session(path)
        except ModelFileError:
            return False
    return True


@overload
def as_given(images: NDArray[np.uint8], form: InputForm) -> NDArray[np.generic]: ...
@overload
def as_given(images: Images, form: InputForm) -> NDArray[np.generic] | Converted: ...
def as_given(images: Images, form: InputForm) -> NDArray[np.generic] | Converted:
    """Return images in an input form of files.

    Args:
        images: `(N, C, H, W)`; those in a file are converted when they are read.
        form: Of the files.

    Returns:
        Of the form "tensor" float32 `(N, C, H, W)` in [0, 1], else uint8 `(N, H, W, C)`.
    """
    if isinstance(images, StoredImages):
        return Converted(images, lambda part: as_given(part, form))
    if form == "tensor":
        return images.astype(np.float32) / 255
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def given_shape(image_shape: ImageShape, form: InputForm) -> tuple[int, int, int]:
    """Return the shape of one image in an input form of files."""
    channels, height, width = image_shape
    return image_shape if form == "tensor" else (height, width, channels)


def answers(
    path: Path, images: NDArray[np.generic] | Converted, *, optimize: bool = True
) -> tuple[Answers, Answers]:
    """Return the logits and probabilities of a file, both `(N, C)`.

    Args:
        path: The ONNX file.
        images: `(N, ...)`, in its input form.
        optimize: False computes operator by operator as the file says; int8 layers then round in
            float32, so otherwise than the runtime's own.
    """
    session = open_session(path, optimize=optimize)
    # Batches of 1, 2 and 5 first: a batch dimension that was fixed by mistake fails at once.
    size = min(PARITY_BATCH, max(5, PARITY_VALUES // math.prod(images[:1].shape)))
    bounds = [0, 1, 3, 8, *range(8 + size, len(images), size), len(images)]
    bounds = sorted({min(bound, len(images)) for bound in bounds})
    batches = [
        session.run(None, {"image": images[start:end]}) for start, end in itertools.pairwise(bounds)
    ]
    logits, probabilities = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return logits, probabilities


def top_class(answers: Answers) -> NDArray[np.int64]:
    """Return the class `(N,)` of each image; -1, which is never right, where a value is not finite.

    Args:
        answers: `(N, C)` logits or probabilities.
    """
    return np.where(np.isfinite(answers).all(axis=1), answers.argmax(axis=1), -1)


def called(
    probabilities: Answers, classes: Sequence[str], point: OperatingPoint | None
) -> NDArray[np.int64]:
    """Return the class `(N,)` that a file calls; -1, which is never right, if it is not finite.

    Args:
        probabilities: `(N, C)` of the file.
        classes: Names of the C classes.
        point: Threshold between two classes; None: the most probable class is called.
    """
    most_probable = top_class(probabilities)
    if point is None or point.rule == "argmax":
        return most_probable
    positive = classes.index(point.positive)
    is_called = probabilities[:, positive] >= point.threshold
    return np.where(most_probable < 0, -1, np.where(is_called, positive, 1 - positive))


def compare(given: Answers, expected: Answers) -> Parity:
    """Compare the logits of a file with PyTorch's.

    An image whose top-1 class differs counts as flipped only if PyTorch's own margin between the
    two classes is above the largest error found, or above the error allowed if that is smaller.
    Otherwise it is a tie: two correct runtimes round it either way.

    Args:
        given: `(N, C)` logits of the file.
        expected: `(N, C)` logits of PyTorch, all finite.

    Returns:
        Passed if no image is flipped and no logit differs by more than 1e-4 of the largest.
    """
    error = float(np.abs(given - expected).max())
    allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    called, most_probable = top_class(given), expected.argmax(axis=1)
    images, is_number = np.arange(len(given)), called >= 0
    margin = expected[images, most_probable].astype(np.float64) - expected[images, called]
    is_tie = is_number & (margin <= np.minimum(error, allowed))  # False where that is NaN
    differs = called != most_probable
    flipped = np.flatnonzero(differs & ~is_tie)
    return Parity(
        num_images=len(given),
        agreement=1 - len(flipped) / len(given),
        max_abs_error=error if np.isfinite(error) else None,
        flipped=flipped.tolist(),
        ties=np.flatnonzero(differs & is_tie).tolist(),
        passed=len(flipped) == 0 and error <= allowed,
    )


def _strip(model: onnx.ModelProto) -> None:
    """Remove traces of the exporting machine, and shapes that are wrong for later tools."""
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
    """Turn errors of the exporter into one line."""
    try:
        yield
    except torch.onnx.OnnxExporterError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        first = next((line for line in str(cause).splitlines() if line.strip()), "")
        raise KdtoolError(f"PyTorch cannot write the model as ONNX: {first}") from error


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Suppress the messages of a converter of PyTorch's."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # every error is raised as well
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextlib.contextmanager
def _operators_made_once() -> Iterator[None]:
    """Keep the exporter's table of operators for the next model of this process.

    `torch.onnx.export` makes the table anew in each call, from the source of 497 functions: half
    of the time of a small export. It only reads the table. Where another version of PyTorch makes
    it elsewhere, this does nothing.

    Source: torch 2.15, torch/onnx/_internal/exporter/_compat.py.
    """
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        made = functools.partial(_operators, ONNXRegistry.from_torchlib)
    except (ImportError, AttributeError):
        yield
        return
    with mock.patch.object(ONNXRegistry, "from_torchlib", staticmethod(made)):
        yield


@functools.cache
def _operators(make: Callable[..., object], opset_version: int) -> object:
    return make(opset_version=opset_version)
