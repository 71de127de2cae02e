"""What is left to train: how many models, and about how long they take, before and meanwhile."""

import copy
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kdtool.edge.latency.worker import peak_bytes
from kdtool.format import count, file_size, listed, plural, role_name
from kdtool.recipe.schema import Recipe
from kdtool.results.base import ROLES, TEACHER_OF, Role
from kdtool.stats.power import expected_visible
from kdtool.train.fit.batches import Batch, batch_maker
from kdtool.train.fit.features import is_head
from kdtool.train.fit.loop import Passes, Step, smaller_batches, training_step
from kdtool.train.fit.optimizer import Phase, freeze, make_optimizer, phases_of
from kdtool.train.models.device import choose_precision, explain_out_of_memory
from kdtool.train.models.predict import class_logits
from kdtool.train.pipeline.parallel.share import Cluster, Share, share_of
from kdtool.train.pipeline.roles import plan_role, sees_fixed_images
from kdtool.train.pipeline.sweep import Settings
from kdtool.train.pipeline.train_model import find_trained, learns_from_features, training_of
from kdtool.train.ranks.group import ALONE
from kdtool.train.reporter import Reporter, Update
from kdtool.train.run import TEACHERS, Run

Tried = Mapping[Role, Sequence[tuple[Settings, Recipe]]]

NUM_STEPS = 3  # that are timed, after one that is not
ENOUGH = 3.0  # seconds; a slower step is timed once
FORWARD = 1 / 3  # of a step of training: the backward pass takes twice as long
TRUSTED = 0.02  # share of the work after which the time that it took predicts the rest


class Workload:
    """A reporter that numbers the models and says how long all that are left will take."""

    def __init__(self, reporter: Reporter, seconds: Sequence[float], jobs: int) -> None:
        """Show on `reporter`.

        Args:
            reporter: What shows it.
            seconds: That each model is expected to take, in the order of training.
            jobs: How many are trained at a time.
        """
        self.reporter, self.seconds, self.jobs = reporter, seconds, jobs
        self.done = [0.0] * len(seconds)  # of `seconds`
        self.skipped = 0.0  # of `seconds`: what an interrupted run had done
        self.num_begun = 0
        self.began = time.perf_counter()

    def say(self, text: str) -> None:
        """Pass a message on."""
        self.reporter.say(text)

    def warn(self, text: str) -> None:
        """Pass a warning on."""
        self.reporter.warn(text)

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Update]:
        """Show the progress of one model, and the time left for all of them."""
        number, num_models = self.num_begun, len(self.seconds)
        self.num_begun += 1
        if num_models == 1 or number >= num_models:  # nothing to add, or not one of the models
            with self.reporter.progress(title, total) as update:
                yield update
            return
        self.done[number] = -1.0  # until its first report, which says where it resumes

        def show(done: int, text: str) -> None:
            share = done / total * self.seconds[number]
            if self.done[number] < 0:
                self.skipped += share
            self.done[number] = share
            update(done, f"{text}; all models: {roughly(self.left())} left")

        numbered = f"model {number + 1} of {num_models}: {title}"
        with self.reporter.progress(numbered, total) as update:
            yield show
        self.done[number] = self.seconds[number]

    def left(self) -> float:
        """Return about how many seconds of training are left."""
        total, done = sum(self.seconds), sum(max(0.0, one) for one in self.done)
        fresh = done - self.skipped
        elapsed = time.perf_counter() - self.began
        rate = elapsed / fresh if fresh > TRUSTED * total else 1 / self.jobs
        return max(0.0, (total - done) * rate)


def numbered(run: Run, tried: Tried, jobs: int | None, cluster: Cluster | None = None) -> Run:
    """Say what is to be trained and about how long it takes; return a run that counts it.

    Args:
        run: The study.
        tried: Of `settings_of`.
        jobs: Number of training processes; None: chosen by `jobs_of`.
        cluster: That trains them; its processors are taken to be as fast as this one. None: this
            machine does.
    """
    models = missing_models(run, tried)
    if not models:
        return run
    roles = [r for r in tried if r not in TEACHERS for _, one in tried[r] for _ in one.seeds]
    share = Share(1, torch.get_num_threads())
    if not run.ranks.are_several:
        share = share_of(run, jobs, cluster, roles)
    jobs = share.jobs
    costs = Costs(run, share.threads)
    seconds = [costs.seconds(role, recipe) / run.ranks.count for role, recipe in models]
    counts = Counter(role for role, _ in models)
    names = listed([plural(counts[role], role_name(role)) for role in ROLES if counts[role]])
    together = f" in {jobs} processes" if jobs > 1 else ""
    if cluster is not None:
        together += f" on {plural(len(cluster.nodes), 'node')} of a Ray cluster"
    together += f" on {run.ranks.count} ranks" if run.ranks.are_several else ""
    memory = peak_memory(run.device)
    if run.device.type == "cuda":
        torch.cuda.empty_cache()  # processes that train need it
    room = f", {file_size(memory)} of memory{' each' if jobs > 1 else ''}" if memory else ""
    run.reporter.say(
        f"to train: {names}; expected: {roughly(sum(seconds) / jobs)}{together} on "
        f"{run.device.type}{room}"
    )
    if run.recipe.metric == "accuracy":
        seeds, num_test = len(run.recipe.seeds), len(run.splits.test)
        run.reporter.say(
            f"{count(num_test)} test images and {plural(seeds, 'seed')} can detect differences of "
            f"about {100 * expected_visible(seeds, num_test):.1f} points or more, if seeds vary as "
            "little as on MNIST; otherwise more of both are needed (docs/statistics.md)"
        )
    return replace(run, reporter=Workload(run.reporter, seconds, jobs))


def missing_models(run: Run, tried: Tried) -> list[tuple[Role, Recipe]]:
    """Return the models that are still to be trained, each with its recipe, in their order.

    Args:
        run: The study.
        tried: Of `settings_of`.
    """
    missing, seen = [], set()
    for role, settings in tried.items():
        for _, recipe in settings:
            asked = replace(run, recipe=recipe)
            models = {}
            if teacher := TEACHER_OF.get(role):
                found = [find_trained(asked, one) for one in plan_role(asked, teacher, {})]
                models[teacher] = [one for one in found if one]
                # The keys of a missing teacher's students are not known; they are missing too.
                if len(models[teacher]) < len(found):
                    missing += [(role, recipe)] * len(recipe.seeds)
                    continue
            for plan in plan_role(asked, role, models):
                is_new = plan.checkpoint not in seen and not asked.table(role).is_trained
                if is_new and find_trained(asked, plan) is None:
                    missing.append((role, recipe))
                seen.add(plan.checkpoint)
    return missing


class Costs:
    """How long models take to train, from a few steps of each network on this machine."""

    def __init__(self, run: Run, threads: int) -> None:
        """Time with `threads` threads of PyTorch, as each process will have."""
        self.run, self.threads = run, threads
        self._per_image: dict[str, float] = {}

    def seconds(self, role: Role, recipe: Recipe) -> float:
        """Return about how many seconds the training of a model takes."""
        run = replace(self.run, recipe=recipe)
        table, splits = run.table(role), run.splits_of(role)
        num_images, num_validation = len(splits.train), len(splits.validation)
        total = 0.0
        for phase in phases_of(table, num_images):
            step = self._step(run, role, phase)
            images = num_images * step + num_validation * FORWARD * step
            if (teacher := TEACHER_OF.get(role)) and not sees_fixed_images(run, role):
                images += num_images * FORWARD * self._step(run, teacher, phase, forward=True)
            total += epochs_with_images(run, role, phase) * images
        return total

    def _step(self, run: Run, role: Role, phase: Phase, *, forward: bool = False) -> float:
        """Return the seconds that an image takes in a phase; with `forward`, 3 forward passes."""
        if forward:
            phase = replace(phase, train="all")
        key = f"{run.num_logits(role)} {phase.train} {forward} {run.table(role).model_dump_json()}"
        if key not in self._per_image:
            before = torch.get_num_threads()
            torch.set_num_threads(self.threads)
            try:
                self._per_image[key] = seconds_per_image(run, role, phase, forward=forward)
            finally:
                torch.set_num_threads(before)
        return self._per_image[key]


def epochs_with_images(run: Run, role: Role, phase: Phase) -> int:
    """Return in how many epochs of a phase images pass the network, and not just its head."""
    num_views = training_of(run, role, 0).num_views
    if num_views is None or not learns_from_features(run, role):
        return phase.epochs
    alone = is_head(run.network(role), phase.train, run.num_logits(role))
    return min(phase.epochs, num_views) if alone else phase.epochs


def seconds_per_image(run: Run, role: Role, phase: Phase, *, forward: bool) -> float:
    """Time a few steps of training of a copy of a role's network; with `forward`, forward passes.

    Returns:
        Seconds of a step for each image; a forward pass counts as `FORWARD` of one.

    Raises:
        KdtoolError: A batch does not fit into memory.
    """
    table, splits = run.table(role), run.splits_of(role)
    num_classes, num_logits = len(splits.classes), run.num_logits(role)
    training = training_of(replace(run, ranks=ALONE), role, run.recipe.seeds[0])
    make_batch = batch_maker(splits.train, training, num_classes)
    model = run.network(role) if table.is_onnx else copy.deepcopy(run.network(role))
    model.to(device=run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    index = torch.arange(min(table.batch_size, len(splits.train)), device=run.device)

    def loss_of(logits: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(class_logits(logits, num_classes), batch.targets)

    step: Step = lambda number, index: model(make_batch(number, index).images)  # noqa: E731
    if not forward:
        freeze(model.train(), phase.train, num_logits)
        optimizer = make_optimizer(model, table, phase, num_logits)
        precision = choose_precision(table.precision, run.device, model)
        # Where a batch passes in parts, training says so.
        passes = Passes(precision, warn=lambda _: None)
        step = training_step(model, optimizer, make_batch, loss_of, lambda _: 1.0, passes)
    with (
        torch.random.fork_rng(devices=[run.device] if run.device.type == "cuda" else []),
        torch.set_grad_enabled(not forward),
        explain_out_of_memory(table.batch_size, run.image_shape, smaller_batches(table)),
    ):
        first = timed(step, 0, index)
        rest = [timed(step, number + 1, index) for number in range(NUM_STEPS * (first < ENOUGH))]
    seconds = min([first, *rest]) / len(index)
    return seconds / FORWARD if forward else seconds


def timed(step: Step, number: int, index: Tensor) -> float:
    """Return the seconds that a step takes, until its result is there."""
    began = time.perf_counter()
    step(number, index).sum().item()
    return time.perf_counter() - began


def roughly(seconds: float) -> str:
    """Return an expected length of time, such as "40 s", "12 min" or "3.5 h"."""
    minutes = seconds / 60
    if seconds < 10:
        return "10 s or less"
    if minutes < 1.5:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def peak_memory(device: torch.device) -> int | None:
    """Return the most bytes that this process has used so far; None: not known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return peak_bytes() if device.type == "cpu" else None
