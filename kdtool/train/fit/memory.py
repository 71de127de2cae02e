"""Keeps the memory of freed tensors in the process, where the next step finds it."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGE = 2**30


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
