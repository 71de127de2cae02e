"""What `kdtool doctor RECIPE` finds out: data, models, teacher, arithmetic, time and room."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch

from kdtool.edge.machine.check import folder_of
from kdtool.edge.machine.resources import in_words, judge_folder
from kdtool.environment import memory
from kdtool.errors import KdtoolError, StudyError, reason
from kdtool.format import duration, keyboard_text, plural, score_with_name
from kdtool.recipe.schema import Recipe
from kdtool.results.commands.check import ModelsToTrain
from kdtool.results.commands.doctor import Detectable, Finding, Forecast, Mark
from kdtool.stats.power import TYPICAL, expected_visible
from kdtool.study.folder import Study
from kdtool.study.ownership import check_owner, files_made_otherwise
from kdtool.train.data.splits import Splits
from kdtool.train.models.device import choose_device, gpu_name, has_bf16
from kdtool.train.models.trained_teacher import evaluate_pretrained
from kdtool.train.pipeline.check import check_elsewhere, models_of
from kdtool.train.pipeline.doctor.arithmetic import arithmetic
from kdtool.train.pipeline.doctor.forecast import forecast
from kdtool.train.pipeline.parallel.processes import start_method
from kdtool.train.reporter import Reporter, Update
from kdtool.train.run import Run, announce_data, check_models, check_recipe, load_data

T = TypeVar("T")
STOPS = "the study stops here"
FEW_TEST = 10  # images of a class; one is then 10 points of its accuracy or more
SHARES = (TYPICAL.image + TYPICAL.rest, 0.05, 0.1, 0.2)  # that one of two models alone gets right
BLUNT = 0.05  # a study that only shows larger differences of accuracy shows hardly any


@dataclass(frozen=True)
class Examined:
    """What was found out about a recipe."""

    findings: list[Finding]
    forecast: Forecast | None = None
    num_test: int | None = None
    detectable: list[Detectable] = field(default_factory=list)


class Notes:
    """A reporter that keeps what it is told, and shows progress on another one."""

    def __init__(self, reporter: Reporter) -> None:
        """Show progress on `reporter`."""
        self.reporter = reporter
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, text: str) -> None:
        """Keep a message."""
        self.said.append(text)

    def warn(self, text: str) -> None:
        """Keep a warning, once."""
        if text not in self.warned:
            self.warned.append(text)

    def progress(self, title: str, total: int) -> AbstractContextManager[Update]:
        """Show the progress."""
        return self.reporter.progress(title, total)

    def take(self, topic: str) -> list[Finding]:
        """Return the warnings since the last call as findings."""
        warned, self.warned = self.warned, []
        means = "the study runs; read this before you trust its result"
        return [Finding(topic=topic, mark="warning", found=text, means=means) for text in warned]


def examine_recipe(
    folder: Path,
    recipe: Recipe,
    reporter: Reporter,
    *,
    device_name: str,
    jobs: int | None,
    subclasses: bool = False,
) -> Examined:
    """Look at all that a study needs; where something is wrong, go on with what can be known.

    Args:
        folder: Of the study. It is neither made nor changed.
        recipe: Of the study.
        reporter: Shows progress.
        device_name: As of `distill`.
        jobs: As of `distill`.
        subclasses: Whether for subclass-distill.
    """
    notes, findings = Notes(reporter), list[Finding]()
    seeds = recipe.seeds

    device = attempt(findings, "device", lambda: choose_device(device_name))
    if device is None:
        return Examined(findings)
    findings.append(_device(device))
    reporter.say(f"computing losses on {device}")
    findings.append(arithmetic(recipe, device))
    attempt(findings, "models", lambda: check_recipe(recipe, device))

    reporter.say("reading the data")
    loaded = attempt(findings, "data", lambda: load_data(recipe, device, notes))
    if loaded is None:
        return Examined(findings)
    splits, transfer = loaded
    announce_data(splits, transfer, notes)
    findings += [_data(splits), *_classes(splits), *notes.take("data")]
    num_test = len(splits.test)
    detectable = detectable_by(len(seeds), num_test)
    findings.append(_visible(recipe, num_test, detectable))

    run = Run(Study(folder, notes.warn), recipe, splits, transfer, device, notes)
    if any(one.mark == "fails" for one in findings):
        return Examined(findings, None, num_test, detectable)
    reporter.say("building the models")
    models = attempt(findings, "models", lambda: _models(run, subclasses=subclasses))
    findings += notes.take("models")
    if models is None:
        return Examined(findings, None, num_test, detectable)
    findings.append(_what_is_trained(models))
    reporter.say("asking the teacher")
    _teacher(run, findings)
    reporter.say("training for a few steps")
    expected = attempt(findings, "training steps", lambda: forecast(run, models, jobs))
    if expected is not None:
        findings += [_time(expected, device), _memory(expected, device)]
        if expected.jobs > 1:
            findings.append(_processes(expected.jobs))
        findings.append(_disk(expected, folder))
    findings += notes.take("training")
    return Examined(findings, expected, num_test, detectable)


def attempt(findings: list[Finding], topic: str, make: Callable[[], T]) -> T | None:
    """Return what `make` returns; None where it fails, which becomes a finding.

    Args:
        findings: Gets it.
        topic: Of the finding.
        make: Raises KdtoolError where the user can fix something, with a message that says how.
    """
    try:
        return make()
    except KdtoolError as error:
        findings.append(Finding(topic=topic, mark="fails", found=str(error), means=STOPS))
    return None


def detectable_by(num_seeds: int, num_test: int) -> list[Detectable]:
    """Return the differences that a study detects, under assumptions from mild to harsh."""
    return [
        Detectable(share=share, visible=expected_visible(num_seeds, num_test, share))
        for share in SHARES
    ]


def _device(device: torch.device) -> Finding:
    name = gpu_name(device) or "the processor"
    arithmetic = "bf16 and fp32" if has_bf16(device) else "fp32"
    return Finding(
        topic="device",
        mark="ok",
        found=f"{device}: {name}, {arithmetic}",
        means="models are trained there",
    )


def _data(splits: Splits) -> Finding:
    result = splits.result
    return Finding(
        topic="data",
        mark="ok",
        found=f"{result.description}: {result.num_train:,} training, {result.num_validation:,} "
        f"validation and {result.num_test:,} test images",
        means="they can be read, and were compared with each other",
    )


def _classes(splits: Splits) -> list[Finding]:
    """Return what is to be said of the number of images of each class."""
    result = splits.result
    counts = result.class_counts
    names, smallest = result.classes, {split: min(counts[split]) for split in counts}
    found = f"{len(names):,} classes, each with at least " + ", ".join(
        f"{smallest[split]:,} {split}" for split in ("train", "validation", "test")
    )
    found += " images"
    if smallest["test"] >= FEW_TEST:
        return [Finding(topic="classes", mark="ok", found=found, means="each can be scored")]
    few = [name for name, number in zip(names, counts["test"], strict=True) if number < FEW_TEST]
    return [
        Finding(
            topic="classes",
            mark="warning",
            found=f"{found}; fewer than {FEW_TEST} to test {', '.join(few[:5])}"
            + (f" and {len(few) - 5} more" if len(few) > 5 else ""),
            means="one image is 10 points or more of the accuracy of such a class",
            fix="add test images, or merge classes with data.group",
        )
    ]


def _visible(recipe: Recipe, num_test: int, detectable: list[Detectable]) -> Finding:
    """Return the smallest difference that will be detected, under the mildest assumption."""
    least, seeds = detectable[0].visible, len(recipe.seeds)
    found = f"{plural(num_test, 'test image')} and {plural(seeds, 'seed')}"
    means = (
        f"differences of {100 * least:.1f} points of accuracy or more will be seen if student and "
        "control differ as little as on MNIST, and only larger ones otherwise"
    )
    if recipe.metric != "accuracy":
        means += f"; for {recipe.metric} there is no such forecast"
    mark: Mark = "ok"
    fix = None
    if least > BLUNT:
        mark, fix = "warning", "more test images, or more seeds"
    if seeds == 1:
        mark, fix = "warning", "seeds = [0, 1, 2, 3, 4]"
        means += "; with one seed, the verdict is about that seed only"
    return Finding(topic="evidence", mark=mark, found=found, means=means, fix=fix)


def _models(run: Run, *, subclasses: bool) -> list[ModelsToTrain]:
    """Check models, settings and folder, and return what there is to train.

    Raises:
        KdtoolError: They cannot be used.
    """
    if run.study.is_locked():
        raise StudyError(
            f"{run.study.folder} is in use by another kdtool run; wait for it, or choose another "
            "folder with --out"
        )
    check_models(run)
    check_owner(run.study, run.recipe, run.splits.result, sweep={})
    for text in files_made_otherwise(run.study, run.recipe):
        run.reporter.warn(text)
    check_elsewhere(run, subclasses=subclasses)
    return models_of(run, subclasses=subclasses)


def _what_is_trained(models: list[ModelsToTrain]) -> Finding:
    total = [plural(one.num_models, one.role) for one in models]
    trained = sum(one.num_trained for one in models)
    return Finding(
        topic="models",
        mark="ok",
        found=f"{', '.join(total)}; {trained} of them are trained already",
        means="they fit the images, learn and can be exported",
    )


def _teacher(run: Run, findings: list[Finding]) -> None:
    """Find out whether a pretrained teacher knows the classes, and in which order."""
    if not run.table("teacher").is_trained:
        findings.append(
            Finding(
                topic="teacher",
                mark="ok",
                found="it is trained by this study",
                means="whether it is above chance, and better than the control, is checked before "
                "the students are trained",
            )
        )
        return
    model = run.build("teacher", run.recipe.seeds[0], pretrained=True).to(run.device)
    result = attempt(
        findings,
        "teacher",
        lambda: evaluate_pretrained(model, run.splits_of("teacher"), run.recipe.metric),
    )
    if result is not None:
        score = keyboard_text(score_with_name(run.recipe.metric, result.best.score))
        findings.append(
            Finding(
                topic="teacher",
                mark="ok",
                found=f"pretrained; {score} on {len(run.splits.validation):,} validation images",
                means="it is above chance, and its classes are in the order of the data",
            )
        )


def _time(expected: Forecast, device: torch.device) -> Finding:
    text = keyboard_text(duration(expected.seconds))
    steps = sum(one.num_timed for one in expected.models)
    return Finding(
        topic="time",
        mark="ok",
        found=f"{text} of training on {device}, from {plural(steps, 'step')}",
        means="evaluation, files and profiling come on top",
    )


def _processes(jobs: int) -> Finding:
    """Return whether processes that train can be started: they share a lock, in /dev/shm."""
    try:
        start_method().Lock()
    except OSError as error:
        return Finding(
            topic="processes",
            mark="fails",
            found=f"{jobs} models at a time need a lock, which cannot be made: {reason(error)}",
            means=STOPS,
            fix="--jobs 1, or mount shared memory: mount -t tmpfs shm /dev/shm",
        )
    return Finding(
        topic="processes",
        mark="ok",
        found=f"{jobs} models are trained at a time",
        means="the processes can share a lock",
    )


def _disk(expected: Forecast, folder: Path) -> Finding:
    """Return whether the study fits on its disk."""
    found = judge_folder(folder_of("studies", folder), expected.disk_bytes)
    text = f"about {in_words(expected.disk_bytes)} at most; {found.found}"
    return found.model_copy(update={"topic": "disk of the study", "found": text})


def _memory(expected: Forecast, device: torch.device) -> Finding:
    """Return whether training fits into memory."""
    if expected.memory_bytes is None:
        means = "a batch that does not fit is reported when it is trained"
        return Finding(
            topic="memory of training",
            mark="ok",
            found="the system does not say how much is used",
            means=means,
        )
    total, free = memory()
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        free += torch.cuda.memory_reserved(device)  # by this process
    return judge_training_memory(expected.memory_bytes, total, free, expected.jobs)


def judge_training_memory(needed: int, total: int | None, free: int | None, jobs: int) -> Finding:
    """Return whether training fits into memory.

    Args:
        needed: Bytes, of all processes.
        total: Bytes that they may use; None: the system does not say.
        free: Of these, bytes that nothing else uses.
        jobs: Models that are trained at the same time.
    """
    found = f"about {in_words(needed)}"
    if total is None or free is None:
        means = "the system does not say how much there is"
        return Finding(topic="memory of training", mark="ok", found=found, means=means)
    fewer = f"--jobs {jobs - 1}, " if jobs > 1 else ""
    fix = f"{fewer}smaller batch_size or data.size"
    found += f" of {in_words(total)}, of which {in_words(free)} are free"
    if needed > total:
        means = "training would be killed for lack of memory"
        return Finding(topic="memory of training", mark="fails", found=found, means=means, fix=fix)
    if needed > free:
        return Finding(
            topic="memory of training",
            mark="warning",
            found=found,
            means="training may be killed while other programs use so much",
            fix=f"end other programs, or {fix}",
        )
    return Finding(topic="memory of training", mark="ok", found=found, means="it fits")
