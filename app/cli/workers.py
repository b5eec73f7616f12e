"""Workers of a running service: `sats workers`."""

from itertools import islice
from typing import Annotated, Any

import typer

from app.cli.calling import Url, service
from app.cli.printing import Form, Output, print_all


def workers(
    limit: Annotated[int, typer.Option(help="Most workers.", min=1)] = 50,
    url: Url = None,
    output: Output = Form.TABLE,
) -> None:
    """List the workers that are there, what each has and what it does."""
    with service(url) as client:
        print_all(islice(client.workers(), limit), output, _row, _name)


def _row(worker: Any) -> dict[str, object]:
    return {
        "name": worker.name,
        "state": "lost" if not worker.alive else "busy" if worker.task else "idle",
        "device": worker.device,
        "devices": worker.devices,
        "memory (MiB)": worker.memory_mib,
        "what": worker.device_name,
        "task": worker.task and worker.task.name,
        "model": worker.task and worker.task.model,
        "version": worker.version,
        "came": worker.started_at,
    }


def _name(worker: Any) -> str:
    return str(worker.name)
