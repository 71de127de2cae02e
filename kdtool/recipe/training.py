"""The recipe's `[teacher]` and `[student]`: a model, and how it is trained."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from kdtool.recipe.table import Positive, Table

Schedule = Literal["constant", "cosine"]
Channels = Annotated[list[float], Field(min_length=1, max_length=3)]  # one for each, or one for all


class Normalization(Table):
    """Mean and standard deviation of the channels, for pixels in [0, 1]."""

    mean: Channels
    std: Annotated[list[Positive], Field(min_length=1, max_length=3)]


class PhaseTable(Table):
    """One phase of training; what it does not say is as in the table of its model."""

    epochs: int = Field(ge=1)
    train: str | None = None
    learning_rate: Positive | None = None
    backbone_learning_rate: Positive | None = None
    warmup: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    schedule: Schedule | None = None


class TrainTable(Table):
    """A model and how it is trained."""

    # built in | torchvision:NAME | timm:NAME | package.module:function; the teacher: FILE.onnx too
    model: str
    # "imagenet", "none", or a file beside the recipe: .safetensors, .pth, .pt or .ckpt
    weights: str | None = None
    # Of pixels in [0, 1], inside the model: "weights" is as its weights were trained
    normalize: Literal["weights", "imagenet", "none"] | Normalization = "weights"
    # The model enlarges its images so that the shorter side is this long
    input_size: int | None = Field(default=None, ge=1)
    # Of a trained teacher: what its outputs stand for, in order; None: the classes of the data
    classes: list[str] | None = None
    epochs: int = Field(default=12, ge=0)  # 0: a teacher that is trained already
    min_steps: int = Field(default=400, ge=0)  # more epochs where the set is too small for so many
    batch_size: int = Field(default=256, ge=1)
    # What learns: "all", or names of modules joined by +, such as "head" or "layer4+head"; the rest
    # is frozen
    train: str = "all"
    learning_rate: Positive = 1e-3
    backbone_learning_rate: Positive | None = None  # of all but the head; None: the same
    warmup: float = Field(default=0, ge=0, allow_inf_nan=False)  # epochs of rising learning rate
    schedule: Schedule = "constant"
    phase: list[PhaseTable] = Field(default=[])  # one after the other, instead of `epochs`
    early_stop: int | None = Field(default=None, ge=1)  # epochs without a better one
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    momentum: float = Field(default=0.9, ge=0, lt=1)  # of "sgd"
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    mixup: float = Field(default=0.0, ge=0, allow_inf_nan=False)  # of the Beta distribution; 0: off
    ema: float = Field(default=0.0, ge=0, lt=1)  # decay a step of the averaged weights; 0: off
    class_weights: Literal["none", "balanced"] = "none"  # of the labels' loss
    sampling: Literal["shuffle", "balanced"] = "shuffle"  # balanced: each class as often
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of the training arithmetic

    @property
    def is_onnx(self) -> bool:
        """Whether the model is an ONNX file, which answers and never learns."""
        return self.model.lower().endswith(".onnx")

    @property
    def is_trained(self) -> bool:
        """Whether the model comes trained, and stays as it is."""
        return self.is_onnx or (self.epochs == 0 and not self.phase)

    @property
    def without_paths(self) -> Self:
        """The same with the names of its files alone: a file may move."""
        model = Path(self.model).name if self.is_onnx else self.model
        weights = None if self.weights is None else Path(self.weights).name
        return self.model_copy(update={"model": model, "weights": weights})

    @field_validator("weights")
    @classmethod
    def _none_is_none(cls, value: str | None) -> str | None:
        return None if value == "none" else value  # --set can give no other

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        fields = type(self).model_fields
        # What the recipe of a study, which holds all defaults, says of it as well.
        learning = [key for key in LEARNING if getattr(self, key) != fields[key].get_default()]
        if self.is_onnx and learning:
            raise ValueError(
                f"{self.model} is an ONNX file, which answers as it is and learns nothing: leave "
                f"out {', '.join(f'`{key}`' for key in learning)}"
            )
        if self.is_onnx and self.weights:
            raise ValueError(f"`weights` is not for {self.model}: an ONNX file has its own")
        if self.phase and self.epochs != fields["epochs"].get_default():
            raise ValueError(
                f"got `epochs` = {self.epochs} and phases, which have epochs of their own: change "
                "those, or set `phase` = []"
            )
        if self.epochs == 0 and not self.is_onnx and not self.phase and not self.weights:
            raise ValueError(
                "`epochs` = 0 is for a model that is trained already: name its `weights`"
            )
        if self.classes is not None and not self.is_trained:
            raise ValueError(
                "`classes` is for a teacher that is trained already: an ONNX file, or `weights` "
                "and `epochs` = 0"
            )
        return self


# What has no use where nothing is learned.
LEARNING = (
    "epochs",
    "train",
    "learning_rate",
    "backbone_learning_rate",
    "warmup",
    "schedule",
    "phase",
    "early_stop",
    "optimizer",
    "momentum",
    "weight_decay",
    "label_smoothing",
    "mixup",
    "ema",
    "class_weights",
    "sampling",
)
