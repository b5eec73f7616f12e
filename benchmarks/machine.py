"""What a measurement was taken on, and with which code."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sats_core.files import write_whole

_STATUS = Path("/proc/self/status")


def commit() -> str:
    """Return the commit that the code stands on, with `+` where files differ from it."""
    here = Path(__file__).parent
    head = subprocess.check_output(["git", "rev-parse", "--short=12", "HEAD"], cwd=here, text=True)
    dirty = subprocess.check_output(["git", "status", "--porcelain", "-uno"], cwd=here, text=True)
    return head.strip() + ("+" if dirty.strip() else "")


def hardware(device: str) -> str:
    """Return what computes, without any name of a machine."""
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{_processor()}, torch {torch.__version__}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [row for row in info.read_text().splitlines() if row.startswith("model name")]
        if names:
            return names[0].split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine_load() -> dict[str, Any]:
    """Return how many processors there are, and how busy they have been for a minute."""
    return {"processors": os.cpu_count(), "load_average": round(os.getloadavg()[0], 2)}


def reset_peak() -> float:
    """Start measuring peak memory; return what is in use now, MiB.

    Raises:
        OSError: a CPU measurement needs Linux's /proc.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    Path("/proc/self/clear_refs").write_text("5")
    return _line("VmRSS")


def peak() -> float:
    """Return the most memory in use since `reset_peak`, MiB: the accelerator's, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return _line("VmHWM")


def _line(name: str) -> float:
    (row,) = [row for row in _STATUS.read_text().splitlines() if row.startswith(name)]
    return int(row.split()[1]) / 1024


def stamped(device: str, **values: Any) -> dict[str, Any]:
    """Return a record with device, hardware, threads and commit."""
    return {
        "device": device,
        "hardware": hardware(device),
        "threads": torch.get_num_threads(),
        "commit": commit(),
        **values,
    }


def write_record(results: Path, name: str, record: Mapping[str, Any]) -> None:
    """Write a record into a folder, which is made, whole or not at all."""
    results.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    write_whole(results / name, text.encode())


def without_folders(arguments: Sequence[str]) -> list[str]:
    """Return a command's arguments as a record tells them: no folder of this machine in it."""
    return [Path(one).name.upper() if Path(one).is_absolute() else one for one in arguments]
