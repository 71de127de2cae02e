"""Memory of a training step: what was freed is used again, and no more is taken than is free."""

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kdtool.environment import memory, own_memory

if sys.platform != "win32":
    import resource

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGE = 2**30
USABLE = 0.95  # of the memory that is free: other programs may ask for some meanwhile


def keep_freed_memory() -> None:
    """Stop glibc from giving memory back to the system after each large tensor.

    By default it maps tensors above some size anew each time, and the kernel fills each of their
    pages with zeros when it is first touched: up to a fifth of a training step. Other allocators
    are not asked.

    Source: man 3 mallopt.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, LARGE)
        mallopt(M_TRIM_THRESHOLD, LARGE)


def give_back_memory() -> None:
    """Give the memory of freed tensors back, where other processes are to train."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def free_memory() -> int | None:
    """Return the bytes that a training may take from now on; None: not known."""
    free = memory()[1] if sys.platform == "linux" else None
    if free is None:
        return None
    usable = int(USABLE * free)
    return usable if _most is None else max(0, min(usable, _most - own_memory("RssAnon:")))


_most: int | None = None  # bytes of memory that this process may fill


def limit_memory(num_bytes: int) -> None:
    """Let this process fail to get more memory than it has and `num_bytes`, on Linux.

    Linux promises memory that it does not have, and kills the process that uses it, without a
    message. Under a limit there is an error instead.

    Source: man 2 getrlimit, RLIMIT_DATA.
    """
    global _most
    if sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = own_memory("VmData:") + num_bytes
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
        # What was freed and is kept counts towards the limit, but can be used again.
        _most = own_memory("RssAnon:") + num_bytes


@contextmanager
def within_free_memory(device: torch.device) -> Iterator[None]:
    """Take no more memory than is free while the block runs, on a CPU.

    Args:
        device: That trains. A limit that this process has already is kept.
    """
    global _most
    free = free_memory() if device.type == "cpu" else None
    if (
        free is None
        or (before := resource.getrlimit(resource.RLIMIT_DATA))[0] != resource.RLIM_INFINITY
    ):
        yield
        return
    limit_memory(free)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
        _most = None
