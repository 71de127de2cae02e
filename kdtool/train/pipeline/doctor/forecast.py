"""How long a study will train, and how much memory and disk it will take."""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from kdtool.edge.latency.worker import peak_bytes
from kdtool.errors import KdtoolError
from kdtool.recipe.training import TrainTable
from kdtool.results.base import TEACHER_OF, Role
from kdtool.results.commands.check import ModelsToTrain
from kdtool.results.commands.doctor import Forecast, ModelForecast
from kdtool.train.fit.batches import steps_per_epoch
from kdtool.train.fit.loop import REMEDY
from kdtool.train.fit.optimizer import phases_of
from kdtool.train.models.trained_teacher import MOST_IMAGES
from kdtool.train.pipeline.parallel.share import Share, share_of
from kdtool.train.pipeline.roles import sees_fixed_images
from kdtool.train.pipeline.steps import Timed, time_forward, time_steps
from kdtool.train.pipeline.workload import epochs_with_images
from kdtool.train.run import TEACHERS, Run

START_SECONDS = 10.0  # of the processes that train: Python, PyTorch and the data
# What a study has beside weights and predictions: report, figures, records. Of kdtool's recipes.
OTHER_BYTES = 5_000_000
# That evaluation, export and report add to the peak of training: 230 and 300 MB in two studies.
FILES_MEMORY_BYTES = 300_000_000
MOMENTS = {"adam": 2, "adamw": 2, "sgd": 1}  # that an optimizer keeps for each weight
OF_FP32 = {"fp32": 1.0, "fp16": 0.5, "int8": 0.3}  # size of a file


@dataclass(frozen=True, slots=True)
class Cost:
    """What the training of one model of a role takes."""

    num_steps: int
    num_timed: int
    seconds: float
    step_seconds: float | None  # None: nothing learns
    forward_seconds: float  # of an image

    def of(self, models: ModelsToTrain) -> ModelForecast:
        """Return it for the models of a role."""
        return ModelForecast(
            role=models.role,
            num_models=models.num_models,
            num_trained=models.num_trained,
            num_steps=self.num_steps,
            num_timed=self.num_timed,
            step_seconds=self.step_seconds,
            seconds=self.seconds,
        )


def forecast(run: Run, models: Sequence[ModelsToTrain], jobs: int | None) -> Forecast:
    """Time the networks of a study, and add up what is missing.

    Args:
        run: The study.
        models: How many of each role there are and are trained.
        jobs: As of `distill`.

    Raises:
        KdtoolError: A batch does not fit into memory, or a loss is not finite.
    """
    by_role = {one.role: one for one in models}
    teachers = [one for one in by_role if one in TEACHERS]
    others = [one for one in by_role if one not in TEACHERS]
    shares = {
        role: share_of(run, jobs, None, [one for one in wave for _ in run.recipe.seeds_of(one)])
        for wave in (teachers, others)
        for role in wave
    }
    costs = {role: cost_of(run, role, shares[role]) for role in by_role}
    seconds = sum(wave_seconds(by_role, costs, shares, wave) for wave in (teachers, others))
    seconds += sum(answer_seconds(run, role, costs, by_role) for role in others)
    share = shares[others[0]]
    return Forecast(
        models=[costs[role].of(by_role[role]) for role in by_role],
        jobs=share.jobs,
        threads=share.threads,
        seconds=seconds,
        memory_bytes=memory_bytes(run, max(one.jobs for one in shares.values())),
        disk_bytes=disk_bytes(run, list(by_role), share.jobs),
        assumptions=assumptions(run, shares, costs),
    )


def cost_of(run: Run, role: Role, share: Share) -> Cost:
    """Time a network, and return what the training of one model takes.

    Raises:
        KdtoolError: A batch does not fit into memory, or a loss is not finite.
    """
    table, splits = run.table(role), run.splits_of(role)
    before = torch.get_num_threads()
    torch.set_num_threads(share.threads)
    try:
        if table.is_trained:
            model = run.build(role, run.recipe.seeds[0], pretrained=True).to(run.device)
            forward = time_forward(run, role, model)
            num_images = len(splits.validation) + min(MOST_IMAGES, len(splits.train))
            return Cost(0, 0, forward * num_images, None, forward)
        phases = phases_of(table, len(splits.train))
        timed = {phase.train: time_steps(run, role, phase) for phase in phases}
    finally:
        torch.set_num_threads(before)
    for one in timed.values():
        check_losses(one, role)
    epochs = [(epochs_with_images(run, role, phase), timed[phase.train]) for phase in phases]
    return training_cost(
        epochs,
        sum(phase.epochs for phase in phases),
        len(splits.train),
        len(splits.validation),
        table.batch_size,
    )


def training_cost(
    epochs: Sequence[tuple[int, Timed]],
    num_epochs: int,
    num_train: int,
    num_validation: int,
    batch_size: int,
) -> Cost:
    """Return what training takes, from what its steps and its validation take.

    Args:
        epochs: Of each phase those in which images pass the network, and what was timed.
        num_epochs: All of them; what a head alone takes on stored features is left out.
        num_train: Images of an epoch.
        num_validation: Images that are validated after each.
        batch_size: Images of a step.
    """
    seconds = sum(
        number
        * (
            num_train * one.image_seconds
            + num_validation * one.forward_seconds
            + one.refresh_seconds
        )
        for number, one in epochs
    )
    total = sum(number for number, _ in epochs)
    return Cost(
        num_steps=num_epochs * steps_per_epoch(num_train, batch_size),
        num_timed=sum(one.num_steps for _, one in epochs),
        seconds=seconds,
        step_seconds=sum(number * one.step_seconds for number, one in epochs) / total,
        forward_seconds=max(one.forward_seconds for _, one in epochs),
    )


def check_losses(timed: Timed, role: Role) -> None:
    """Raise KdtoolError if a loss of the timed steps is not finite."""
    for number, loss in enumerate(timed.losses, start=1):
        if not math.isfinite(loss):
            raise KdtoolError(f"the loss of the {role} is {loss} in step {number}; {REMEDY}")


def wave_seconds(
    models: Mapping[Role, ModelsToTrain],
    costs: Mapping[Role, Cost],
    shares: Mapping[Role, Share],
    wave: Sequence[Role],
) -> float:
    """Return how long models take that are trained at the same time as far as there is room.

    Args:
        models: By role.
        costs: By role.
        shares: By role; of equal jobs in a wave.
        wave: The roles, in the order in which they begin.
    """
    lengths = [
        costs[role].seconds
        for role in wave
        for _ in range(models[role].num_models - models[role].num_trained)
    ]
    if not lengths:
        return 0.0
    jobs = shares[wave[0]].jobs
    return finished_after(lengths, jobs) + (START_SECONDS if jobs > 1 else 0.0)


def finished_after(lengths: Sequence[float], jobs: int) -> float:
    """Return when the last of some tasks is done, each of which begins when a worker is free."""
    workers = [0.0] * jobs
    for length in lengths:
        heapq.heapreplace(workers, workers[0] + length)
    return max(workers)


def answer_seconds(
    run: Run, role: Role, costs: Mapping[Role, Cost], models: Mapping[Role, ModelsToTrain]
) -> float:
    """Return how long the teachers of a role answer its images beforehand; 0: they do not."""
    teacher = TEACHER_OF.get(role)
    done = models[role].num_trained == models[role].num_models
    if teacher is None or done or not sees_fixed_images(run, role):
        return 0.0
    num_images = len(run.splits_of(role).train) * (run.recipe.data.views or 1)
    return models[teacher].num_models * num_images * costs[teacher].forward_seconds


def memory_bytes(run: Run, jobs: int) -> int | None:
    """Return about the most memory of all processes together, after all networks were timed."""
    if run.device.type == "cuda":
        return jobs * torch.cuda.max_memory_reserved(run.device)
    peak = peak_bytes()
    if peak is None:
        return None
    return peak * (jobs + 1 if jobs > 1 else 1) + FILES_MEMORY_BYTES


def disk_bytes(run: Run, roles: Sequence[Role], jobs: int) -> int:
    """Return about how much disk a study takes at most.

    Args:
        run: The study.
        roles: Of its models.
        jobs: Models that are trained at the same time.
    """
    total, state = OTHER_BYTES, 0
    for role in roles:
        num_models, size = len(run.recipe.seeds_of(role)), weights_bytes(run, role)
        if not run.table(role).is_onnx:  # a file of the user's is not copied
            total += (num_models + 1) * size  # weights, and the ONNX file of one of them
        answers = 4 * run.num_logits(role)
        total += num_models * len(run.splits.test) * answers
        if (teacher := TEACHER_OF.get(role)) and sees_fixed_images(run, role):
            views = run.recipe.data.views or 1
            num_teachers = len(run.recipe.seeds_of(teacher))
            total += num_teachers * views * len(run.splits_of(role).train) * answers
        if not run.table(role).is_trained:
            state = max(state, size * state_copies(run.table(role)))
    shares = [OF_FP32[one] for one in run.recipe.export.precisions if one != "fp32"]
    return int(total + jobs * state + sum(shares) * weights_bytes(run, "student"))


def state_copies(table: TrainTable) -> int:
    """Return how often the weights are in the state of an unfinished training."""
    return 2 + MOMENTS[table.optimizer] + (1 if table.ema else 0)  # the model, and the best epoch


def weights_bytes(run: Run, role: Role) -> int:
    """Return the size of the weights of one model."""
    if run.table(role).is_onnx:
        return Path(run.table(role).model).stat().st_size
    return sum(one.nbytes for one in run.network(role).state_dict().values())


def assumptions(run: Run, shares: Mapping[Role, Share], costs: Mapping[Role, Cost]) -> list[str]:
    """Return what the figures of `forecast` rest on, in words."""
    timed = max(one.num_timed for one in costs.values())
    found = [
        f"all epochs of all phases and seeds at the mean speed of {timed} steps, with the load "
        "that the machine has now; early_stop, evaluation, ONNX files, profiling and "
        "saliency maps are not in it",
        "memory: the peak of this process after these steps"
        + (", for each process that trains" if any(s.jobs > 1 for s in shares.values()) else "")
        + (", and 300 MB for evaluation and files" if run.device.type == "cpu" else ""),
    ]
    if any(one.jobs > 1 for one in shares.values()):
        found.append(
            "models that are trained at the same time do not slow each other down; they share "
            "caches and memory, so they do"
        )
    return found
