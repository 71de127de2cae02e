"""Finding the other ranks at the start, and comparing what they see."""

import warnings
from datetime import timedelta

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from kdtool.environment import cores, share_memory
from kdtool.errors import KdtoolError
from kdtool.train.ranks.group import Ranks
from kdtool.train.ranks.launched import Launched

# Of what the ranks exchange in a step: no step takes as long, so one of them is stuck.
STEP_PATIENCE = timedelta(minutes=10)
# Of waiting for the next model: meanwhile rank 0 reads images, or evaluates a teacher on all.
MODEL_PATIENCE = timedelta(hours=3)

Facts = dict[str, str]  # what must be the same on all ranks, by name, in words


def own_device(name: str, launched: Launched) -> str:
    """Return the device of a rank: on a machine with GPUs each has its own.

    Args:
        name: Of --device.
        launched: The place of this rank.

    Raises:
        KdtoolError: There is none for it.
    """
    kind, colon, _ = name.partition(":")
    if colon or kind == "mps":
        raise KdtoolError(
            f"got --device {name} under torchrun, where each rank takes a GPU of its own or a part "
            "of the CPU: use --device cuda, --device cpu or --device auto, and choose GPUs by "
            "CUDA_VISIBLE_DEVICES"
        )
    num_gpus = torch.cuda.device_count()
    if kind == "cpu" or (kind == "auto" and num_gpus == 0):
        return "cpu"
    if launched.local_number >= num_gpus:
        raise KdtoolError(
            f"torchrun started {launched.local_count} ranks on this machine, which has {num_gpus} "
            f"GPUs: use --nproc-per-node {max(1, num_gpus)}, or --device cpu"
        )
    return f"cuda:{launched.local_number}"


def connected(launched: Launched, *, first: bool = False) -> Store:
    """Return a connection to the store by which the ranks find each other.

    Args:
        launched: The place of this rank.
        first: Serve the store, if this rank has to.

    Raises:
        KdtoolError: It cannot be reached.
    """
    (host, port), serves = launched.address, first and launched.leads and not launched.has_store
    try:
        store = TCPStore(host, port, is_master=serves, wait_for_workers=False)
    except (RuntimeError, ValueError) as error:
        raise unreachable(launched, error) from error
    return PrefixStore(f"kdtool/{launched.attempt}", store)


def unreachable(launched: Launched, error: Exception) -> KdtoolError:
    """Return the error of ranks that do not find each other."""
    host, port = launched.address
    return KdtoolError(
        f"the {launched.count} ranks cannot reach each other by {host}:{port}: "
        f"{first_line(error)}; GLOO_SOCKET_IFNAME names the network interface to use"
    )


def join(launched: Launched, device: str, store: Store) -> Ranks:
    """Wait for all ranks, and share the cores of this machine among those on it.

    Args:
        launched: The place of this rank.
        device: Of `own_device`.
        store: Of `connected`.

    Raises:
        KdtoolError: They cannot reach each other.
    """
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
    share_memory(launched.local_count)
    torch.set_num_threads(launched.threads or max(1, cores() // launched.local_count))
    backend = "cpu:gloo"
    if device.startswith("cuda"):
        torch.cuda.set_device(torch.device(device))
        backend = "cpu:gloo,cuda:nccl"
    try:
        dist.init_process_group(
            backend,
            store=store,
            rank=launched.number,
            world_size=launched.count,
            timeout=STEP_PATIENCE,
        )
        group = dist.new_group(backend="gloo", timeout=MODEL_PATIENCE)
        assert isinstance(group, dist.ProcessGroup), "it has this rank, as all"
    except (RuntimeError, ValueError) as error:
        raise unreachable(launched, error) from error
    return Ranks(launched.number, launched.count, group, launched.threads or cores())


def check_alike(ranks: Ranks, name: str, facts: Facts | str) -> None:
    """Compare what the ranks see; called on each of them, and raises on rank 0.

    Args:
        ranks: All of them.
        name: Of this rank.
        facts: What this one sees, or why it sees nothing.

    Raises:
        KdtoolError: A rank sees something else than rank 0, or failed.
    """
    (first, expected), *others = ranks.gathered((name, facts))
    if not ranks.leads:
        return
    for other, found in others:
        if isinstance(found, str):
            raise KdtoolError(f"{other}: {found}")
        assert not isinstance(expected, str), "rank 0 has its facts, or has failed before"
        for what, value in expected.items():
            if found.get(what) != value:
                raise KdtoolError(
                    f"{other} has another {what} than {first}: {found.get(what)} and {value}; "
                    "all ranks need the same"
                )


def check_batch_size(key: str, batch_size: int, num_ranks: int) -> None:
    """Raise KdtoolError if the ranks cannot share a batch evenly.

    Args:
        key: Of the recipe.
        batch_size: Its value.
        num_ranks: That share it.
    """
    below, left = divmod(batch_size, num_ranks)
    if left:
        sizes = [str(one * num_ranks) for one in (below, below + 1) if one]
        raise KdtoolError(
            f"got {key} = {batch_size}, which {num_ranks} ranks cannot share evenly; the nearest "
            f"sizes that they can: --set {key}={f' or --set {key}='.join(sizes)}"
        )


def first_line(error: BaseException) -> str:
    """Return what an error says, without the stack of C++ that PyTorch adds."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].strip()


def is_lost(error: BaseException) -> bool:
    """Return whether an error says that another rank is gone or stuck."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in str(error) or "NCCL" in str(error))
    )
