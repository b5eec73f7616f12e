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
