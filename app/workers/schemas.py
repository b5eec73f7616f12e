"""What comes out of `/admin/workers`."""

from datetime import datetime

from pydantic import BaseModel, Field

from app.db import DeviceKind
from app.records.paging import Page
from app.workers.service import SeenWorker


class WorkerTaskJson(BaseModel):
    """The task that a worker holds."""

    id: str = Field(description="Its id.", examples=["2ccf943e-3427-467c-a8a9-3dd85cad8432"])
    name: str = Field(description="What people call it.", examples=["sheep"])
    model: str = Field(description="The model that learns.", examples=["default"])


class WorkerJson(BaseModel):
    """A worker process."""

    name: str = Field(
        description="Host, process id and a mark of its start; tasks that it holds name it so.",
        examples=["host:4711"],
    )
    host: str = Field(description="The machine, or container, that it runs on.", examples=["host"])
    pid: int = Field(description="Its process id there.", examples=[4711])
    alive: bool = Field(
        description="Whether it was heard of in time; false: it was killed, or does not reach the "
        "database. One that ends in order is in no list; one that was lost stays for a day."
    )
    task: WorkerTaskJson | None = Field(description="What it holds; null: it waits for a task.")
    device: DeviceKind = Field(description="What it trains on: `cuda`: a GPU.")
    device_name: str = Field(
        description="What the device calls itself.", examples=["NVIDIA H100 80GB HBM3"]
    )
    devices: int = Field(description="How many GPUs it sees; 1 where it trains on the CPU.")
    memory_mib: int = Field(
        description="Memory of the device, the smallest one's of several; of a CPU, what the "
        "machine or its container has.",
        examples=[81559],
    )
    version: str = Field(description="Version of its software.", examples=["0.1.0"])
    started_at: datetime = Field(description="When it came.")
    seen_at: datetime = Field(description="When it last said that it is there.")


class WorkerPage(Page[WorkerJson]):
    """Some workers, the one that came last first."""


def worker_json(seen: SeenWorker) -> WorkerJson:
    """Return how a worker looks over HTTP."""
    row, task = seen.worker, seen.task
    return WorkerJson(
        name=row.name,
        host=row.host,
        pid=row.pid,
        alive=seen.alive,
        task=WorkerTaskJson(id=task.id, name=task.name, model=task.model) if task else None,
        device=row.device,
        device_name=row.device_name,
        devices=row.devices,
        memory_mib=row.memory_mib,
        version=row.version,
        started_at=row.started_at,
        seen_at=row.seen_at,
    )
