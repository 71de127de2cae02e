"""What is left to train: how many models, and about how long they take, before and meanwhile."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from kdtool.edge.latency.worker import peak_bytes
from kdtool.format import count, file_size, listed, plural, role_name
from kdtool.recipe.schema import Recipe
from kdtool.results.base import ROLES, TEACHER_OF, Role
from kdtool.stats.power import expected_visible
from kdtool.train.fit.features import is_head
from kdtool.train.fit.memory import free_memory, give_back_memory
from kdtool.train.fit.optimizer import Phase, phases_of
from kdtool.train.pipeline.parallel.pieces import Tried
from kdtool.train.pipeline.parallel.share import Cluster, Share, share_of
from kdtool.train.pipeline.roles import plan_role, sees_fixed_images
from kdtool.train.pipeline.steps import QUICK, Timed, time_steps
from kdtool.train.pipeline.train_model import find_trained, learns_from_features, training_of
from kdtool.train.reporter import Reporter, Silent, Update
from kdtool.train.run import TEACHERS, Run

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
        self.began = 0.0  # when the first model was: what comes before, such as targets, takes long

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
        if number == 0:
            self.began = time.perf_counter()
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


def numbered(
    run: Run,
    tried: Tried,
    models: Sequence[tuple[Role, Recipe]],
    jobs: int | None,
    cluster: Cluster | None = None,
) -> Run:
    """Say what is to be trained and about how long it takes; return a run that counts it.

    Args:
        run: The study.
        tried: Of `settings_of`.
        models: Of `missing_models`.
        jobs: Number of training processes; None: chosen by `jobs_of`.
        cluster: That trains them; its processors are taken to be as fast as this one. None: this
            machine does.
    """
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
    memory = peak_memory(run.device, 1 if cluster else jobs)
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
        self.run, self.threads = replace(run, reporter=Silent()), threads
        self._timed: dict[str, Timed] = {}

    def seconds(self, role: Role, recipe: Recipe) -> float:
        """Return about how many seconds the training of a model takes."""
        run = replace(self.run, recipe=recipe)
        splits, total = run.splits_of(role), 0.0
        for phase in phases_of(run.table(role), len(splits.train)):
            one = self._of(run, role, phase)
            epoch = len(splits.train) * one.image_seconds
            epoch += len(splits.validation) * one.forward_seconds
            total += epochs_with_images(run, role, phase) * epoch
        return total

    def _of(self, run: Run, role: Role, phase: Phase) -> Timed:
        """Time the steps of a phase, once for all seeds and for settings that cost the same."""
        asks = role in TEACHER_OF and not sees_fixed_images(run, role)
        table = run.table(role).model_dump_json()
        key = f"{run.num_logits(role)} {phase.train} {asks} {table}"
        if key not in self._timed:
            before = torch.get_num_threads()
            torch.set_num_threads(self.threads)
            try:
                self._timed[key] = time_steps(run, role, phase, QUICK)
            finally:
                torch.set_num_threads(before)
        return self._timed[key]


def epochs_with_images(run: Run, role: Role, phase: Phase) -> int:
    """Return in how many epochs of a phase images pass the network, and not just its head."""
    num_views = training_of(run, role, 0).num_views
    if num_views is None or not learns_from_features(run, role):
        return phase.epochs
    alone = is_head(run.network(role), phase.train, run.num_logits(role))
    return min(phase.epochs, num_views) if alone else phase.epochs


def roughly(seconds: float) -> str:
    """Return an expected length of time, such as "40 s", "12 min" or "3.5 h"."""
    minutes = seconds / 60
    if seconds < 10:
        return "10 s or less"
    if minutes < 1.5:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def peak_memory(device: torch.device, processes: int) -> int | None:
    """Return the most bytes that this process has used so far; None: not known.

    Args:
        device: Whose memory.
        processes: That share what is free now, if several are to train.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    peak = peak_bytes() if device.type == "cpu" else None
    if peak is None or processes == 1:
        return peak
    give_back_memory()
    free = free_memory()
    return peak if free is None else min(peak, free // processes)
