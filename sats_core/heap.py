"""What becomes of freed memory: training needs it again a moment later, serving does not."""

import ctypes
import platform

from sats_core.limits import MAX_INT32

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # <malloc.h>
_LARGE = 4 * 2**20
_KEPT = 64 * 2**20
"""Freed at the end of a thread's heap."""


def keep_freed_memory() -> bool:
    """Tell glibc to hand large freed blocks out again instead of giving them back at once.

    The losses make and free the same tensors of logits at picture size at every step. Beyond
    32 MiB each is mapped anew, and a CPU spends more time on clearing pages than on the losses.
    For a process that trains and ends: its memory stays at its peak.

    Returns:
        Whether the C library can be told.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_MMAP_MAX, 0) and libc.mallopt(_TRIM_THRESHOLD, MAX_INT32))


def give_back_freed_memory() -> bool:
    """Tell glibc to map every large block by itself, so that freed it goes back at once.

    Left alone it maps fewer blocks the larger those were that it has seen freed, and keeps the
    others: a process that serves would hold as much as all its threads took at their worst. Small
    blocks are kept: told of one threshold alone, it gives them back too, from 128 KiB on, and every
    request pays for pages that are cleared anew (7 ms of processor time at 256 pixels).

    Returns:
        Whether the C library can be told.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_MMAP_THRESHOLD, _LARGE) and libc.mallopt(_TRIM_THRESHOLD, _KEPT))


def trim_heap() -> bool:
    """Give back, once, what is freed and kept, so that what is resident is what is used.

    Returns:
        Whether the C library can be told.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    ctypes.CDLL(None).malloc_trim(0)
    return True
