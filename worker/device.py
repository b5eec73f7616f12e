"""What this worker's steps train on, found out without torch in this process.

`python -m worker.device` is the process that asks torch: it prints a JSON list of the GPUs that it
sees, and ends.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.db import DeviceKind
from app.processes.children import own
from app.workers.needs import Resources

MIB = 2**20
VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Variable by which a process sees some of a machine's GPUs alone."""
ASKING = own("worker.device")
PATIENCE_SECONDS = 120.0
"""How long torch may take to look for GPUs."""
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Where one of these is, a GPU may be: NVIDIA's driver, Windows' below Linux, AMD's."""
LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where Linux says how much memory a container may have."""

log = structlog.get_logger(__name__)


class NoSuchDeviceError(Exception):
    """The settings name a GPU, and torch finds none here."""


@dataclass(frozen=True)
class Device:
    """What a worker trains on.

    Attributes:
        name: what it calls itself.
        count: how many of them a step sees.
        has: its kind and its memory, the smallest one's of several.
    """

    name: str
    count: int
    has: Resources

    def sharing(self, most: int) -> int:
        """Return how many devices share a step where `most` may; processes on a CPU need no other.

        A step that is told of GPUs that are not here counts too few pictures for each.
        """
        return min(most, self.count) if self.has.device == DeviceKind.CUDA else most


class Gpu(BaseModel):
    """A GPU, as torch sees it."""

    name: str
    memory_bytes: int


_GPUS = TypeAdapter(list[Gpu])


def visible(wanted: str, environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables with which a process sees what `worker_device` names and no other.

    Numbers count what is visible already, as torch's do.
    """
    kind, _, number = wanted.partition(":")
    if kind == DeviceKind.CPU:
        return {VISIBLE: ""}
    if not number:
        return {}
    said, at = environment.get(VISIBLE), int(number)
    if said is None:
        return {VISIBLE: str(at)}
    seen = [one for one in said.split(",") if one]  # where it is empty, none
    return {VISIBLE: seen[at] if at < len(seen) else ""}


def find_device(
    wanted: str,
    environment: Mapping[str, str],
    asking: Sequence[str] = ASKING,
    drivers: Sequence[str] = DRIVERS,
) -> Device:
    """Return what `worker_device` names, in an environment made by `visible`.

    Args:
        wanted: `auto`, `cpu`, `cuda` or `cuda:N`.
        environment: of the processes that train.
        asking: command line of the process that asks torch.
        drivers: files without which there is no GPU, and nobody is asked.

    Raises:
        NoSuchDeviceError: it names a GPU, and torch finds none.
    """
    asked = wanted.startswith(DeviceKind.CUDA) or any(Path(one).exists() for one in drivers)
    if wanted == DeviceKind.CPU or not asked:
        return _cpu()
    gpus = _gpus(asking, environment)
    if gpus:
        memory = min(gpu.memory_bytes for gpu in gpus) // MIB
        return Device(gpus[0].name[:200], len(gpus), Resources(DeviceKind.CUDA, memory))
    if wanted != "auto":
        raise NoSuchDeviceError(
            f"SATS_WORKER_DEVICE is {wanted}, and torch finds no such GPU: is it a build for CUDA, "
            f"and what does {VISIBLE} say?"
        )
    return _cpu()


def _gpus(asking: Sequence[str], environment: Mapping[str, str]) -> list[Gpu]:
    try:
        said = subprocess.run(
            asking,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=PATIENCE_SECONDS,
            check=True,
        )
        return _GPUS.validate_json(said.stdout)
    except (OSError, subprocess.SubprocessError, ValidationError) as error:
        log.warning("gpus_not_found_out", error=str(error))
        return []


def _cpu() -> Device:
    return Device(_processor()[:200], 1, Resources(DeviceKind.CPU, _memory_bytes() // MIB))


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for row in info.read_text().splitlines():
            if row.startswith("model name"):
                return row.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    """Return the machine's memory, or what its container may have of it."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    said = [limit.read_text().strip() for limit in LIMITS if limit.exists()]
    return min([there, *(int(text) for text in said if text.isdecimal())])


def main() -> None:
    """Print the GPUs that torch sees here."""
    import torch

    found = [
        torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())
    ]
    gpus = [Gpu(name=one.name, memory_bytes=one.total_memory) for one in found]
    sys.stdout.write(json.dumps([gpu.model_dump() for gpu in gpus]))


if __name__ == "__main__":
    main()
