"""Models that do not depend on each other are trained in several processes.

Nothing comes back from a process but words: it leaves every model in the study, as one process
alone would, and what goes on finds it there.
"""

import signal
import sys
from collections.abc import Callable, Iterator
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
from kdtool.study.folder import Study, swept_role
from kdtool.terminal.progress import Terminal, Update
from kdtool.train.fit.optimizer import epochs_to_train
from kdtool.train.pipeline.roles import sees_fixed_images, teacher_logits, train_role
from kdtool.train.pipeline.sweep import Settings, title_of
from kdtool.train.run import TEACHERS, NotTrainedError, Run, Trained, open_run

Train = Callable[[Run], object]  # trains one model; is sent to a process

# A process takes 5 to 15 s and 1 GB to start. Two cores do 3e11 operations a second for mnist-mlp:
# below about 30 s of work two processes gain nothing.
WORTH_PROCESSES = 1e13  # floating-point operations
MOST_PROCESSES = 8  # that are started unasked


def jobs_of(run: Run, wanted: int | None, roles: list[Role]) -> int:
    """Return in how many processes to train models that do not depend on each other.

    It depends on the recipe and the machine alone and not on what stands already: an interrupted
    study goes on with as many threads a model, and so to the same bits.

    Args:
        run: The study.
        wanted: By the user; None is one a GPU where there are several, and on a CPU one a core
            where students have much to learn, as small batches use one core better than several;
            a teacher has them all.
        roles: One for each model, those that stand included.
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
    """Return about how many floating-point operations the students among the models take."""
    total = 0
    for role in set(roles) - set(TEACHERS):
        num_images, model = len(run.splits_of(role).train), run.build(role, seed=0).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as flops:
            model(torch.zeros(1, *run.image_shape))
        num_seen = roles.count(role) * epochs_to_train(run.table(role), num_images) * num_images
        total += 3 * flops.get_total_flops() * num_seen  # backward takes twice what forward does
    return total


def train_in_processes(run: Run, pieces: list[tuple[str, Train]], jobs: int) -> None:
    """Train every model, and show how far all are.

    Args:
        run: The study, with its lock held; each process opens one of its own.
        pieces: The setting in words, and what trains the model; sent to the process that is free.
        jobs: How many processes share the machine.

    Raises:
        KdtoolError: One of them failed; the others are ended and go on with the next run.
    """
    waiting = iter(pieces)
    with ExitStack() as stack:
        threads = max(1, torch.get_num_threads() // jobs)
        workers = {}
        for number in range(min(jobs, len(pieces))):
            worker = stack.enter_context(started(run, device_of(run, number), threads))
            workers[worker.connection] = worker
        while workers:
            for connection in workers.keys() & wait(list(workers)):
                if not workers[connection].take_event(waiting):
                    del workers[connection]


def device_of(run: Run, number: int) -> str:
    """Return the device of a process: the GPUs in turn, unless the user named one."""
    if run.device.type == "cuda" and run.device.index is None:
        return f"cuda:{number % torch.cuda.device_count()}"
    return str(run.device)


@contextmanager
def started(run: Run, device: str, threads: int) -> Iterator["Worker"]:
    """Start a process; it is ended with the block."""
    context = start_method()
    ours, theirs = context.Pipe()
    arguments = (threads, theirs, run.study, run.recipe, device)
    process = context.Process(target=begin, args=arguments, daemon=True)
    process.start()
    theirs.close()  # so that the end of the process is the end of the connection
    worker = Worker(ours, run.terminal)
    try:
        yield worker
    finally:
        worker.bar.close()
        process.terminate()
        process.join()


def start_method() -> SpawnContext | ForkServerContext:
    """Return how processes are started: not by a fork of this one, whose threads they would miss.

    On Linux they are forks of one that has imported what takes seconds and started no thread.
    """
    if sys.platform != "linux":
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch._dynamo"])  # an optimizer imports it
    return context


class Worker:
    """A process, as it is seen from the one that holds the study."""

    def __init__(self, connection: Connection, terminal: Terminal) -> None:
        self.connection = connection
        self.terminal = terminal
        self.setting = ""  # of the model that it trains
        self.bar = ExitStack()
        self.update: Update = lambda _done, _text: None

    def take_event(self, waiting: Iterator[tuple[str, Train]]) -> bool:
        """Do what the process asks for; False if it is through.

        Raises:
            KdtoolError: It failed.
        """
        try:
            event, *arguments = self.connection.recv()
            if event == "free":
                self.setting, train = next(waiting, ("", None))
                self.connection.send(train)
                return train is not None
        except (EOFError, ConnectionError) as error:
            raise KdtoolError(
                "a process that trains was ended, perhaps for lack of memory; the same command "
                "goes on from the last whole epoch, with --jobs 1 in one process"
            ) from error
        match event:
            case "begin":
                title, total = arguments
                bar = self.terminal.progress(self.titled(title), total)
                self.update = self.bar.enter_context(bar)
            case "update":
                self.update(*arguments)
            case "end":
                self.bar.close()
            case "say" | "warn":
                getattr(self.terminal, event)(self.titled(*arguments))
            case "failed":
                raise arguments[0]
        return True

    def titled(self, text: str) -> str:
        """Return `text` with the setting that it is about."""
        return f"{self.setting}: {text}" if self.setting else text


def begin(threads: int, connection: Connection, study: Study, recipe: Recipe, device: str) -> None:
    """Set up a process, and have it work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends it through the one that started it
    sys.stdout = sys.stderr  # what a model of the user's prints is no result
    torch.set_num_threads(threads)
    work(connection, study, recipe, device)


def work(connection: Connection, study: Study, recipe: Recipe, device: str) -> None:
    """Train what is sent, until nothing is."""
    try:
        run = open_run(study, recipe, device, Mute())
        run = replace(run, terminal=Remote(connection))
        connection.send(("free",))
        while (train := connection.recv()) is not None:
            train(run)
            connection.send(("free",))
    except KdtoolError as error:
        connection.send(("failed", error))
    except (EOFError, ConnectionError):
        pass  # the process that holds the study is gone, and with it the lock
    except RuntimeError as error:  # PyTorch's, out of memory among them, or of a user's network
        text = f"{type(error).__name__}: {error}; --jobs 1 trains in one process, and says where"
        connection.send(("failed", KdtoolError(text)))


class Mute(Terminal):
    """Says nothing: the process that holds the study has said it."""

    def __init__(self) -> None:
        super().__init__(quiet=True)

    def warn(self, text: str) -> None:
        """Say nothing."""


class Remote(Terminal):
    """Tells the process that holds the study, which shows it."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection

    def say(self, text: str) -> None:
        """As of every terminal."""
        self.connection.send(("say", text))

    def warn(self, text: str) -> None:
        """As of every terminal."""
        self.connection.send(("warn", text))

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Update]:
        """As of every terminal."""
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

    def train(self, run: Run) -> Trained:
        """Train the model, or return it if it stands already."""
        models = {} if self.teacher is None else {self.teacher.role: [self.teacher]}
        (trained,) = train_role(replace(run, recipe=self.recipe), self.role, models)
        return trained


def train_ahead(
    run: Run, roles: list[Role], settings: list[tuple[Settings, Recipe]], jobs: int | None
) -> None:
    """Train in several processes what the study needs, where that helps.

    Each model becomes a stage of the study, so that what follows finds it standing; what is not
    trained here is trained there.

    Args:
        run: The study, with its lock held.
        roles: Whose models it needs.
        settings: Those of a sweep, or the recipe's.
        jobs: How many processes train; None is as many as help.
    """
    sweep = settings[0][0]
    varied = {swept_role(sweep), TEACHER_OF[swept_role(sweep)]} if sweep else set()
    tried: dict[Role, list[tuple[Settings, Recipe]]] = {
        role: settings if role in varied else [({}, settings[0][1])] for role in roles
    }
    # students need the teachers
    for chosen in (TEACHERS, [role for role in roles if role not in TEACHERS]):
        pieces = [
            piece
            for role in roles
            if role in chosen
            for setting in tried[role]
            for piece in pieces_of(run, role, setting)
        ]
        hand_out(run, pieces, jobs)


def pieces_of(run: Run, role: Role, setting: tuple[Settings, Recipe]) -> list[Piece]:
    """Return the models of one role and setting; the teacher of students is trained by now."""
    settings, recipe = setting
    title, teacher = title_of(settings), None
    if role in TEACHER_OF:
        (teacher,) = train_role(replace(run, recipe=recipe), TEACHER_OF[role], {})
    seeds = recipe.seeds[:1] if role in TEACHERS else recipe.seeds
    return [
        Piece(title, role, recipe.model_copy(update={"seeds": [seed]}), teacher) for seed in seeds
    ]


def hand_out(run: Run, pieces: list[Piece], jobs: int | None) -> None:
    """Train in several processes the pieces that do not stand, each model once."""
    models: dict[Path, Piece] = {}
    missing: dict[Path, Piece] = {}
    for piece in pieces:
        try:
            checkpoint = piece.train(replace(run, only_standing=True)).checkpoint
        except NotTrainedError as error:
            checkpoint = error.checkpoint
            missing[checkpoint] = piece
        models[checkpoint] = piece
    if not missing:
        return
    jobs = jobs_of(run, jobs, [piece.role for piece in models.values()])
    if jobs > 1:
        for piece in missing.values():
            asked = replace(run, recipe=piece.recipe)
            if piece.teacher is not None and sees_fixed_images(asked, piece.role):
                teacher_logits(asked, piece.teacher)  # here, once, and not by every process
        train_in_processes(run, [(one.title, one.train) for one in missing.values()], jobs)
