"""What the models of each role learn from: labels, subclasses, or the logits of a teacher."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kdtool.environment import collect_environment
from kdtool.errors import KdtoolError, RecipeError
from kdtool.files import replaced
from kdtool.format import plural
from kdtool.recipe.distill import (
    WARM_UP_SHARE,
    DistillTable,
    DkdOptions,
    Options,
    RldOptions,
    two_classes_fault,
    two_classes_warning,
    warm_up_fault,
)
from kdtool.recipe.schema import SubclassTable
from kdtool.results.base import TEACHER_OF, Record, Role
from kdtool.study.keys import key_of, short_key
from kdtool.train.data.splits import Split
from kdtool.train.fit.augment import view_maker
from kdtool.train.fit.batches import Batch, steps_per_epoch
from kdtool.train.fit.loop import BatchLoss
from kdtool.train.fit.losses import (
    balanced_weights,
    distillation_loss,
    label_loss,
    subclass_teacher_loss,
)
from kdtool.train.fit.methods import method_loss
from kdtool.train.fit.optimizer import check_trainable, epochs_to_train
from kdtool.train.models.device import autocast, choose_precision
from kdtool.train.models.predict import class_logits, predict
from kdtool.train.pipeline.train_model import (
    ModelPlan,
    changes_of,
    plan_model,
    train_model,
    training_of,
)
from kdtool.train.run import SUBCLASSED, Run, Trained, load_model

Answers = Callable[[Batch], Tensor]  # logits of a teacher `(B, C * S)`


def train_role(run: Run, role: Role, models: Mapping[Role, list[Trained]]) -> list[Trained]:
    """Return all models of one role: those that are trained already, and the others trained now.

    Args:
        run: The study.
        role: Of the models.
        models: Contains the teachers of a student.
    """
    return [train_model(run, plan) for plan in plan_role(run, role, models)]


def plan_role(run: Run, role: Role, models: Mapping[Role, list[Trained]]) -> list[ModelPlan]:
    """Return the plans of all models of one role; nothing is trained.

    Args:
        run: The study.
        role: Of the models: one a seed of `Recipe.seeds_of`.
        models: Contains the teachers of a student: a student's key depends on its teacher's.
    """
    if role in TEACHER_OF:
        return plan_students(run, role, models[TEACHER_OF[role]])
    if role == "subclass-teacher":
        return plan_subclass_teachers(run)
    return plan_by_labels(run, role)


def plan_by_labels(run: Run, role: Role) -> list[ModelPlan]:
    """Return the plans of the teachers, or of the controls."""
    return [
        plan_model(run, role, seed, "cross-entropy", lambda: loss_by_labels(run, role))
        for seed in run.recipe.seeds_of(role)
    ]


def loss_by_labels(run: Run, role: Role) -> BatchLoss:
    """Return the loss of teachers and controls."""
    weights = class_weights(run, role)
    return lambda logits, batch: label_loss(logits, batch.targets, weights)


def plan_subclass_teachers(run: Run) -> list[ModelPlan]:
    """Return the plans of the subclass teachers: labels and the auxiliary loss."""
    table, num_classes = run.recipe.subclass, len(run.splits.classes)
    depends_on = ["subclasses", num_classes, table.auxiliary_weight, table.auxiliary_temperature]
    return [
        plan_model(run, "subclass-teacher", seed, depends_on, lambda: loss_by_subclasses(run))
        for seed in run.recipe.seeds_of("subclass-teacher")
    ]


def loss_by_subclasses(run: Run) -> BatchLoss:
    """Return the loss of subclass teachers."""
    table, num_classes = run.recipe.subclass, len(run.splits.classes)
    weight, temperature = table.auxiliary_weight, table.auxiliary_temperature
    class_weight = class_weights(run, "subclass-teacher")
    return lambda logits, batch: subclass_teacher_loss(
        logits, batch.targets, num_classes, weight, temperature, class_weight
    )


def plan_students(run: Run, role: Role, teachers: list[Trained]) -> list[ModelPlan]:
    """Return the plans of one student a seed.

    Args:
        run: The study.
        role: Of the students.
        teachers: One that teaches all of them, or one for each in the order of the seeds.
    """
    options = None if role in SUBCLASSED else run.recipe.distill.chosen
    pairs = with_teachers(run.recipe.seeds, teachers)
    if options is None:
        return [plan_by_kd(run, role, seed, teacher) for seed, teacher in pairs]
    return [plan_by_method(run, role, seed, teacher, options) for seed, teacher in pairs]


def with_teachers(seeds: list[int], teachers: list[Trained]) -> list[tuple[int, Trained]]:
    """Return the seed of each student with its teacher: one for all, or one for each in order."""
    return list(zip(seeds, teachers * len(seeds) if len(teachers) == 1 else teachers, strict=True))


def plan_by_kd(run: Run, role: Role, seed: int, teacher: Trained) -> ModelPlan:
    """Return the plan of a student that learns from the logits of `teacher` by kd."""
    table = kd_table(run, role)
    depends_on = [table.temperature, table.soft_weight, teacher.key]

    def make_loss() -> BatchLoss:
        return loss_by_kd(run, role, teacher_answers(run, teacher, role))

    answers = answers_stage(run, teacher, role)
    return plan_model(run, role, seed, depends_on, make_loss, teacher, answers)


def kd_table(run: Run, role: Role) -> DistillTable | SubclassTable:
    """Return the table with temperature and weight of a role that learns by kd."""
    return run.recipe.subclass if role in SUBCLASSED else run.recipe.distill


def loss_by_kd(run: Run, role: Role, answers: Answers) -> BatchLoss:
    """Return the loss of students that learn by kd from a teacher's answers."""
    table, num_classes = kd_table(run, role), len(run.splits.classes)
    temperature, soft_weight = table.temperature, table.soft_weight
    weights = class_weights(run, role)
    return lambda logits, batch: distillation_loss(
        logits, answers(batch), batch.targets, num_classes, temperature, soft_weight, weights
    )


def plan_by_method(
    run: Run, role: Role, seed: int, teacher: Trained, options: Options
) -> ModelPlan:
    """Return the plan of a student that learns from `teacher` by a method other than kd."""
    # With every value, defaults too: another default trains another student.
    num_warm = warm_up_steps(run, role, options)
    depends_on = [run.recipe.distill.method, options.model_dump(), num_warm, teacher.key]

    def make_loss() -> BatchLoss:
        return loss_by_method(run, role, teacher_answers(run, teacher, role), options)

    answers = answers_stage(run, teacher, role)
    return plan_model(run, role, seed, depends_on, make_loss, teacher, answers)


def loss_by_method(run: Run, role: Role, answers: Answers, options: Options) -> BatchLoss:
    """Return the loss of students that learn from a teacher's answers by a method other than kd."""
    num_warm, weights = warm_up_steps(run, role, options), class_weights(run, role)

    def batch_loss(logits: Tensor, batch: Batch) -> Tensor:
        share = min(1.0, (batch.step + 1) / num_warm) if num_warm else 1.0
        return method_loss(logits, answers(batch), batch.targets, options, share, weights)

    return batch_loss


def warm_up_steps(run: Run, role: Role, options: Options) -> int:
    """Return over how many steps the weight of a method's loss rises; 0: it does not."""
    if not isinstance(options, DkdOptions | RldOptions):
        return 0
    table, num_images = run.table(role), len(run.splits_of(role).train)
    epochs = options.warm_up
    if epochs is None:
        epochs = WARM_UP_SHARE * epochs_to_train(table, num_images)
    return round(epochs * steps_per_epoch(num_images, table.batch_size))


def check_method(run: Run) -> None:
    """Check that the student can learn by its method, and say how its loss is put together.

    Raises:
        RecipeError: The method has nothing to teach with two classes, or its warm-up is longer than
            the training.
    """
    table, options = run.recipe.distill, run.recipe.distill.chosen
    if options is None:
        return
    if len(run.splits.classes) == 2:
        if fault := two_classes_fault(table.method, options):
            raise RecipeError(fault)
        if warning := two_classes_warning(table.method):
            run.reporter.warn(warning)
    num_epochs = epochs_to_train(run.recipe.student, len(run.transfer.train))
    if fault := warm_up_fault(table, num_epochs):
        raise RecipeError(f"distill: {fault}")
    values = options.model_dump(exclude={"soft_weight", "warm_up"})
    given = ", ".join(f"{key} {value:g}" for key, value in values.items())
    if num_warm := warm_up_steps(run, "student", options):
        given += f", warm-up of {num_warm:,} steps"
    run.reporter.say(
        f"loss of the student: cross-entropy with the labels + {options.soft_weight:g} x "
        f"{table.method}{f' ({given})' if given else ''}; distill.temperature and "
        "distill.soft_weight are for kd only"
    )


def class_weights(run: Run, role: Role) -> Tensor | None:
    """Return the weights `(C,)` of the classes in the loss of the labels; None: all are 1."""
    if run.table(role).class_weights == "none":
        return None
    return balanced_weights(run.splits_of(role).train.labels, len(run.splits.classes))


def sees_fixed_images(run: Run, role: Role) -> bool:
    """Return whether the images that the models of a role see are known: unchanged, or views."""
    return training_of(run, role, seed=0).num_views is not None


def answers_stage(run: Run, teacher: Trained, role: Role) -> str | None:
    """Return the stage of `teacher_logits` that the students of a role need; None: none."""
    return logits_stage(run, teacher)[0] if sees_fixed_images(run, role) else None


def teacher_answers(run: Run, teacher: Trained, role: Role) -> Answers:
    """Return a function from a batch to the teacher's logits `(B, C * S)`.

    Where images are the same in every epoch, or a few views of them are, all logits are computed
    once, beforehand. Where they are drawn in each step, augmented or mixed, the teacher is
    evaluated on the same changed batch as the student.

    Args:
        run: The study.
        teacher: That the student learns from.
        role: Of the student.
    """
    if sees_fixed_images(run, role):
        targets = teacher_logits(run, teacher)
        if run.recipe.data.views:
            return lambda batch: targets[batch.view][batch.index]
        return lambda batch: targets[batch.index]
    model = load_model(run, teacher)
    precision = choose_precision(run.table(role).precision, run.device, model)

    def answer(batch: Batch) -> Tensor:
        with torch.no_grad(), autocast(run.device, precision):
            logits: Tensor = model(batch.images)
        return run.ranks.whole(logits.float(), len(batch.index))

    return answer


class TeacherTargets(Record):
    """The teacher's outputs on the images that the students learn from."""

    num_images: int
    accuracy: float  # of the teacher on these images


def teacher_logits(run: Run, teacher: Trained) -> Tensor:
    """Return the teacher's logits of the images that students learn from, on the device.

    They are computed once, in eval mode, and saved under a hash of the teacher and the data, so
    that they cannot be those of another teacher or of other images.

    Returns:
        `(N, C * S)`, in the order of the transfer set; with `data.views` `(K, N, C * S)`.
    """
    data, train = run.recipe.data, run.transfer.train
    name, key = logits_stage(run, teacher)
    path = run.study.folder / "predictions" / f"{name}.npy"

    def make() -> tuple[TeacherTargets, list[Path]]:
        model = load_model(run, teacher)
        if data.views:
            run.reporter.say(
                f"{teacher.role}: computing its logits of {plural(data.views, 'view')} of "
                f"{plural(len(train), 'training image')}"
            )
        logits = (
            on_views(model, train, data.augment, data.views)
            if data.views
            else predict(model, train)
        )
        calls = class_logits(logits.flatten(0, -2), len(run.splits.classes)).argmax(dim=1)
        right = calls.view(-1, len(train)) == train.labels
        with replaced(path) as unfinished:
            np.save(unfinished, logits.cpu().numpy())
        accuracy = right.float().mean().item()
        return TeacherTargets(num_images=len(train), accuracy=accuracy), [path]

    run.study.stage(name, key, TeacherTargets, make)
    return torch.from_numpy(np.load(path, allow_pickle=False)).to(run.device)


def logits_stage(run: Run, teacher: Trained) -> tuple[str, str]:
    """Return name and key of the stage of `teacher_logits`."""
    changes = changes_of(run) if run.recipe.data.views else []
    key = key_of(
        "teacher-logits", teacher.key, run.fingerprint, run.splits.result.excluded, *changes
    )
    return f"{teacher.role}-logits-{short_key(key)}", key


def on_views(model: nn.Module, train: Split, augment: Sequence[str], num_views: int) -> Tensor:
    """Return the logits `(K, N, C * S)` of a model on each view of each image."""
    view = view_maker(train, augment)

    def of(number: int) -> Tensor:
        return predict(model, train, lambda pixels, index: view(pixels, index, number))

    return torch.stack([of(number) for number in range(num_views)])


def check_subclasses(run: Run) -> None:
    """Check what subclass distillation needs, before anything is trained.

    Raises:
        RecipeError: The teacher is pretrained or has no head for subclasses, the batch is too
            small, or the subclasses are too many for the memory.
    """
    recipe = run.recipe
    if recipe.teacher.is_trained:
        raise RecipeError(
            f"[teacher] {recipe.teacher.without_paths.model} is pretrained, but a subclass teacher "
            "is trained here, with a head of subclasses: set `epochs` or phases, or use "
            "`kdtool distill`"
        )
    if recipe.teacher.batch_size == 1 and recipe.subclass.auxiliary_weight > 0:
        raise RecipeError(
            "got teacher.batch_size = 1, expected 2 or more: the auxiliary loss compares the "
            "images of a batch; subclass.auxiliary_weight = 0 turns it off"
        )
    check_memory(run)
    run.reporter.say(
        f"subclasses: {recipe.subclass.per_class} in each of {len(run.splits.classes)} classes; "
        "the loss of their teacher may be negative"
    )
    for role in SUBCLASSED:
        try:
            check_trainable(run.network(role), run.table(role), run.num_logits(role))
        except KdtoolError as error:
            num_classes, per_class = len(run.splits.classes), recipe.subclass.per_class
            raise RecipeError(
                f"{error}; a {role} needs a head of {run.num_logits(role)} logits, "
                f"{num_classes} classes of {per_class} subclasses each"
            ) from error


def check_memory(run: Run) -> None:
    """Raise RecipeError if the logits of the subclass teacher cannot fit into memory."""
    per_class, num_images = run.recipe.subclass.per_class, len(run.transfer.train)
    # float32: the logits twice, while they are concatenated, and a head of some 1,000 inputs with
    # its gradient and Adam's two moments.
    num_known = num_images * (run.recipe.data.views or 1)
    needed = 4 * run.num_logits("subclass-teacher") * (2 * num_known + 4 * 1000)
    memory = memory_of(run.device)
    if memory is not None and needed > memory:
        most = max(1, per_class * memory // needed)
        raise RecipeError(
            f"got subclass.per_class = {per_class:,}, expected at most {most:,}: the logits of "
            f"{num_images:,} images, for {len(run.splits.classes)} classes of {per_class:,} "
            f"subclasses, take about {needed / 2**30:,.1f} GiB, and this {run.device.type} has "
            f"{memory / 2**30:,.1f} GiB; 2 to 10 are usual"
        )


def memory_of(device: torch.device) -> int | None:
    """Return the bytes of memory of a device; None if the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    return collect_environment(None).memory_bytes
