"""Settings of what a worker trains on, read like all the others."""

from pydantic import Field

from app.settings.base import SettingsBase


class WorkerSettings(SettingsBase):
    """Settings of a worker process; each may have its own."""

    worker_device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$",
        description="What a worker trains on: `cpu`, `cuda` (every GPU that it sees), `cuda:1` "
        "(the second one of those); `auto`: the GPUs that it sees, the CPU where there are none. "
        "Also `sats worker --device`. `CUDA_VISIBLE_DEVICES` says which GPUs it sees.",
    )
    presence_seconds: float = Field(
        5.0,
        gt=0,
        description="How often a worker says in the database that it is there; silent for three "
        "times as long it counts as lost.",
    )
    unmet_hours: float | None = Field(
        24.0,
        gt=0,
        le=1_000_000,
        description="How long a task waits that no living worker may take, as it asks for a "
        "`device` or `min_memory_mib` that none has; then it fails and later tasks of its model go "
        "on. `never`: until somebody cancels it.",
    )
