"""The recipe's `[distill]`: by which method a student learns, and the options of each method."""

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from kdtool.errors import did_you_mean
from kdtool.recipe.table import Positive, Table
from kdtool.recipe.training import TrainTable

Method = Literal["kd", "ls", "dkd", "dist", "wttm", "mse", "nkd", "rld"]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

WEIGHT = "weight of the method's loss; the labels' loss has 1"
SOFTENS = "temperature that softens the logits of teacher and student"
WARM_UP = "epochs over which the weight rises linearly; default: a twelfth of the training"
WARM_UP_SHARE = 1 / 12  # of the epochs: 20 of 240, as DKD and RLD were trained
ONE_LABEL = ("dkd", "nkd", "rld")  # split the classes into the image's own and the others
# What two classes leave of a method.
TWO_CLASSES = {
    "ls": "two standardized logits are always +-0.7071, so only the sign of the teacher is left",
    "dkd": "without the image's own class one class is left, whose share is always 1",
    "nkd": "without the image's own class one class is left, whose share is always 1",
    "rld": "without the image's own class one class is left, whose share is always 1",
}
TWO_CLASSES_DIST = "the correlation between the probabilities of two classes is always 1 or -1"


class LsOptions(Table):
    """Knowledge distillation from standardized logits.

    Source: Sun et al. 2024, arXiv:2403.01427: temperature 2 and weight 9, there beside 0.1 for the
    labels.
    """

    soft_weight: NotNegative = Field(default=9.0, description=WEIGHT)
    temperature: Positive = Field(default=2.0, description=SOFTENS)


class DkdOptions(Table):
    """Decoupled knowledge distillation.

    Source: Zhao et al. 2022, arXiv:2203.08679, and megvii-research/mdistiller: CIFAR-100.
    """

    soft_weight: NotNegative = Field(default=1.0, description=WEIGHT)
    temperature: Positive = Field(default=4.0, description=SOFTENS)
    alpha: NotNegative = Field(default=1.0, description="weight of the image's class")
    beta: NotNegative = Field(default=8.0, description="weight of the other classes")
    warm_up: NotNegative | None = Field(default=None, description=WARM_UP)


class DistOptions(Table):
    """Correlation between the probabilities of student and teacher.

    Source: Huang et al. 2022, arXiv:2205.10536, and hunto/DIST_KD: ImageNet.
    """

    soft_weight: NotNegative = Field(default=1.0, description=WEIGHT)
    temperature: Positive = Field(default=1.0, description=SOFTENS)
    beta: NotNegative = Field(default=1.0, description="weight of the term over classes")
    gamma: NotNegative = Field(default=1.0, description="weight of the term over the batch")


class WttmOptions(Table):
    """Weighted transformed teacher matching.

    Source: Zheng and Yang 2024, arXiv:2402.11148, and zkxufo/TTM: the example of WTTM.
    """

    soft_weight: NotNegative = Field(default=4.0, description=WEIGHT)
    gamma: NotNegative = Field(
        default=0.2, description="power of the teacher's probabilities: 1 / its temperature"
    )


class MseOptions(Table):
    """Matching of logits.

    Source: none for the weight: it is the ratio of kd's defaults, 0.9 to 0.1, for a loss that is
    twice kd at a high temperature.
    """

    soft_weight: NotNegative = Field(default=4.5, description=WEIGHT)


class NkdOptions(Table):
    """Normalized knowledge distillation.

    Source: Yang et al. 2023, arXiv:2303.13005, and yzd-v/cls_KD.
    """

    soft_weight: NotNegative = Field(default=1.0, description=WEIGHT)
    temperature: Positive = Field(
        default=1.0, description="temperature that softens the logits of the other classes"
    )
    gamma: NotNegative = Field(default=1.5, description="weight of the other classes")


class RldOptions(Table):
    """Refined logit distillation.

    Source: Sun et al. 2024, arXiv:2408.07703, and zju-SWJ/RLD: CIFAR-100.
    """

    soft_weight: NotNegative = Field(default=1.0, description=WEIGHT)
    temperature: Positive = Field(default=4.0, description=SOFTENS)
    alpha: NotNegative = Field(
        default=1.0, description="weight of the teacher's confidence in its first class"
    )
    beta: NotNegative = Field(
        default=8.0, description="weight of the classes that the teacher ranks below the image's"
    )
    warm_up: NotNegative | None = Field(default=None, description=WARM_UP)


Options = LsOptions | DkdOptions | DistOptions | WttmOptions | MseOptions | NkdOptions | RldOptions
OPTIONS: dict[str, type[Options]] = {
    "ls": LsOptions,
    "dkd": DkdOptions,
    "dist": DistOptions,
    "wttm": WttmOptions,
    "mse": MseOptions,
    "nkd": NkdOptions,
    "rld": RldOptions,
}

ALONE = "the same, where the method has it"


class OptionsTable(Table):
    """The options of each method; those that stand alone are of `distill.method`."""

    soft_weight: NotNegative | None = Field(
        default=None, description="short for `options.METHOD.soft_weight` with METHOD of `method`"
    )
    temperature: Positive | None = Field(default=None, description=ALONE)
    alpha: NotNegative | None = Field(default=None, description=ALONE)
    beta: NotNegative | None = Field(default=None, description=ALONE)
    gamma: NotNegative | None = Field(default=None, description=ALONE)
    warm_up: NotNegative | None = Field(default=None, description=ALONE)
    ls: LsOptions = Field(default=LsOptions(), description="KD from standardized logits")
    dkd: DkdOptions = Field(default=DkdOptions(), description="decoupled KD")
    dist: DistOptions = Field(
        default=DistOptions(), description="correlation over classes and over the batch"
    )
    wttm: WttmOptions = Field(
        default=WttmOptions(), description="weighted transformed teacher matching"
    )
    mse: MseOptions = Field(default=MseOptions(), description="matching of logits")
    nkd: NkdOptions = Field(default=NkdOptions(), description="normalized KD")
    rld: RldOptions = Field(default=RldOptions(), description="refined logit distillation")


class DistillTable(Table):
    """How the student learns from the teacher.

    Source: for the defaults, the CIFAR-100 setting of RepDistiller and mdistiller: temperature 4,
    weights 0.9 and 0.1.
    """

    method: Method = Field(
        default="kd",
        description="loss of the student, see docs/training.md; `[subclass]` students learn by kd",
    )
    temperature: Positive = Field(
        default=4.0, description="temperature that softens the logits of teacher and student in kd"
    )
    soft_weight: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="weight of the soft targets in kd; the labels get the rest",
    )
    options: OptionsTable = Field(
        default=OptionsTable(), description="options of the methods other than kd"
    )
    exclude_classes: list[int | str] = Field(
        default=[],
        description="classes, by index or name, without training images for students and controls",
    )

    @property
    def chosen(self) -> Options | None:
        """The options of the method, with its defaults; None: kd has none."""
        return None if self.method == "kd" else getattr(self.options, self.method)

    @field_validator("options", mode="before")
    @classmethod
    def _options_are_of_their_method(cls, value: Any, info: ValidationInfo) -> Any:
        """Check the names, and move options that stand alone into the table of the method."""
        method = info.data.get("method")
        if not _is_table(value) or method is None:
            return value
        faults = [_option_fault(key, content, method) for key, content in value.items()]
        if any(faults):
            raise ValueError("; ".join(fault for fault in faults if fault))
        tables = {key: content for key, content in value.items() if key in OPTIONS}
        own = tables.get(method, {})
        alone = {key: content for key, content in value.items() if key not in OPTIONS}
        return tables | {method: own | alone} if alone and _is_table(own) else tables

    @model_serializer(mode="wrap")
    def _without_unused_options(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the options of other methods, unless the recipe sets them."""
        content: dict[str, Any] = handler(self)
        options = content.pop("options", None) or {}
        kept = {
            key: table
            for key, table in options.items()
            if key == self.method
            or (key in OPTIONS and getattr(self.options, key) != OPTIONS[key]())
        }
        return content | ({"options": kept} if kept else {})


def options_of(method: str) -> list[str]:
    """Return the names of a method's options; kd has none."""
    return list(OPTIONS[method].model_fields) if method in OPTIONS else []


def method_of(key: str) -> str | None:
    """Return the method that a key such as `distill.temperature` is of; None: of any."""
    if key in {"distill.temperature", "distill.soft_weight"}:
        return "kd"
    method = key.removeprefix("distill.options.").partition(".")[0]
    return method if key.startswith("distill.options.") and method in OPTIONS else None


def _option_fault(key: str, content: Any, method: str) -> str | None:
    """Return what is wrong with a key of `[distill.options]`; None: nothing, or only its value."""
    if key in OPTIONS:
        wrong = [one for one in content if one not in options_of(key)] if _is_table(content) else []
        return "; ".join(_unknown_option(one, key) for one in wrong) or None
    if key in options_of(method):
        return None
    if method == "kd" and not _is_table(content):
        return (
            f'got "{key}", but kd has no options, only distill.temperature and '
            "distill.soft_weight; set distill.method, or write it for one method, such as "
            f"[distill.options.{_owners(key)[0] if _owners(key) else 'dkd'}]"
        )
    return _unknown_option(key, method, is_table=_is_table(content))


def _unknown_option(key: str, method: str, *, is_table: bool = False) -> str:
    known = options_of(method)
    hint = did_you_mean(key, OPTIONS if is_table else known)
    owners = _owners(key)
    if owners and not hint:
        hint = f"; it is an option of {', '.join(owners)}: [distill.options.{owners[0]}]"
    return f'got "{key}", expected an option of {method}: {", ".join(known)}{hint}'


def _owners(key: str) -> list[str]:
    return [method for method in OPTIONS if key in options_of(method)]


def _is_table(content: Any) -> bool:
    return isinstance(content, dict)


def method_fault(table: DistillTable, student: TrainTable) -> str | None:
    """Return why a student cannot be trained by its method; None if it can.

    Args:
        table: Of the recipe.
        student: How the student is trained.
    """
    method = table.method
    if method in ONE_LABEL:
        for key in ("mixup", "label_smoothing"):
            if value := getattr(student, key):
                return (
                    f"method {method} needs one label for each image, but student.{key} = {value} "
                    f"spreads it over classes; set student.{key} = 0, or use kd, ls, dist, wttm "
                    "or mse"
                )
    if method == "dist" and student.batch_size == 1:
        return (
            "method dist compares the images of a batch, but student.batch_size = 1; set 2 or more"
        )
    epochs = sum(phase.epochs for phase in student.phase) or student.epochs
    return None if student.min_steps else warm_up_fault(table, epochs)


def warm_up_fault(table: DistillTable, epochs: int) -> str | None:
    """Return that the warm-up of a method is longer than the training; None if it is not."""
    warm_up = getattr(table.chosen, "warm_up", None)
    if warm_up is None or warm_up <= epochs:
        return None
    return (
        f"got warm_up = {warm_up:g} epochs for method {table.method}, expected at most the "
        f"{epochs} of the student's training"
    )


def two_classes_fault(method: str, options: Options | None = None) -> str | None:
    """Return why a method cannot teach two classes; None if it can, or its options decide.

    Args:
        method: Of `[distill]`.
        options: Of the method, if they are known.
    """
    why = TWO_CLASSES.get(method)
    if isinstance(options, DistOptions) and options.gamma == 0:
        why = f"{TWO_CLASSES_DIST}, and gamma = 0 turns off its term over the batch"
    if why is None:
        return None
    return (
        f'distill.method: got "{method}", but the data have two classes: {why}. Use kd, wttm or '
        "mse; with few classes `kdtool subclass-distill` has more to teach"
    )


def two_classes_warning(method: str) -> str | None:
    """Return what two classes leave of a method that can still teach them; None: all of it."""
    if method != "dist":
        return None
    return (
        f"distill.method dist: of its terms only that over the batch is left, as {TWO_CLASSES_DIST}"
    )
