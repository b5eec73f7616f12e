"""How much memory something takes, and how much is free, where the computing is done."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch

from sats_core.heap import trim_heap

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")
LIMITS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)
"""Limit, use and its parts, of a container's memory (cgroups 2 and 1)."""


class MemoryUse(Protocol):
    """Measures the memory that is computed in."""

    def peak(self, run: Callable[[], None]) -> int:
        """Return the most bytes that `run` takes beyond what is taken before it."""

    def free(self) -> int:
        """Return the bytes that this process may still take."""


def memory_use(device: torch.device) -> MemoryUse | None:
    """Return what measures a device's memory; None where it cannot be measured (not Linux)."""
    if device.type == "cuda":
        return CudaMemory()
    try:
        return HostMemory()
    except (OSError, KeyError):
        return None


class CudaMemory:
    """The current device's memory, as torch allocates it."""

    def peak(self, run: Callable[[], None]) -> int:
        """See `MemoryUse.peak`."""
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    def free(self) -> int:
        """See `MemoryUse.free`; what torch holds and nobody uses counts."""
        free, _whole = torch.cuda.mem_get_info()
        return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()


class HostMemory:
    """The machine's, or the container's, by what of this process is resident (Linux)."""

    def __init__(self) -> None:
        """Try whether it can be measured.

        Raises:
            OSError, KeyError: it cannot.
        """
        self.peak(lambda: None)
        self.free()

    def peak(self, run: Callable[[], None]) -> int:
        """See `MemoryUse.peak`."""
        trim_heap()  # what is freed and kept would hide what is taken
        (PROC / "self/clear_refs").write_text("5")  # the peak starts again from what is resident
        before = _numbers(PROC / "self/status")["VmRSS:"]
        run()
        return max(0, _numbers(PROC / "self/status")["VmHWM:"] - before) * 1024

    def free(self) -> int:
        """See `MemoryUse.free`."""
        trim_heap()
        free = _numbers(PROC / "meminfo")["MemAvailable:"] * 1024
        for limit, use, parts in LIMITS:
            said = _said(CGROUP / limit)
            if said.isdecimal():
                reclaimed = _numbers(CGROUP / parts).get("inactive_file", 0)
                free = min(free, int(said) - int(_said(CGROUP / use)) + reclaimed)
        return free


def _said(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def _numbers(path: Path) -> dict[str, int]:
    """Return the lines of a table whose second column is a number, by their first."""
    rows = (line.split() for line in path.read_text().splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}
