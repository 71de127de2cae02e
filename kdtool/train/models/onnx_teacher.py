"""An ONNX file as teacher: it runs in ONNX Runtime, with its preprocessing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor, nn
from torch.nn import functional as F

from kdtool.edge.metadata import read_metadata
from kdtool.edge.model_file import external_files, read_model
from kdtool.edge.session import RUNTIME_ERRORS, InferenceSession, open_session
from kdtool.errors import KdtoolError, ModelFileError, RecipeError
from kdtool.files import sha256_of
from kdtool.recipe.training import Normalization, TrainTable
from kdtool.train.models.networks import ImageShape
from kdtool.train.models.published import IMAGENET_MEAN, IMAGENET_STD

DTYPES: dict[str, Any] = {
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
}
# `Image.NominalPixelRange` -> mean and std that turn pixels in [0, 1] into that range.
# Source: docs/MetadataProps.md of onnx.
RANGES = {
    "NominalRange_0_255": (0.0, 1 / 255),
    "Normalized_0_1": (0.0, 1.0),
    "Normalized_1_1": (0.5, 0.5),
}
IMAGENET = Normalization(mean=list(IMAGENET_MEAN), std=list(IMAGENET_STD))


@dataclass(frozen=True)
class ImageInput:
    """The image input of a file."""

    name: str
    dtype: Any
    channels_last: bool
    channels: int  # 1 or 3
    size: tuple[int, int] | None  # height and width; None: any
    batch: int | None  # None: any

    @property
    def words(self) -> str:
        """The input as text."""
        size = "any size" if self.size is None else f"{self.size[0]}x{self.size[1]}"
        return f"{np.dtype(self.dtype).name} images of {size} with {self.channels} channel" + (
            "s" if self.channels > 1 else ""
        )


def image_input(
    session: InferenceSession, path: Path, input_size: int | None, *, any_size: bool
) -> ImageInput:
    """Return the image input of a file.

    Args:
        session: Of the file.
        path: Of the file.
        input_size: `teacher.input_size`, for a file with a dynamic size.
        any_size: Whether the file resizes its images.

    Raises:
        ModelFileError: It has no image input, or more than one input.
        RecipeError: Its size is not `input_size`.
    """
    inputs = session.get_inputs()
    shape = list(inputs[0].shape) if inputs else []
    channels_last = _channels_last(shape, inputs[0].type) if len(inputs) == 1 else None
    if channels_last is None or inputs[0].type not in DTYPES:
        given = ", ".join(f"{entry.name}: {entry.type} {entry.shape}" for entry in inputs)
        raise ModelFileError(
            f"{path} takes {given or 'no input'}; expected one image input, uint8, float32 or "
            "float16, (N, C, H, W) or (N, H, W, C), with a fixed number of channels, 1 or 3"
        )
    batch, *rest = shape
    channels = rest.pop(2 if channels_last else 0)
    sides = [side if isinstance(side, int) and side > 0 else None for side in rest]
    if input_size is not None and any(side not in (None, input_size) for side in sides):
        raise RecipeError(
            f"got teacher.input_size = {input_size}, but {path} takes images of "
            f"{sides[0] or 'any'}x{sides[1] or 'any'}; remove teacher.input_size"
        )
    height, width = (side or input_size for side in sides)
    return ImageInput(
        name=inputs[0].name,
        dtype=DTYPES[inputs[0].type],
        channels_last=channels_last,
        channels=channels,
        size=(height, width) if height and width and not (any_size and not input_size) else None,
        batch=batch if isinstance(batch, int) and batch > 0 else None,
    )


def _channels_last(shape: Sequence[int | str | None], dtype: str) -> bool | None:
    """Return whether the channels are the last axis; None: the shape has no channels."""
    if len(shape) != 4:
        return None
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if first and last:  # images of 1 or 3 pixels: as is usual for the type
        return dtype == "tensor(uint8)"
    return last if first or last else None


def normalization(
    table: TrainTable, path: Path, taken: ImageInput, said: str | None
) -> tuple[list[float], list[float]]:
    """Return mean and std of the channels, for pixels in [0, 1].

    Args:
        table: `teacher.normalize`.
        path: Of the file.
        taken: Its input.
        said: Key of `RANGES` in the metadata of the file; None: there is none.

    Raises:
        RecipeError: Neither the recipe nor the file has a normalization for these channels.
    """
    wanted = table.normalize
    if taken.dtype is np.uint8:
        if wanted not in ("weights", "none"):
            raise RecipeError(
                f"got teacher.normalize, but {path} takes uint8 images and normalizes them itself; "
                "remove teacher.normalize"
            )
        return [0.0], [1 / 255]
    if wanted == "imagenet":
        wanted = IMAGENET
    if isinstance(wanted, Normalization):
        if not {len(wanted.mean), len(wanted.std)} <= {1, taken.channels}:
            raise RecipeError(
                f"got teacher.normalize of {len(wanted.mean)} means and {len(wanted.std)} "
                f"standard deviations, but {path} takes {taken.words}; expected one "
                "value for each channel, or one for all"
            )
        return wanted.mean, wanted.std
    if wanted == "none":
        return [0.0], [1.0]
    if said not in RANGES:
        raise RecipeError(
            f"{path} takes {taken.words}, and its metadata has no pixel range; "
            'set teacher.normalize = "imagenet", "none" for pixels in [0, 1], or '
            "{ mean = [...], std = [...] }, such as { mean = [0], std = [0.00392157] } for "
            "pixels from 0 to 255"
        )
    mean, std = RANGES[said]
    return [mean], [std]


LUMA = (0.299, 0.587, 0.114)  # of red, green and blue; ITU-R BT.601
MOST_VALUES = 2**28  # of a batch: 1 GiB of float32
FLOOR = 1e-12  # of a probability before its logarithm
CEILING = 1e-7  # distance from 1 of a probability before its logit: the resolution of float32
KEEP_VALUES = {"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze"}  # operators


class OnnxTeacher(nn.Module):
    """An ONNX file with the input and output of every model of a study; it cannot be trained.

    `forward` takes float32 `(B, C, H, W)` in [0, 1], on any device, and returns float32 logits
    `(B, K)` there; no gradient passes through it.
    """

    SMALLEST = 2  # images of a batch that it is tried on, if it takes any number

    def __init__(self, table: TrainTable, image_shape: ImageShape) -> None:
        """Open the file and run it on images of that shape.

        Raises:
            KdtoolError: The file cannot be used, or the normalization of its images is unknown.
        """
        super().__init__()
        self.path, self.image_shape = Path(table.model), image_shape
        self.session = open_session(self.path, torch.get_num_threads())
        self.gpu_session: InferenceSession | None = None
        model = read_model(self.path)
        self.sha256 = [sha256_of(file) for file in (self.path, *external_files(self.path, model))]
        metadata = read_metadata(self.session)
        preprocess = metadata.get("preprocess")
        form = preprocess.get("input") if isinstance(preprocess, dict) else None
        self.input = image_input(
            self.session, self.path, table.input_size, any_size=form == "resize"
        )
        self._check_batch()
        said = self.session.get_modelmeta().custom_metadata_map.get("Image.NominalPixelRange")
        said = "Normalized_0_1" if form == "tensor" else said  # kdtool's own
        self.mean, self.std = normalization(table, self.path, self.input, said)
        names = metadata.get("classes")
        # Names of the outputs in the metadata; None: there are none
        self.classes = [str(name) for name in names] if isinstance(names, list) else None
        self.notes = self._notes_on_images()
        self._choose_output(model)

    def extra_repr(self) -> str:
        """Return all that the answers depend on, without the path of the file."""
        return f"sha256={self.sha256}, {self.input}, mean={self.mean}, std={self.std}"

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return logits `(B, K)` of images `(B, C, H, W)` in [0, 1]."""
        session = self._session_on(images.device)
        parts = [self._run(session, [self.output], part)[0] for part in self._batches(images)]
        answers = _as_rows(np.concatenate(parts)[: len(images)])
        logits = torch.from_numpy(answers.astype(np.float32))
        if self.gives == "probabilities":
            logits = logits.clamp_min(FLOOR).log()
        elif self.gives == "sigmoids":
            logits = logits.clamp(FLOOR, 1 - CEILING).logit()
        return logits.to(images.device)

    def _session_on(self, device: torch.device) -> InferenceSession:
        if device.type == "cpu":
            return self.session
        if self.gpu_session is None:
            try:
                if device.type != "cuda":
                    raise KdtoolError(f"ONNX Runtime and PyTorch do not share {device.type}")
                self.gpu_session = open_session(self.path, provider="cuda", gpu=device.index or 0)
            except KdtoolError as error:
                self.gpu_session = self.session
                self.notes.append(f"it runs on the processor: {error}")
        return self.gpu_session

    def _batches(self, images: Tensor) -> list[NDArray[Any]]:
        """Return images `(B, C, H, W)` as the file takes them; the last batch is padded."""
        given = self._as_given(images)
        size = self.input.batch or len(given)
        missing = -len(given) % size
        if missing:
            given = np.concatenate([given, np.repeat(given[-1:], missing, axis=0)])
        return np.split(given, len(given) // size)

    def _as_given(self, images: Tensor) -> NDArray[Any]:
        images = images.detach().float()
        if self.input.channels > images.shape[1]:
            images = images.expand(-1, 3, -1, -1)
        elif self.input.channels < images.shape[1]:
            luma = torch.tensor(LUMA, device=images.device).reshape(1, -1, 1, 1)
            images = (images * luma).sum(dim=1, keepdim=True)
        if self.input.size not in (None, tuple(images.shape[2:])):
            images = F.interpolate(images, self.input.size, mode="bilinear", antialias=True)
        mean, std = (
            torch.tensor(values, device=images.device).reshape(1, -1, 1, 1)
            for values in (self.mean, self.std)
        )
        images = (images - mean) / std
        if self.input.dtype is np.uint8:
            images = images.round().clamp(0, 255)
        if self.input.channels_last:
            images = images.permute(0, 2, 3, 1)
        return images.contiguous().cpu().numpy().astype(self.input.dtype)

    def _run(self, session: InferenceSession, outputs: list[str], given: NDArray[Any]) -> list[Any]:
        try:
            found: list[Any] = session.run(outputs, {self.input.name: given})
        except RUNTIME_ERRORS as error:
            raise ModelFileError(
                f"{self.path} fails on a batch of shape {given.shape}: {error}; export it for "
                "images of this size (or set teacher.input_size) and with a dynamic batch size"
            ) from error
        return found

    def _notes_on_images(self) -> list[str]:
        channels, *size = self.image_shape
        notes = []
        if self.input.size not in (None, tuple(size)):
            height, width = self.input.size or size
            notes.append(f"images of {size[0]}x{size[1]} are resized to {height}x{width} for it")
        if self.input.channels > channels:
            notes.append("it takes colour images: grey images are repeated in red, green and blue")
        if self.input.channels < channels:
            notes.append("it takes grey images: colour images are converted to grey (luma)")
        return notes

    def _check_batch(self) -> None:
        """Raise ModelFileError if a batch of the file's own sizes would be too large."""
        taken, (channels, *size) = self.input, self.image_shape
        height, width = taken.size or size
        num_images = taken.batch or self.SMALLEST
        values = max(taken.channels * height * width, channels * math.prod(size))
        if num_images * values > MOST_VALUES:
            raise ModelFileError(
                f"{self.path} takes {num_images:,} images of {height:,}x{width:,} at a time, more "
                "than kdtool keeps in memory; export it with a dynamic batch size, or for smaller "
                "images"
            )

    def _choose_output(self, model: ModelProto) -> None:
        """Run the file once; find the output with the logits, and whether it has probabilities."""
        draws = torch.Generator().manual_seed(0)
        images = torch.rand(self.input.batch or self.SMALLEST, *self.image_shape, generator=draws)
        declared = self.session.get_outputs()
        answers = self._run(self.session, [one.name for one in declared], self._batches(images)[0])
        named = dict(zip([one.name for one in declared], answers, strict=True))
        logits = {
            name: _as_rows(answer)
            for name, answer in named.items()
            if isinstance(answer, np.ndarray)
            and answer.dtype.kind == "f"
            and answer.shape[2:] in ((), (1, 1))
            and answer.shape[:1] == (len(images),)
            and answer[0].size > 1
        }
        if "logits" not in logits and len(logits) != 1:
            has = ", ".join(f"{name} {_shape(answer)}" for name, answer in named.items())
            raise ModelFileError(
                f"{self.path} returns {has} for {len(images)} images; expected one float output "
                f"({len(images)}, C) or ({len(images)}, C, 1, 1), one value for each class, or one "
                "with the name logits"
            )
        self.output = "logits" if "logits" in logits else next(iter(logits))
        found = logits[self.output].astype(np.float64)
        self.num_logits = found.shape[1]
        if not np.isfinite(found).all():
            raise ModelFileError(
                f"{self.path} returns NaN or infinity for random images; export it again"
            )
        self.gives: Literal["logits", "probabilities", "sigmoids"] = "logits"
        # Logits of random images include negative values, or their sums differ.
        if (found >= 0).all() and np.allclose(found.sum(axis=1), 1, atol=5e-3):
            self.gives = "probabilities"
            self.notes.append(
                f"its output {self.output} contains probabilities; their logarithms are used as "
                "logits"
            )
        elif made_by(model, self.output) == "Sigmoid":
            self.gives = "sigmoids"
            self.notes.append(
                f"its output {self.output} is a sigmoid for each class; the values before it are "
                "used as logits"
            )


def _as_rows(answer: NDArray[Any]) -> NDArray[Any]:
    """Return logits `(B, C)`, also of a network that ends in a convolution: `(B, C, 1, 1)`."""
    return answer.reshape(answer.shape[:2])


def made_by(model: ModelProto, output: str) -> str | None:
    """Return the operator that computes an output, skipping those that keep its values."""
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers.pop(output, None)  # each at most once: there may be a circle
    while node is not None and node.op_type in KEEP_VALUES:
        node = makers.pop(node.input[0], None) if node.input else None
    return node.op_type if node else None


def _shape(answer: object) -> str:
    return str(answer.shape) if isinstance(answer, np.ndarray) else type(answer).__name__
