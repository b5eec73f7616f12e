"""Memory that training frees and needs again a moment later."""

import ctypes
import platform

from sats_core.limits import MAX_INT32

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # <malloc.h>


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
