"""Models that do not depend on each other, trained in several processes.

A process returns messages only: it writes every model into the study, where the main process finds
it.
"""

import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from kdtool.errors import KdtoolError
from kdtool.recipe.schema import Recipe
from kdtool.results.base import TEACHER_OF, Role
from kdtool.study.folder import Study
from kdtool.train.fit.optimizer import epochs_to_train
from kdtool.train.pipeline.roles import (
    plan_role,
    sees_fixed_images,
    teacher_logits,
    train_role,
    with_teachers,
)
from kdtool.train.pipeline.sweep import Settings, title_of
from kdtool.train.pipeline.train_model import ModelPlan, find_trained, train_model
from kdtool.train.reporter import Reporter, Silent, Update
from kdtool.train.run import TEACHERS, Run, Trained, open_run

Train = Callable[[Run], object]  # trains one model; sent to a process
# Settings in words, and what trains the model; None: the next one has to wait for others
Waiting = Iterator[tuple[str, Train] | None]

# A process takes 5 to 15 s and 1 GB to start. Two cores do 3e11 operations a second for mnist-mlp:
# below about 30 s of work two processes gain nothing.
WORTH_PROCESSES = 1e13  # floating-point operations
MOST_PROCESSES = 8  # started without --jobs


def jobs_of(run: Run, wanted: int | None, roles: list[Role]) -> int:
    """Return in how many processes to train models that do not depend on each other.

    The number depends on the recipe and the machine only, and not on what is trained already: an
    interrupted study resumes with as many threads a model, and so ends in the same bits.

    Args:
        run: The study.
        wanted: By the user. None: one a GPU if there are several; on a CPU one a core if the
            students take long to train, since small batches use one core better than several.
        roles: One for each model, those trained already included.
    """
    if wanted is None:
        if run.device.type == "cuda" and run.device.index is None:
            wanted = torch.cuda.device_count()
        elif run.device.type == "cpu" and operations(run, roles) >= WORTH_PROCESSES:
            wanted = min(torch.get_num_threads(), MOST_PROCESSES)
        else:
            wanted = 1
    return min(wanted, len(roles))


def operations(run: Run, roles: list[Role]) -> int:
    """Return about how many floating-point operations training the students takes."""
    total = 0
    for role in set(roles) - set(TEACHERS):
        num_images, model = len(run.splits_of(role).train), run.network(role)
        with torch.no_grad(), FlopCounterMode(display=False) as flops:
            model(torch.zeros(1, *run.image_shape))
        num_seen = roles.count(role) * epochs_to_train(run.table(role), num_images) * num_images
        total += 3 * flops.get_total_flops() * num_seen  # backward takes twice what forward does
    return total


def train_in_processes(run: Run, pieces: Waiting, jobs: int) -> None:
    """Train every model, and show the progress of all.

    Args:
        run: The study, with its lock held; each process opens the study itself.
        pieces: The setting in words, and what trains the model; sent to the next free process.
        jobs: How many processes share the machine.

    Raises:
        KdtoolError: A process failed, or `pieces` did. The others are ended; the next run resumes
            their models.
    """
    with ExitStack() as stack:
        threads = max(1, torch.get_num_threads() // jobs)
        workers = {}
        for number in range(jobs):
            worker = stack.enter_context(started(run, device_of(run, number), threads))
            workers[worker.connection] = worker
        while workers:
            for connection in workers.keys() & wait(list(workers)):
                if not workers[connection].take_event(pieces):
                    del workers[connection]
            for connection, worker in list(workers.items()):
                if worker.is_waiting and not worker.take_piece(pieces):
                    del workers[connection]


def device_of(run: Run, number: int) -> str:
    """Return the device of a process: each GPU in turn, unless the user named one."""
    if run.device.type == "cuda" and run.device.index is None:
        return f"cuda:{number % torch.cuda.device_count()}"
    return str(run.device)


@contextmanager
def started(run: Run, device: str, threads: int) -> Iterator["Worker"]:
    """Start a process, which ends with the block."""
    context = start_method()
    ours, theirs = context.Pipe()
    arguments = (threads, theirs, run.study.folder, run.recipe, device)
    process = context.Process(target=begin, args=arguments, daemon=True)
    process.start()
    theirs.close()  # so that the end of the process is the end of the connection
    worker = Worker(ours, run.reporter)
    try:
        yield worker
    finally:
        worker.bar.close()
        process.terminate()
        process.join()


def start_method() -> SpawnContext | ForkServerContext:
    """Return how processes are started: not as forks of this one, whose threads a fork would lack.

    On Linux they are forks of a server process, which has imported PyTorch and started no thread.
    """
    if sys.platform != "linux":
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch._dynamo"])  # an optimizer imports it
    return context


class Worker:
    """A training process, as seen from the main process."""

    def __init__(self, connection: Connection, reporter: Reporter) -> None:
        self.connection = connection
        self.reporter = reporter
        self.setting = ""  # of the model that it trains
        self.is_waiting = False  # for a model
        self.bar = ExitStack()
        self.update: Update = lambda _done, _text: None

    def take_event(self, waiting: Waiting) -> bool:
        """Handle one event of the process; return False if it has ended.

        Args:
            waiting: Models that no process has taken yet.

        Raises:
            KdtoolError: The process failed.
        """
        try:
            event, *arguments = self.connection.recv()
            if event == "free":
                return self.take_piece(waiting)
        except (EOFError, ConnectionError) as error:
            raise KdtoolError(
                "a training process was killed, perhaps for lack of memory; run the same command "
                "again to resume, with --jobs 1 to use one process"
            ) from error
        match event:
            case "begin":
                title, total = arguments
                bar = self.reporter.progress(self.titled(title), total)
                self.update = self.bar.enter_context(bar)
            case "update":
                self.update(*arguments)
            case "end":
                self.bar.close()
            case "say" | "warn":
                getattr(self.reporter, event)(self.titled(*arguments))
            case "failed":
                raise arguments[0]
        return True

    def take_piece(self, waiting: Waiting) -> bool:
        """Give the process its next model, if there is one yet; return False if there are no more.

        Args:
            waiting: Models that no process has taken yet; None: the next one has to wait.
        """
        piece = next(waiting, ("", None))
        self.is_waiting = piece is None
        if piece is not None:
            self.setting, train = piece
            self.connection.send(train)
            return train is not None
        return True

    def titled(self, text: str) -> str:
        """Return `text` with the setting of the model in front."""
        return f"{self.setting}: {text}" if self.setting else text


def begin(threads: int, connection: Connection, folder: Path, recipe: Recipe, device: str) -> None:
    """Set up a process, and run it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it through the main process
    sys.stdout = sys.stderr  # standard output is for results, and a user's model may print
    torch.set_num_threads(threads)
    work(connection, folder, recipe, device)


def work(connection: Connection, folder: Path, recipe: Recipe, device: str) -> None:
    """Train the models that arrive, until None does."""
    try:
        # The main process has reported everything about the study and its data.
        run = open_run(Study(folder, Silent().warn), recipe, device, Silent())
        run = replace(run, reporter=Remote(connection))
        connection.send(("free",))
        while (train := connection.recv()) is not None:
            train(run)
            connection.send(("free",))
    except KdtoolError as error:
        connection.send(("failed", error))
    except (EOFError, ConnectionError):
        pass  # the main process has ended, and with it the lock
    except Exception as error:  # noqa: BLE001  PyTorch's, or anything that a user's network raises
        text = f"{type(error).__name__}: {error}; --jobs 1 trains in one process, with a traceback"
        connection.send(("failed", KdtoolError(text)))


class Remote:
    """A reporter that sends everything to the main process, which shows it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def say(self, text: str) -> None:
        """Send a message."""
        self.connection.send(("say", text))

    def warn(self, text: str) -> None:
        """Send a warning."""
        self.connection.send(("warn", text))

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Update]:
        """Send the progress of a piece of work."""
        self.connection.send(("begin", title, total))
        yield lambda done, text: self.connection.send(("update", done, text))
        self.connection.send(("end",))


@dataclass(frozen=True)
class Piece:
    """One model to train."""

    title: str  # of the setting, in a sweep
    role: Role
    recipe: Recipe  # of one seed
    teacher: Trained | None  # of a student

    def plan(self, run: Run) -> ModelPlan:
        """Return the plan of the model; nothing is trained."""
        models = {} if self.teacher is None else {self.teacher.role: [self.teacher]}
        (plan,) = plan_role(replace(run, recipe=self.recipe), self.role, models)
        return plan

    def train(self, run: Run) -> Trained:
        """Return the model: found, or else trained."""
        return train_model(replace(run, recipe=self.recipe), self.plan(run))


def train_ahead(
    run: Run,
    tried: Mapping[Role, Sequence[tuple[Settings, Recipe]]],
    jobs: int | None,
    is_checked: Callable[[], bool],
) -> None:
    """Train in several processes what the study needs, if that is faster.

    Each model becomes a stage of the study. Models that are not trained here are trained later, by
    the main process.

    Args:
        run: The study, with its lock held.
        tried: Of `settings_of`.
        jobs: Number of training processes; None: chosen by `jobs_of`.
        is_checked: Called before a student is trained, until it returns True: teachers and
            controls are trained and worth it. An error that it raises ends the processes.

    Raises:
        KdtoolError: A process failed, or `is_checked` did.
    """
    # Students need their teachers.
    for chosen in (TEACHERS, [role for role in tried if role not in TEACHERS]):
        pieces = [
            piece
            for role in tried
            if role in chosen
            for setting in tried[role]
            for piece in pieces_of(run, role, setting)
        ]
        hand_out(run, pieces, jobs, is_checked)


def pieces_of(run: Run, role: Role, setting: tuple[Settings, Recipe]) -> list[Piece]:
    """Return the models of one role and setting; the teachers of students are trained already."""
    settings, recipe = setting
    pairs: list[tuple[int, Trained | None]] = [(seed, None) for seed in recipe.seeds_of(role)]
    if role in TEACHER_OF:
        teachers = train_role(replace(run, recipe=recipe), TEACHER_OF[role], {})
        pairs = [*with_teachers(recipe.seeds, teachers)]
    return [
        Piece(
            title_of(settings),
            role,
            recipe.model_copy(update={"seeds": [seed], "teacher_seeds": None}),
            teacher,
        )
        for seed, teacher in pairs
    ]


def hand_out(
    run: Run, pieces: list[Piece], jobs: int | None, is_checked: Callable[[], bool]
) -> None:
    """Train in several processes the pieces that are not trained yet, each model once."""
    models: dict[Path, Piece] = {}
    missing: dict[Path, Piece] = {}
    for piece in pieces:
        plan = piece.plan(run)
        models[plan.checkpoint] = piece
        if plan.checkpoint not in missing and find_trained(run, plan) is None:
            missing[plan.checkpoint] = piece
    if not missing:
        return
    jobs = jobs_of(run, jobs, [piece.role for piece in models.values()])
    if jobs > 1:
        for piece in missing.values():
            asked = replace(run, recipe=piece.recipe)
            if piece.teacher is not None and sees_fixed_images(asked, piece.role):
                teacher_logits(asked, piece.teacher)  # once, here, and not in every process
        waiting = in_turn(list(missing.values()), is_checked)
        train_in_processes(run, waiting, min(jobs, len(missing)))


def in_turn(pieces: list[Piece], is_checked: Callable[[], bool]) -> Waiting:
    """Yield the pieces for the next free process, students last, and only after the check.

    Args:
        pieces: In the order of training.
        is_checked: As of `train_ahead`.
    """
    checked = False
    for piece in pieces:
        while piece.role in TEACHER_OF and not checked:
            checked = is_checked()
            if not checked:
                yield None
        yield piece.title, piece.train
