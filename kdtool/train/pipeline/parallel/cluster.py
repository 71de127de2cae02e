"""Models of a study as tasks of a Ray cluster, which places them and tries again what is lost.

A node gets what a model needs of the study and sends the trained model back: the study's folder is
written by this process only, so a lost node loses no finished model.
"""

import os
import pickle
import re
import secrets
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from tempfile import gettempdir
from threading import Thread
from typing import Any

import torch

from kdtool import __version__
from kdtool.errors import KdtoolError, reason
from kdtool.files import scratch_folder, write_atomic
from kdtool.format import plural
from kdtool.recipe.schema import Recipe
from kdtool.results.profile import TrainingCluster
from kdtool.results.study import TrainingResult
from kdtool.train.pipeline.inputs import own_sources
from kdtool.train.pipeline.parallel.node import Expected, Made, Task, arithmetic_of
from kdtool.train.pipeline.parallel.pieces import Piece
from kdtool.train.pipeline.parallel.reports import Event, Workers
from kdtool.train.pipeline.parallel.share import Cluster, Node, Share
from kdtool.train.pipeline.roles import answers_stage
from kdtool.train.run import Run

MOST_TRIES = 4  # of a model whose process or node is lost
SECONDS_TO_ANSWER = 5.0  # for the address of a cluster
# Ray would try for ever again what was killed for lack of memory.
OOM_RETRIES = ("RAY_task_oom_retries", str(MOST_TRIES - 1))
OBJECT_STORE_BYTES = 200_000_000  # of a cluster on this machine: models and logits; more is on disk


def ray_module() -> Any:
    """Import Ray, without what it does unasked."""
    # It would report to its makers that it is used.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Below `uv run` it would upload the working folder and start `uv run` on each node.
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    os.environ.setdefault(*OOM_RETRIES)
    import ray

    return ray


@contextmanager
def connected(address: str | None, recipe: Recipe) -> Iterator[Cluster | None]:
    """Connect to a cluster, or start one on this machine, until the end of the block.

    Args:
        address: "local", "auto" or `ray://HOST:PORT`; None: no cluster.
        recipe: Of the study, whose networks have been built.

    Raises:
        KdtoolError: No cluster answers there, or it cannot be used.
    """
    if address is None:
        yield None
        return
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address == "local":
        # Otherwise Ray would write a token to the home folder, which all later clusters would want.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        options |= {
            "num_cpus": torch.get_num_threads(),
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    elif address != "auto":
        # A process on the head submits the tasks, and has none of the variables set here.
        options["runtime_env"] = {"env_vars": dict([OOM_RETRIES])}
    ray = ray_module()
    with scratch_folder() as folder:
        # Workers begin in a copy of this folder, where they look for the user's own networks.
        for name, content in own_sources(recipe).items():
            write_atomic(folder / name, content)
            options.setdefault("runtime_env", {})["working_dir"] = str(folder)
        try:
            ray.init(address=address, **options)
        except Exception as error:  # Ray raises several kinds, and `Exception` itself
            raise KdtoolError(
                f"--cluster {address}: no Ray cluster can be used there: {reason(error)}; "
                "`ray start --head` starts one, --cluster local one on this machine; a cluster "
                "with a token needs RAY_AUTH_MODE=token"
            ) from error
    try:
        yield Cluster(address, nodes_of(ray))
    finally:
        ray.shutdown()


def warn_of_unused_gpus(run: Run, asked: str, cluster: Cluster | None) -> None:
    """Warn that models are trained on the CPUs of a cluster with GPUs, as this machine has none.

    Args:
        run: The study.
        asked: The device as the user gives it.
        cluster: That trains the models; None: this machine does.
    """
    gpus = sum(node.gpus for node in cluster.nodes) if cluster else 0
    if gpus and asked == "auto" and run.device.type == "cpu":
        run.reporter.warn(
            f"the cluster has {plural(gpus, 'GPU')}, and this machine has none that PyTorch can "
            "use, so models are trained on CPUs; start the command on a machine with a GPU to have "
            "them trained on GPUs, or say --device cpu"
        )


def check_answers(address: str | None) -> None:
    """Check that something listens at the address of a cluster; Ray itself waits for minutes.

    Args:
        address: As of `connected`.

    Raises:
        KdtoolError: Nothing does.
    """
    given = running_address() if address == "auto" else address
    found = re.fullmatch(r"(?:ray://)?\[?([^\s/\]]+)\]?:(\d+)", given or "")
    if found is None:
        return
    try:
        socket.create_connection((found[1], int(found[2])), SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise KdtoolError(
            f"--cluster {address}: nothing answers at {found[1]}:{found[2]} ({reason(error)}); "
            "expected the head of a Ray cluster, which `ray start --head` starts; its port for "
            "ray:// is 10001"
        ) from error


def running_address() -> str:
    """Return the address that Ray takes for "auto"; "" if it has none, which it reports at once.

    Source: the documentation of `ray.init`, `address`.
    """
    if given := os.environ.get("RAY_ADDRESS"):
        return given
    latest = Path(os.environ.get("RAY_TMPDIR", gettempdir()), "ray", "ray_current_cluster")
    try:
        return latest.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def nodes_of(ray: Any) -> list[Node]:
    """Return the machines of the cluster."""
    return [
        Node(
            int(node["Resources"].get("CPU", 0)),
            int(node["Resources"].get("GPU", 0)),
            int(node["Resources"].get("memory", 0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


@contextmanager
def on_cluster(run: Run, share: Share, cluster: Cluster) -> Iterator[Workers]:
    """Have a cluster train models of a study; they end with the block.

    Args:
        run: The study, with its lock held; this process is connected to the cluster.
        share: What each model gets.
        cluster: The machines.
    """
    ray = ray_module()
    from ray.util.queue import Queue

    # On the node that lives as long as the cluster
    head = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}
    queue = Queue(actor_options=head)
    needed = {
        "num_cpus": share.threads,
        "num_gpus": int(run.device.type == "cuda"),
        "memory": share.memory_bytes,
        "max_retries": MOST_TRIES - 1,
    }
    train = ray.remote(**needed)(trainer())
    sent: dict[Path, Any] = {}  # file of the study -> where Ray has its content
    trained_on = TrainingCluster(
        num_nodes=len(cluster.nodes), num_workers=share.jobs, num_threads=share.threads
    )

    def submit(number: int, piece: Piece) -> Future[Any]:
        paths = files_for(run, piece)
        for path in paths:
            if path not in sent:
                sent[path] = ray.put(path.read_bytes())
        task = pickle.dumps(task_of(run, piece, paths, share.threads))
        future: Future[Any] = train.remote(
            __version__, task, queue, number, *[sent[path] for path in paths]
        ).future()
        return future

    def collect(piece: Piece, future: Future[Any]) -> None:
        try:
            made = future.result()
        except Exception as error:  # of Ray: the task itself raises nothing
            raise KdtoolError(
                f"a model was tried on the cluster up to {MOST_TRIES} times, and its process or "
                f"node was lost, perhaps for lack of memory ({type(error).__name__}: "
                f"{reason(error).splitlines()[0][:200]}); run the same command again to resume"
            ) from error
        if isinstance(made, str):
            raise KdtoolError(made)
        keep(run, piece, made, trained_on)

    workers = Workers(submit, collect)
    Thread(target=forward, args=(queue, workers.events), daemon=True).start()
    try:
        yield workers
    finally:
        with suppress(Exception):  # a cluster that is gone
            queue.shutdown(force=True)


def trainer() -> Callable[..., Any]:
    """Return the function that Ray sends to the nodes.

    It is made here so that it is sent as code, and also runs where kdtool is absent or another.
    """

    def train(version: str, task: bytes, queue: Any, number: int, *contents: bytes) -> Any:
        import pickle
        import platform

        def send(*event: Any) -> None:
            # Whoever waits for Ray gives its processors back meanwhile, and another task begins
            # there. `queue.put` waits, and so is for the last event: it arrives before this process
            # may end.
            if event == ("over",):
                queue.put((number, *event))
            else:
                queue.actor.put_nowait.remote((number, *event))

        try:
            import kdtool
        except ImportError:
            found = "none"
        else:
            found = kdtool.__version__
        if found != version:
            send("over")
            return (
                f"the node {platform.node()} has kdtool {found}, expected {version}; install the "
                "same on all nodes"
            )
        from kdtool.train.pipeline.parallel.node import train_task

        return train_task(pickle.loads(task), contents, send)

    return train


def forward(queue: Any, events: "SimpleQueue[Event]") -> None:
    """Pass the events of all models on, until the queue ends."""
    try:
        while True:
            events.put(queue.get())
    except Exception as error:  # noqa: BLE001  of Ray, of several kinds
        text = f"the connection to the cluster is lost ({type(error).__name__}); run the same "
        events.put((-1, "lost", f"{text}command again to resume"))


def files_for(run: Run, piece: Piece) -> list[Path]:
    """Return the files of the study that a model needs: its teacher, and what that answered."""
    if piece.teacher is None:
        return []
    asked = replace(run, recipe=piece.recipe)
    files = [piece.teacher.checkpoint]
    if name := answers_stage(asked, piece.teacher, piece.role):
        files += run.study.files_of(name)
    return [path for path in files if path.exists()]


def task_of(run: Run, piece: Piece, paths: list[Path], threads: int) -> Task:
    """Return what a node is asked to do."""
    asked, folder = replace(run, recipe=piece.recipe), run.study.folder
    expected = Expected(
        torch=torch.__version__,
        fingerprint=run.fingerprint,
        arithmetic=arithmetic_of(asked, piece.role),
        key=piece.plan(run).key,
    )
    if (teacher := piece.teacher) is not None:
        local = replace(teacher, checkpoint=teacher.checkpoint.relative_to(folder))
        piece = replace(piece, teacher=local)
    return Task(
        piece=piece,
        recipe=run.recipe,
        device=run.device.type,
        threads=threads,
        files=[path.relative_to(folder).as_posix() for path in paths],
        expected=expected,
    )


def keep(run: Run, piece: Piece, made: Made, trained_on: TrainingCluster) -> None:
    """Make a model that was trained on a node a stage of the study."""
    plan = piece.plan(run)

    def make() -> tuple[TrainingResult, list[Path]]:
        result = made.result.model_copy(update={"trained_on": trained_on})
        if made.checkpoint is None:
            return result, []
        write_atomic(plan.checkpoint, made.checkpoint)
        return result, [plan.checkpoint]

    run.study.stage(plan.checkpoint.stem, plan.key, TrainingResult, make)
