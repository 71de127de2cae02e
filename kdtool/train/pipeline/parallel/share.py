"""How many models train at the same time, and what each gets of the machine or the cluster."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from kdtool.edge.latency.worker import peak_bytes
from kdtool.environment import memory
from kdtool.errors import KdtoolError
from kdtool.format import file_size, keyboard_text, plural
from kdtool.results.base import Role
from kdtool.train.fit.micro_batch import SMALLEST_PART, step_memory
from kdtool.train.fit.optimizer import epochs_to_train
from kdtool.train.run import Run

# A process takes 5 to 15 s and 1 GB to start. Two cores do 3e11 operations a second for mnist-mlp:
# below about 30 s of work two processes gain nothing.
WORTH_PROCESSES = 1e13  # floating-point operations
MOST_PROCESSES = 8  # started without --jobs
PROCESS_BYTES = 1e9  # of one, beside what a training step takes
MEMORY_SHARE = 0.5  # of the machine's memory, for all processes that are started without --jobs


@dataclass(frozen=True)
class Share:
    """Models that train at the same time.

    It depends on the recipe and the machine or the cluster only, and not on what is trained
    already: an interrupted study resumes with as many threads a model, and so ends in the same
    bits.
    """

    jobs: int  # models at a time
    threads: int  # of PyTorch, for each
    memory_bytes: int = 0  # that each asks a cluster for


@dataclass(frozen=True)
class Node:
    """A machine of a cluster, as far as it is lent."""

    cpus: int
    gpus: int
    memory_bytes: int


@dataclass(frozen=True)
class Cluster:
    """The machines on which models are trained."""

    address: str  # as in --cluster
    nodes: list[Node]


def share_of(run: Run, jobs: int | None, cluster: Cluster | None, roles: list[Role]) -> Share:
    """Return how models that do not depend on each other share the machine or the cluster.

    Args:
        run: The study.
        jobs: Number of training processes, given by the user; None: chosen by `jobs_of`.
        cluster: That trains them; None: this machine does.
        roles: One for each model, those trained already included.

    Raises:
        KdtoolError: No node of the cluster can train a model.
    """
    if cluster is not None:
        gpus = run.device.type == "cuda"
        return share_of_cluster(cluster, len(roles), needed_bytes(), gpus=gpus)
    jobs = jobs_of(run, jobs, roles)
    return Share(jobs, max(1, torch.get_num_threads() // jobs))


def jobs_of(run: Run, wanted: int | None, roles: list[Role]) -> int:
    """Return in how many processes of this machine to train models.

    Args:
        run: The study.
        wanted: By the user. None: one a GPU if there are several; on a CPU one a core if the
            models take long to train, since a batch uses one core better than several, and as far
            as their batches fit into memory.
        roles: As of `share_of`.
    """
    if len(roles) == 1:
        return 1
    if wanted is None:
        if run.device.type == "cuda" and run.device.index is None:
            wanted = torch.cuda.device_count()
        elif run.device.type == "cpu" and operations(run, roles) >= WORTH_PROCESSES:
            wanted = min(torch.get_num_threads(), MOST_PROCESSES, jobs_that_fit(run, roles))
        else:
            wanted = 1
    return min(wanted, len(roles))


def operations(run: Run, roles: list[Role]) -> int:
    """Return about how many floating-point operations training the models takes."""
    total = 0
    for role in set(roles):
        num_images, model = len(run.splits_of(role).train), run.network(role)
        with torch.no_grad(), FlopCounterMode(display=False) as flops:
            model(torch.zeros(1, *run.image_shape))
        num_seen = roles.count(role) * epochs_to_train(run.table(role), num_images) * num_images
        total += 3 * flops.get_total_flops() * num_seen  # backward takes twice what forward does
    return total


def jobs_that_fit(run: Run, roles: list[Role]) -> int:
    """Return how many models may train at a time on this machine with their batches uncut.

    What is free does not count, only what the machine has: see `Share`.

    Args:
        run: The study.
        roles: As of `share_of`, not empty.
    """
    total, _ = memory()
    if total is None:
        return MOST_PROCESSES
    most = 0.0
    for role in set(roles):
        model = copy.deepcopy(run.network(role)).train()
        step = step_memory(model, model, torch.zeros(2 * SMALLEST_PART, *run.image_shape))
        most = max(most, PROCESS_BYTES + step.fixed + step.each * run.table(role).batch_size)
    return max(1, int(MEMORY_SHARE * total / most))


def needed_bytes() -> int:
    """Return the memory that a model needs on a node: what this process used; 0: not known.

    It has the same images and networks.
    """
    return peak_bytes() or 0


def share_of_cluster(cluster: Cluster, num_models: int, memory_bytes: int, *, gpus: bool) -> Share:
    """Return how models share a cluster: a GPU each, or the cores divided among all of them.

    Args:
        cluster: Its nodes may differ; a model gets no more threads than the smallest one has.
        num_models: To train, those trained already included.
        memory_bytes: That each needs.
        gpus: Whether they train on GPUs.

    Raises:
        KdtoolError: No node can train a model.
    """
    usable = [
        node
        for node in cluster.nodes
        if node.cpus and (node.gpus or not gpus) and node.memory_bytes >= memory_bytes
    ]
    if not usable:
        wanted = "a CPU and a GPU" if gpus else "a CPU"
        raise KdtoolError(
            f"--cluster {cluster.address}: expected a node with {wanted} and "
            f"{keyboard_text(file_size(memory_bytes))} of memory for a model, got "
            f"{in_words(cluster.nodes)}; add nodes with `ray start --address HEAD:PORT`"
            + (", or give --device cpu" if gpus else "")
        )
    if gpus:
        slots = sum(min(node.gpus, node.cpus) for node in usable)
        threads = min(max(1, node.cpus // node.gpus) for node in usable)
    else:
        fair = max(1, sum(node.cpus for node in usable) // max(1, num_models))
        threads = min(fair, *(node.cpus for node in usable))
        slots = sum(node.cpus // threads for node in usable)
    return Share(max(1, min(slots, num_models)), threads, memory_bytes)


def in_words(nodes: Sequence[Node]) -> str:
    """Return what a cluster has."""
    each = [
        f"{plural(node.cpus, 'CPU')}, {plural(node.gpus, 'GPU')}, "
        + keyboard_text(file_size(node.memory_bytes))
        for node in nodes
    ]
    return f"{plural(len(nodes), 'node')} ({'; '.join(each)})" if nodes else "no node"
