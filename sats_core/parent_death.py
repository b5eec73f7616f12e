"""Linux's way to end a process with the one that started it, however that one ends."""

import ctypes
import signal

_PR_SET_PDEATHSIG = 1


def signal_at_parent_death(number: signal.Signals) -> None:
    """Have Linux send this process a signal when the *thread* that forked it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
