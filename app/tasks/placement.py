"""What a task asks of the worker that takes it, and of the order."""

from pydantic import Field

from app.workers.needs import ANY, WantedDevice
from sats_core.limits import MAX_INT32
from sats_core.record import Record


class Placement(Record):
    """Which worker takes a task, and when."""

    device: WantedDevice = Field(
        ANY,
        description="What the step trains on: `cuda`: only a worker with a GPU takes it; `cpu`: "
        "only one without.",
    )
    min_memory_mib: int | None = Field(
        None,
        ge=1,
        le=MAX_INT32,
        description="Memory, in MiB, that the worker's device has at least: of one GPU, or where "
        "it trains on a CPU of its machine or container.",
    )
    priority: int = Field(
        0,
        ge=-100,
        le=100,
        description="Of the tasks of one key, or of those without one, workers take those of a "
        "higher priority first. It moves no task before those of other keys, and none before "
        "earlier ones of its model.",
    )
