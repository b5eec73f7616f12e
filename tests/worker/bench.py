"""Everything a test of the worker stands on, put together for one pair of database and broker."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from sqlalchemy import Engine, select, text

from app.audit.actor import act_as
from app.broker import make_celery, wake
from app.db import (
    Actor,
    ActorType,
    DeviceKind,
    HeldOutSet,
    Task,
    TaskEvent,
    TaskState,
    Version,
    Worker,
    read_session,
    write_session,
)
from app.imports.schemas import ImportSpec
from app.keys.secret import read_secret
from app.registry.moves import go_live
from app.registry.service import find_model, list_versions, live_version
from app.retirement.erasing import Erasing
from app.retirement.schemas import RetireWish
from app.settings import Settings
from app.storage import BlobMissingError, BlobStore
from app.storage.garbage import stores_of
from app.tasks.schemas import TaskSpec
from app.tasks.service import cancel, retry
from app.tasks.submission import Submission, submit
from app.workers.needs import Resources
from tests.fixtures.checkpoints import checkpoint_zip
from tests.fixtures.drawings import voc_zip
from tests.fixtures.processes import environment
from tests.worker.scripted_child import Control
from worker.device import Device
from worker.supervisor import Supervisor

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
"""Seconds. A worker that takes its share of a busy machine needs a minute to start."""
CPU = Resources(DeviceKind.CPU, 16_000)
PROCESSOR = Device("A processor", 1, CPU)
"""What workers of tests train on, where nothing else is said."""
EVA = Actor(ActorType.KEY, "eva")
"""Who asks for imports."""


@dataclass
class Bench:
    """A database, a blob store, a broker, and a plan for the scripted child."""

    settings: Settings
    engine: Engine
    blobs: BlobStore
    control: Control

    def post(
        self,
        labelled: Sequence[str],
        *,
        model: str = "default",
        seed: int = 0,
        by_admin: bool = True,
        key_id: int | None = None,
        **spec: Any,
    ) -> str:
        """Queue a task whose pictures are labelled for some classes; no wake-up is sent."""
        blob = self.blobs.put(io.BytesIO(drawn(tuple(labelled), seed)))
        wanted = TaskSpec.model_validate({"name": "+".join(labelled), "model": model, **spec})
        with write_session(self.engine) as session:
            posted = Submission(wanted, blob, "", None, by_admin=by_admin, key_id=key_id)
            return submit(session, posted)[0].id

    def post_import(
        self, labels: Sequence[str], *, evaluate: Sequence[str] = (), **spec: Any
    ) -> str:
        """Queue an import of a checkpoint with these labels; no wake-up is sent."""
        blob = self.blobs.put(io.BytesIO(checkpoint_zip(labels)))
        pictures = self.blobs.put(io.BytesIO(drawn(tuple(evaluate), 0))) if evaluate else None
        wanted = ImportSpec.model_validate({"source": "pets.zip", **spec})
        with write_session(self.engine) as session:
            act_as(session, EVA)
            return submit(session, Submission(wanted, blob, EVA.name, None, pictures))[0].id

    def run_import(self, labels: Sequence[str], **posted: Any) -> Task:
        """Post an import, run it in this process, return its task."""
        task_id = self.post_import(labels, **posted)
        self.supervisor().run(task_id)
        return self.task(task_id)

    def post_retirement(
        self, number: int, names: Sequence[str], depth: str = "hide", **posted: Any
    ) -> str:
        """Queue a retirement from a version; no wake-up is sent."""
        labelled = posted.pop("dataset", ())
        pictures = self.blobs.put(io.BytesIO(drawn(tuple(labelled), 9))) if labelled else None
        model = posted.pop("model", "default")
        wish = RetireWish.model_validate({"classes": list(names), "depth": depth, **posted})
        spec = wish.spec(model, number)
        blob = self.blobs.put(io.BytesIO(spec.model_dump_json().encode()))
        with write_session(self.engine) as session:
            act_as(session, EVA)
            made = Submission(spec, blob, EVA.name, None, pictures, by_admin=True)
            return submit(session, made)[0].id

    def retire(self, number: int, names: Sequence[str], depth: str = "hide", **posted: Any) -> Task:
        """Post a retirement, run it in this process, return its task."""
        task_id = self.post_retirement(number, names, depth, **posted)
        self.supervisor().run(task_id)
        return self.task(task_id)

    def erase(self) -> None:
        """Delete what versions that went live were made to delete, as a worker would."""
        stores = stores_of(self.blobs, self.settings, None)
        secret = read_secret(self.settings)
        Erasing(self.engine, stores, self.settings, secret, "worker-1").act()

    def supervisor(
        self, name: str = "worker-1", device: Device = PROCESSOR, **changes: Any
    ) -> Supervisor:
        settings = self.settings.model_copy(update=changes)
        return Supervisor(self.engine, self.blobs, settings, name, device, self.control.command())

    def run(self, labelled: Sequence[str], **posted: Any) -> Task:
        """Post a task, run it in this process, return it."""
        task_id = self.post(labelled, **posted)
        self.supervisor().run(task_id)
        return self.task(task_id)

    def task(self, task_id: str) -> Task:
        with read_session(self.engine) as session:
            return session.get_one(Task, task_id)

    def preview(self, task_id: str) -> Task:
        """The task that makes a task's preview."""
        with read_session(self.engine) as session:
            return session.scalars(select(Task).where(Task.preview_of == task_id)).one()

    def state(self, task_id: str) -> TaskState:
        return TaskState(self.task(task_id).state)

    def queued(self) -> list[str]:
        """Ids of the tasks that wait."""
        with read_session(self.engine) as session:
            return list(session.scalars(select(Task.id).where(Task.state == TaskState.QUEUED)))

    def workers(self) -> list[str]:
        """Names of the workers that said that they are there."""
        with read_session(self.engine) as session:
            return list(session.scalars(select(Worker.name)))

    def cancel(self, task_id: str) -> None:
        with write_session(self.engine) as session:
            cancel(session, task_id)

    def events(self, task_id: str, kind: str | None = None) -> list[TaskEvent]:
        wanted = select(TaskEvent).where(TaskEvent.task_id == task_id).order_by(TaskEvent.id)
        if kind:
            wanted = wanted.where(TaskEvent.kind == kind)
        with read_session(self.engine) as session:
            return list(session.scalars(wanted))

    def states(self, task_id: str) -> list[str]:
        """The states a task went through."""
        return [event.data["state"] for event in self.events(task_id, "state")]

    def versions(self, model: str = "default") -> list[Version]:
        """A model's versions, the oldest first."""
        with read_session(self.engine) as session:
            found = find_model(session, model)
            versions = list_versions(session, found.id)[::-1] if found else []
            for version in versions:
                _ = version.parent
            return versions

    def live(self, model: str = "default") -> int | None:
        with read_session(self.engine) as session:
            found = find_model(session, model)
            live = live_version(session, found.id) if found else None
            return live.number if live else None

    def held_out(self) -> list[HeldOutSet]:
        with read_session(self.engine) as session:
            return list(session.scalars(select(HeldOutSet).order_by(HeldOutSet.id)))

    def move_live(self, version: Version) -> None:
        with write_session(self.engine) as session:
            go_live(session, session.get_one(Version, version.id))

    def wake(self, task_id: str) -> None:
        celery = make_celery(self.settings)
        wake(celery, task_id)
        celery.close()

    def has_blob(self, key: str) -> bool:
        try:
            self.blobs.path(key)
        except BlobMissingError:
            return False
        return True

    def assert_clean(self, *task_ids: str) -> None:
        """Nothing is left on disk of these tasks, but what a failed one is tried again with."""
        for task_id in task_ids:
            if self.state(task_id) == TaskState.FAILED:
                self.assert_kept(task_id)
                continue
            eventually(lambda t=task_id: not (self.settings.work_dir / t).exists())
            assert not [key for key in self.task(task_id).uploads if self.has_blob(key)]
        incoming = self.settings.blob_dir / "incoming"
        assert not list(incoming.iterdir())

    def assert_kept(self, task_id: str) -> None:
        """A failed task has its upload and its work folder, without what is made anew."""
        task = self.task(task_id)
        folder = self.settings.work_dir / task_id
        assert task.tidied_at is None
        assert all(self.has_blob(key) for key in task.uploads)
        assert folder.is_dir()
        assert not (folder / "old").exists()

    def retry(self, task_id: str) -> None:
        with write_session(self.engine) as session:
            retry(session, self.blobs, task_id)

    def ends(self, task_id: str, *states: TaskState, patience: float = PATIENCE) -> Task:
        """Wait until a task is in one of `states`; return it."""
        eventually(lambda: self.state(task_id) in states, patience, lambda: self.state(task_id))
        return self.task(task_id)

    def trains(self, task_id: str) -> None:
        """Wait until a try has finished an epoch."""
        eventually(lambda: bool(self.events(task_id, "epoch")))

    def child_pid(self, start: int) -> int:
        """The process id of the scripted child's start number `start`, from 1, once it trains."""
        eventually(lambda: len(self.control.starts()) >= start)
        return self.control.starts()[start - 1].pid

    @contextmanager
    def worker(self, module: str = "tests.worker.scripted_worker") -> Iterator["WorkerProcess"]:
        """A real Celery worker in a process of its own."""
        log = self.settings.data_dir / f"worker-{time.monotonic_ns()}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "--app", module, "worker", "--loglevel", "INFO"],
                cwd=ROOT,
                env={
                    **os.environ,
                    **environment(self.settings),
                    "SCRIPTED_CHILD_CONTROL": str(self.control.path),
                },
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        running = WorkerProcess(process, log)
        try:
            yield running
        except BaseException:
            sys.stderr.write(log.read_text())
            raise
        finally:
            process.kill()
            process.wait()


@dataclass
class WorkerProcess:
    """A running Celery worker."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self) -> int:
        """Ask it to stop, as a supervisor of services does; return its exit status."""
        self.process.terminate()
        return self.process.wait(PATIENCE)


@contextmanager
def running(supervisor, task_id):
    """Run a task in a thread, as the worker's main thread would."""
    left = []
    thread = threading.Thread(target=lambda: left.append(supervisor.run(task_id)))
    thread.start()
    try:
        yield left
    finally:
        supervisor.stopping.set()
        thread.join()


def rename(bench: Bench, before: str, after: str) -> None:
    """Give a table another name: what the database then says is an error of another kind."""
    with bench.engine.execution_options(write=True).begin() as connection:
        connection.execute(text(f"ALTER TABLE {before} RENAME TO {after}"))


@cache
def drawn(classes: tuple[str, ...], seed: int) -> bytes:
    """A small data set of these classes."""
    with TemporaryDirectory() as folder:
        return voc_zip(Path(folder) / "a.zip", classes, pictures=3, size=32, seed=seed).read_bytes()


def eventually(
    holds: Callable[[], bool],
    patience: float = PATIENCE,
    say: Callable[[], object] = lambda: "",
    every: float = 0.02,
) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + patience
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {patience} s {say()}")
        time.sleep(every)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, though nobody may have reaped it yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
