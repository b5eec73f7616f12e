"""What tasks need and what workers have. Web-free."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Self

from app.db import DeviceKind
from app.db.base import JsonObject

WantedDevice = Literal["any", "cpu", "cuda"]
ANY: WantedDevice = "any"
"""What a task needs that does not say."""

_NAMED = {DeviceKind.CPU: "that trains on a CPU", DeviceKind.CUDA: "with a GPU"}


@dataclass(frozen=True)
class Resources:
    """What a worker trains on.

    Attributes:
        device: of which kind.
        memory_mib: of one such device; where it is the CPU, what the machine or its container has.
    """

    device: DeviceKind
    memory_mib: int

    @property
    def pool(self) -> str:
        """Name of what workers with about the same resources share: owners' turns at them.

        Memory counts by the power of two below it: machines of one kind seldom say the same MiB.
        """
        memory = 1 << self.memory_mib.bit_length() >> 1
        return f"{self.device} {memory}"


@dataclass(frozen=True)
class Needs:
    """What a task asks of the worker that takes it.

    Attributes:
        device: of which kind; None: of any.
        memory_mib: of one such device at least.
    """

    device: DeviceKind | None = None
    memory_mib: int = 0

    @classmethod
    def of(cls, spec: JsonObject) -> Self:
        """Return what a stored spec asks for; one from before there were needs asks for nothing."""
        device = spec.get("device") or ANY
        memory = spec.get("min_memory_mib") or 0
        return cls(None if device == ANY else DeviceKind(device), memory)

    def met_by(self, has: Resources) -> bool:
        """Whether a worker with this may take the task; `worker.turns` asks the same in SQL."""
        return self.device in (None, has.device) and self.memory_mib <= has.memory_mib

    def unmet(self, living: Collection[Resources]) -> str | None:
        """Say which worker is missing; None: one of the living ones may take the task."""
        if any(self.met_by(has) for has in living):
            return None
        if not living:
            return "no worker is alive"
        if self.device is not None and self.device not in {has.device for has in living}:
            return f"no worker {_NAMED[self.device]} is alive"
        where = "" if self.device is None else f" {_NAMED[self.device]}"
        return f"no worker{where} has {self.memory_mib} MiB of memory"
