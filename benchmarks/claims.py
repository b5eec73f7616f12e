"""How many tasks a minute go through workers' hands, and what does the database bear for it?

    python -m benchmarks.claims

On an empty Postgres, so many worker processes at once take the tasks of some keys in turns: each is
claimed, prepared, registered, made live and tidied up by the worker's own code. In place of the
training process stands a function that writes its result at once, and no broker is asked: workers
take the next task as soon as they are done. Then one task runs for a while and nothing else does.
Writes its section of `scale.json` to `--results`.
"""

import io
import json
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Engine, func, select, text

from app.db import ApiKey, DeviceKind, Task, TaskState, make_engine, read_session, write_session
from app.db.migrate import upgrade
from app.processes.repeating import Repeating
from app.settings import Settings
from app.storage import LocalBlobStore
from app.tasks.schemas import TaskSpec
from app.tasks.submission import Submission, submit
from app.workers.needs import Resources
from benchmarks.scale_record import write_section
from tests.fixtures.databases import new_database
from tests.fixtures.drawings import voc_zip
from tests.fixtures.servers import postgres
from tests.fixtures.statements import Statements
from tests.worker.scripted_child import Plan, write_result
from worker.claim import claim
from worker.device import Device
from worker.folder import WorkFolder
from worker.heartbeat import Heartbeat
from worker.presence import Presence
from worker.supervisor import Supervisor
from worker.sweeper import Sweeper
from worker.turns import next_task, whose_turn

KEYS = 4
START_SECONDS = 300.0
HAS = Resources(DeviceKind.CPU, 16_000)
PROCESSOR = Device("A processor", 1, HAS)
Record = dict[str, Any]


class AtOnce(Supervisor):
    """A worker whose steps are done as soon as they begin."""

    def _train(self, _claimed: Any, _pulse: Any, folder: WorkFolder, job: Any, _lock: int) -> None:
        folder.begin(job)
        write_result(job.model_dump(mode="json"), Plan())


def work(settings: Settings, name: str, start: Barrier, done: "Queue[Record]") -> None:
    """Take tasks until none waits; tell how many, and how many statements that took."""
    engine = make_engine(settings.resolved_database_url, settings.database_limits)
    supervisor = AtOnce(engine, LocalBlobStore(settings.blob_dir), settings, name, PROCESSOR)
    turn, ended, missed = whose_turn(HAS), 0, 0
    with engine.connect():  # that no connection is made while the clock runs
        pass
    start.wait(START_SECONDS)
    with Statements(engine) as asked:
        while _waits(engine):
            if supervisor.run(turn) is None:
                missed += 1
            else:
                ended += 1
    done.put({"tasks": ended, "missed": missed, "statements": len(asked.seen)})
    engine.dispose()


def _waits(engine: Engine) -> bool:
    with read_session(engine) as session:
        return next_task(session, HAS) is not None


def post(engine: Engine, settings: Settings, tasks: int) -> None:
    """Queue tasks of some keys, each the first of a model of its own."""
    settings.blob_dir.mkdir(parents=True, exist_ok=True)
    blobs = LocalBlobStore(settings.blob_dir)
    drawn = voc_zip(settings.data_dir / "drawn.zip", ["cat"], pictures=3, size=32)
    blob = blobs.put(io.BytesIO(drawn.read_bytes()))
    with write_session(engine) as session:
        for number in range(1, KEYS + 1):
            name = f"key-{number}"
            session.add(ApiKey(id=number, name=name, digest=name, scopes=["submit"]))
    for number in range(tasks):
        spec = TaskSpec(name="cat", model=f"m{number}", create=True)
        with write_session(engine) as session:
            submit(session, Submission(spec, blob, "", None, key_id=number % KEYS + 1))


def take(workers: int, tasks: int, server: str) -> Record:
    """Have so many processes do so many tasks; return how long it took."""
    with tempfile.TemporaryDirectory(prefix="sats-claims-") as folder:
        settings = Settings(data_dir=Path(folder), database_url=new_database(server), threads=1)
        engine = make_engine(settings.resolved_database_url)
        upgrade(engine)
        post(engine, settings, tasks)
        spawn = multiprocessing.get_context("spawn")
        start, done = spawn.Barrier(workers + 1), spawn.Queue()
        processes = [
            spawn.Process(target=work, args=(settings, f"host:{number}", start, done))
            for number in range(workers)
        ]
        for process in processes:
            process.start()
        start.wait(START_SECONDS)
        wal, began = _wal(engine), time.perf_counter()
        told = [done.get(timeout=3600) for _ in processes]
        seconds = time.perf_counter() - began
        written = _wal(engine) - wal
        for process in processes:
            process.join()
        with read_session(engine) as session:
            live = select(func.count()).select_from(Task).where(Task.state == TaskState.LIVE)
            ended = session.scalar(live)
        engine.dispose()
    if ended != tasks or sum(one["tasks"] for one in told) != tasks:
        raise RuntimeError(f"{ended} of {tasks} tasks went live, workers did {told}")
    return {
        "workers": workers,
        "tasks": tasks,
        "seconds": round(seconds, 2),
        "tasks_a_minute": round(60 * tasks / seconds, 1),
        "least_and_most_of_a_worker": [f(one["tasks"] for one in told) for f in (min, max)],
        "claims_that_came_too_late": sum(one["missed"] for one in told),
        "statements_a_task": round(sum(one["statements"] for one in told) / tasks, 1),
        "wal_bytes_a_task": round(written / tasks),
    }


def idle(server: str, seconds: float) -> Record:
    """Let one task run and nothing happen in it; return what the database bears a minute."""
    with tempfile.TemporaryDirectory(prefix="sats-claims-") as folder:
        settings = Settings(data_dir=Path(folder), database_url=new_database(server))
        engine = make_engine(settings.resolved_database_url)
        upgrade(engine)
        post(engine, settings, 1)
        with write_session(engine) as session:
            held = claim(session, whose_turn(HAS), "host:1", settings.lease_seconds)
        if held is None:
            raise RuntimeError("the one task there is cannot be claimed")
        presence = Presence(engine, "host:1", "0", Device("a", 1, HAS), settings.presence_seconds)
        present = Repeating("presence", presence.beat, settings.presence_seconds)
        parts = (engine, LocalBlobStore(settings.blob_dir), settings)
        sweeper = Sweeper(*parts, lambda: None, HAS, lambda _: None, lambda: False)
        sweeps = Repeating("sweeper", sweeper.sweep, settings.sweep_seconds)
        with Statements(engine) as asked:
            wal = _wal(engine)
            beats = settings.lease_seconds, settings.heartbeat_seconds
            with Heartbeat(engine, held, *beats):
                for thread in (present, sweeps):
                    thread.start()
                time.sleep(seconds)
                for thread in (present, sweeps):
                    thread.stop()
            written = _wal(engine) - wal
        engine.dispose()
    return {
        "seconds": seconds,
        "statements_a_minute": round(60 * len(asked.seen) / seconds, 1),
        "wal_bytes_a_minute": round(60 * written / seconds),
    }


def _wal(engine: Engine) -> int:
    """Return how many bytes the server has written to its log, over all databases."""
    with engine.connect() as connection:
        return int(
            connection.execute(
                text("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")
            ).scalar_one()
        )


def main(
    workers: Annotated[list[int] | None, typer.Option(help="Worker processes; again.")] = None,
    tasks: Annotated[int, typer.Option(help="Tasks of each run.")] = 400,
    seconds: Annotated[float, typer.Option(help="How long the one task runs.")] = 60.0,
    results: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("docs/results"),
) -> None:
    """Have workers do tasks that take no time; write how many a minute."""
    counts: Sequence[int] = workers or (1, 4, 16)
    with postgres() as server:
        runs = [take(count, tasks, server) for count in counts]
        running = idle(server, seconds)
    found = {"runs": runs, "running_task": running}
    command = f"python -m benchmarks.claims --tasks {tasks} --seconds {seconds:g}"
    write_section(results, "claims", command, found)
    typer.echo(json.dumps(found, indent=1))


if __name__ == "__main__":
    typer.run(main)
