"""The recipe's `[teacher]` and `[student]`: a model, and how it is trained."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from kdtool.recipe.table import Positive, Table

Schedule = Literal["constant", "cosine"]
Channels = Annotated[list[float], Field(min_length=1, max_length=3)]  # one for each, or one for all


class Normalization(Table):
    """Mean and standard deviation of the channels, for pixels in [0, 1]."""

    mean: Channels = Field(description="mean of each channel, or of all")
    std: Annotated[list[Positive], Field(min_length=1, max_length=3)] = Field(
        description="standard deviation of each channel, or of all"
    )


class PhaseTable(Table):
    """One phase of training; keys that are left out are those of the model's table."""

    epochs: int = Field(ge=1, description="number of epochs")
    train: str | None = Field(default=None, description="parts that learn in this phase")
    learning_rate: Positive | None = Field(
        default=None, description="learning rate after the warm-up"
    )
    backbone_learning_rate: Positive | None = Field(
        default=None, description="learning rate of all but the head"
    )
    warmup: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="epochs of linearly rising learning rate",
    )
    schedule: Schedule | None = Field(
        default=None, description="learning rate over the epochs of the phase"
    )


class TrainTable(Table):
    """A model and how it is trained."""

    model: str = Field(
        description="`mnist-cnn`, `mnist-cnn-small`, `mnist-mlp`, `resnet8`, `torchvision:NAME`, "
        "`timm:NAME` or `package.module:function`; the teacher may also be an ONNX file, "
        "`FILE.onnx`"
    )
    weights: str | None = Field(
        default=None,
        description="weights to start from: `imagenet`, `none`, or a file relative to the recipe "
        "(.safetensors, .pth, .th, .pt or .ckpt)",
    )
    normalize: Literal["weights", "imagenet", "none"] | Normalization = Field(
        default="weights",
        description="normalization of pixels in [0, 1], inside the model: `weights` as its weights "
        "were trained, or `{ mean = [...], std = [...] }`",
    )
    input_size: int | None = Field(
        default=None,
        ge=1,
        description="pixels that the model enlarges the shorter side of its images to",
    )
    classes: list[str] | None = Field(
        default=None,
        description="with a pretrained teacher the names of its outputs, in order; default: the "
        "classes of the data",
    )
    epochs: int = Field(
        default=12, ge=0, description="number of epochs; 0 for a pretrained teacher"
    )
    min_steps: int = Field(
        default=0,
        ge=0,
        description="minimum number of training steps: smaller datasets train for more epochs, "
        "with a warning; `--set` of epochs overrules it",
    )
    batch_size: int = Field(default=256, ge=1, description="images in a training step")
    train: str = Field(
        default="all",
        description="parts that learn while the rest is frozen: `all`, or names of modules joined "
        "by +, such as `head` or `layer4+head`",
    )
    learning_rate: Positive = Field(default=1e-3, description="learning rate after the warm-up")
    backbone_learning_rate: Positive | None = Field(
        default=None, description="learning rate of all but the head; default: `learning_rate`"
    )
    warmup: float = Field(
        default=0,
        ge=0,
        allow_inf_nan=False,
        description="epochs of linearly rising learning rate",
    )
    schedule: Schedule = Field(
        default="constant",
        description="learning rate after the warm-up: constant, or half a cosine down to 0",
    )
    phase: list[PhaseTable] = Field(
        default=[], description="phases of training, in order, instead of `epochs`"
    )
    early_stop: int | None = Field(
        default=None, ge=1, description="stop after so many epochs without improvement"
    )
    optimizer: Literal["adam", "adamw", "sgd"] = Field(
        default="adam", description="optimizer of PyTorch"
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of `sgd`")
    weight_decay: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="weight decay of the optimizer"
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="label smoothing of the cross-entropy"
    )
    mixup: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="alpha of mixup's Beta distribution; 0 turns mixup off",
    )
    ema: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="decay, for each step, of the moving average of the weights; 0 turns it off",
    )
    class_weights: Literal["none", "balanced"] = Field(
        default="none", description="class weights in the loss of the labels"
    )
    sampling: Literal["shuffle", "balanced"] = Field(
        default="shuffle", description="order of the images; balanced draws each class as often"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="arithmetic of the training; auto takes bf16 where it is fast"
    )

    @property
    def is_onnx(self) -> bool:
        """Whether the model is an ONNX file, which answers and never learns."""
        return self.model.lower().endswith(".onnx")

    @property
    def is_trained(self) -> bool:
        """Whether the model is pretrained and is not trained further."""
        return self.is_onnx or (self.epochs == 0 and not self.phase)

    @property
    def without_paths(self) -> Self:
        """The same with the names of its files instead of their paths: a file may move."""
        model = Path(self.model).name if self.is_onnx else self.model
        weights = None if self.weights is None else Path(self.weights).name
        return self.model_copy(update={"model": model, "weights": weights})

    @field_validator("weights")
    @classmethod
    def _none_is_none(cls, value: str | None) -> str | None:
        return None if value == "none" else value  # --set has no other way to say it

    @model_validator(mode="after")
    def _onnx_files_do_not_learn(self) -> Self:
        fields = type(self).model_fields
        # Only values that differ: the recipe.toml of a study contains every default.
        learning = [key for key in LEARNING if getattr(self, key) != fields[key].get_default()]
        if self.is_onnx and learning and self.epochs > 0:
            raise ValueError(
                f"an ONNX file is not trained; set epochs = 0, or remove "
                f"{', '.join(f'`{key}`' for key in learning)}"
            )
        if self.is_onnx and self.weights:
            raise ValueError("an ONNX file has its own weights; remove `weights`")
        return self

    @model_validator(mode="after")
    def _epochs_fit(self) -> Self:
        if self.phase and self.epochs != type(self).model_fields["epochs"].get_default():
            raise ValueError(
                f"got `epochs` = {self.epochs} and phases, which have their own epochs; remove "
                "`epochs`, or set `phase` = []"
            )
        if self.epochs == 0 and not self.is_onnx and not self.phase and not self.weights:
            raise ValueError("`epochs` = 0 is for a pretrained model; add its `weights`")
        if self.classes is not None and not self.is_trained:
            raise ValueError(
                "`classes` is for a pretrained teacher: an ONNX file, or `weights` with "
                "`epochs` = 0; remove `classes`"
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
