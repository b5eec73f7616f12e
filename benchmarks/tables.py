"""Does reading stay fast when the tables have filled: 10,000 tasks, 1,000 versions?

    python -m benchmarks.tables

Fills an empty SQLite file and an empty Postgres, starts one API process on each, and asks every
list and read call again and again over HTTP. Then takes the tables back, migration by migration,
and forward again. Writes `tables.json` to `--results`.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from app.admin.endpoints import VERSIONS as LINE
from app.db import make_engine, write_session
from app.db.base import utc_text
from app.db.migrate import migration_config, upgrade
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.settings import Settings
from app.tasks.listing import TASKS, TaskOrder
from benchmarks.load_clients import Client, Tally
from benchmarks.load_services import api
from benchmarks.machine import commit, hardware
from benchmarks.tables_rows import ended_at, fill, task_id
from tests.fixtures.databases import new_database
from tests.fixtures.servers import postgres

BAR_MS = 50.0
OLDEST = "0001"
Record = dict[str, Any]


def calls(tasks: int, versions: int) -> dict[str, str]:
    """Return every list and read call, by what the record calls it."""
    last = task_id(versions - 1)
    default = "/admin/models/default"
    deep = 40  # the end of a line of forty versions
    by_end = TaskOrder("-finished_at").listing
    ended = by_end.cursor(f"{utc_text(ended_at(tasks // 2))} {tasks // 2}")
    return {
        "tasks": "/tasks",
        "tasks, largest page": "/tasks?limit=200",
        "tasks, a later page": f"/tasks?cursor={TASKS.cursor(tasks // 2)}",
        "tasks, the oldest first": "/tasks?sort=created_at",
        "tasks by their end": "/tasks?sort=-finished_at",
        "tasks by their end, a later page": f"/tasks?sort=-finished_at&cursor={ended}",
        "tasks of a model by their end": "/tasks?model=street&sort=-finished_at",
        "tasks that failed, by their end": "/tasks?state=failed&sort=-finished_at",
        "tasks that failed": "/tasks?state=failed",
        "tasks that wait": "/tasks?state=queued",
        "tasks of a model": "/tasks?model=street",
        "tasks of a model in a state": "/tasks?model=street&state=cancelled",
        "tasks of a model that run": "/tasks?model=street&state=running",
        "a task": f"/tasks/{last}",
        "a task that waits": f"/tasks/{task_id(tasks - 1)}",
        "a task's events": f"/tasks/{last}/events",
        "a task's log": f"/tasks/{last}/log",
        "everything at a glance": "/admin/overview",
        "a model at a glance": default,
        "models": "/admin/models",
        "versions": f"{default}/versions",
        "versions, the oldest first": f"{default}/versions?sort=created_at",
        "versions, largest page": f"{default}/versions?limit=100",
        "versions, a later page": f"{default}/versions?cursor={LINE.cursor(300)}",
        "a version": f"{default}/versions/{deep}",
        "why a version forgot": f"{default}/versions/{deep}/forgetting",
        "a gate": f"{default}/gate",
        "moves of live": f"{default}/aliases/live/moves",
        "moves of live, largest page": f"{default}/aliases/live/moves?limit=500",
        "mIoU over all versions": "/admin/metrics",
        "mIoU over a model's versions": "/admin/metrics?model=default",
        "audit": "/admin/audit",
        "audit, largest page": "/admin/audit?limit=500",
        "audit of an action": "/admin/audit?action=version.promote",
        "audit of an action that never was": "/admin/audit?action=key.revoke",
        "audit of a model": "/admin/audit?model=street",
        "audit of somebody": "/admin/audit?actor=eva",
        "audit of a week": "/admin/audit?since=2026-03-01&until=2026-03-08",
        "keys": "/admin/keys",
        "webhooks": "/admin/webhooks",
        "classes": "/classes",
        "classes of a version": f"/classes?version={deep}",
        "live": "/health/live",
        "metrics": "/metrics",
    }


def measure(
    url: str, process: psutil.Process, key: str, asked: dict[str, str], times: int
) -> dict[str, Record]:
    """Ask each call so many times, after some that do not count; return how long it took.

    `cpu_ms` is the API's own processor time a call, which a busy machine changes little.
    """
    found = {}
    for name, path in asked.items():
        tally = Tally()
        client = Client(url, key, tally)
        for _ in range(3):
            body = client.ask(name, "GET", path)
        tally.seconds.clear()
        before = sum(process.cpu_times()[:2])
        for _ in range(times):
            client.ask(name, "GET", path)
        cpu = sum(process.cpu_times()[:2]) - before
        client.close()
        if tally.errors or body is None:
            raise RuntimeError(f"{name}: {tally.errors or tally.refused}")
        half, most = (1000 * value for value in np.percentile(tally.seconds[name], (50, 95)))
        found[name] = {
            "path": path,
            "kib": round(len(body) / 1024, 1),
            "p50_ms": round(half, 1),
            "p95_ms": round(most, 1),
            "cpu_ms": round(1000 * cpu / times, 1),
        }
    return found


def migrate_back_and_forward(engine: Engine) -> Record:
    """Take the tables back to the first migration and forward again; return seconds of each."""
    config = migration_config()
    scripts = ScriptDirectory.from_config(config)
    steps = [script.revision for script in scripts.walk_revisions()][::-1]  # the oldest first
    back = {
        revision: _moved(engine, lambda to=before: command.downgrade(config, to), config)
        for before, revision in zip(steps[-2::-1], steps[:0:-1], strict=True)
    }
    forward = {
        revision: _moved(engine, lambda to=revision: command.upgrade(config, to), config)
        for revision in steps[1:]
    }
    return {"back_seconds": back, "forward_seconds": forward}


def _moved(engine: Engine, move: Any, config: Any) -> float:
    began = time.perf_counter()
    with engine.execution_options(write=True).begin() as connection:
        config.attributes["connection"] = connection
        move()
    return round(time.perf_counter() - began, 2)


@contextmanager
def empty_database(kind: str) -> Iterator[str | None]:
    """Yield the URL of an empty Postgres, or None: SQLite in the service's own folder."""
    if kind == "sqlite":
        yield None
        return
    with postgres() as server:
        yield new_database(server)


def take(kind: str, tasks: int, versions: int, times: int) -> Record:
    """Fill a database of this kind, ask and migrate; return what was seen."""
    with tempfile.TemporaryDirectory(prefix="sats-tables-") as made, empty_database(kind) as url:
        folder = Path(made)
        settings = Settings(data_dir=folder / "data", database_url=url)
        settings.blob_dir.mkdir(parents=True)
        engine = make_engine(settings.resolved_database_url)
        upgrade(engine)
        fill(engine, tasks, versions)
        with write_session(engine) as session:
            key = create_key(session, read_secret(settings), "bench", [Scope.ADMIN])
        with api(settings, folder / "api.log", "/health/live") as (answering, process):
            seen = measure(answering, process, key, calls(tasks, versions), times)
        migrations = migrate_back_and_forward(engine)
        engine.dispose()
    return {
        "commit": commit(),
        "hardware": hardware("cpu"),
        "processors": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "tasks": tasks,
        "versions": versions,
        "times": times,
        "slower_than_the_bar": [n for n, one in seen.items() if one["p95_ms"] > BAR_MS],
        "calls": seen,
        "migrations": migrations,
    }


def record(
    path: Path, command: str, kinds: Sequence[str] | None, taken: Callable[[str], Record]
) -> None:
    """Put what is taken of each kind of database into a record; other kinds in it stay."""
    written: Record = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    written["command"] = command
    for kind in kinds or ("sqlite", "postgres"):
        seen = written["runs"][kind] = taken(kind)
        path.write_text(json.dumps(written, indent=1) + "\n")
        typer.echo(f"{kind}: slower than the bar: {seen['slower_than_the_bar'] or 'nothing'}")


def main(
    tasks: Annotated[int, typer.Option(help="Rows of tasks.")] = 10_000,
    versions: Annotated[int, typer.Option(help="Rows of versions.")] = 1_000,
    times: Annotated[int, typer.Option(help="How often each call is asked.")] = 60,
    database: Annotated[list[str] | None, typer.Option(help="sqlite, postgres; both.")] = None,
    results: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("docs/results"),
) -> None:
    """Fill tables, ask every list and read call, migrate; write how long it took."""
    command = f"python -m benchmarks.tables --times {times}"
    record(
        results / "tables.json", command, database, lambda kind: take(kind, tasks, versions, times)
    )


if __name__ == "__main__":
    typer.run(main)
