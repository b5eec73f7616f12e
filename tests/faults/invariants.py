"""What must hold of a service whatever was done to it: what `sats doctor` looks at, and more."""

import json
import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from app.broker import broker_folder
from app.db import END_STATES, Task, TaskState, read_session
from app.doctor.examination import examine
from app.doctor.finding import Finding
from app.processes.children import own
from tests.faults.children import training_children
from tests.faults.clients import Told
from tests.faults.process import ROOT
from tests.faults.stack import DidNotHappenError, Stack, wait_until
from tests.fixtures.processes import environment

LEFTOVERS = {
    "blob-orphan",
    "write-unfinished",
    "message-unreadable",
    "message-partial",
    "message-stale",
    "temporary-left",
    "work-folder-left",
}
"""What is there until somebody collects it: judged when a run is over, and everything is old."""

MESSAGES_SET_ASIDE = {"message-unreadable"}
"""What waits for an operator, who is told by `sats doctor`; a fault has put it there."""

AGE_SECONDS = 2 * 3600.0
COLLECTION_SECONDS = 60.0


class Watch(threading.Thread):
    """Looks, as long as a run goes on, whether any task is trained by two processes at once.

    Attributes:
        broken: what it saw.
    """

    def __init__(self, stack: Stack, every_seconds: float = 0.25) -> None:
        super().__init__(name="watch", daemon=True)
        self.broken: list[str] = []
        self._stack = stack
        self._every_seconds = every_seconds
        self._over = threading.Event()

    def run(self) -> None:
        """Look until it is stopped."""
        while not self._over.wait(self._every_seconds):
            for task_id, groups in training_children(self._stack.settings.data_dir).items():
                if len(groups) > 1:
                    self.broken.append(f"trained-twice: task {task_id} by processes {groups}")

    def stop(self) -> None:
        """End it."""
        self._over.set()
        self.join()


def broken_now(stack: Stack) -> list[str]:
    """Return what does not hold at this moment, while the service works."""
    try:
        found = examine(stack.installation)
    except SQLAlchemyError as error:
        return [f"not-examined: {error}"]
    return [_said(one) for one in found if one.kind not in LEFTOVERS]


def broken_at_end(stack: Stack, told: Told) -> list[str]:
    """Return what does not hold once every task has ended, every file is old and was looked at."""
    return [
        *broken_tasks(stack.engine, told.accepted),
        *broken_now(stack),
        *_left_after_collection(stack),
        *_after_repair(stack),
    ]


def broken_tasks(engine: Engine, accepted: Collection[str]) -> list[str]:
    """Return the accepted tasks that are not there or have no end, and those nobody asked for."""
    with read_session(engine) as session:
        states = {row.id: row.state for row in session.execute(select(Task.id, Task.state))}
    return [
        *(f"task-lost: {one} was accepted" for one in set(accepted) - states.keys()),
        *(f"task-unasked: {one} was made twice" for one in states.keys() - set(accepted)),
        *(f"task-unended: {one} is {now}" for one, now in states.items() if now not in END_STATES),
    ]


def ends(stack: Stack) -> dict[str, int]:
    """Return how many tasks ended how."""
    with read_session(stack.engine) as session:
        return dict(Counter(map(str, session.scalars(select(Task.state)))))


def failures(stack: Stack) -> dict[str, int]:
    """Return how many tasks failed for which reason, by the last part of its type."""
    with read_session(stack.engine) as session:
        errors = session.scalars(select(Task.error).where(Task.state == TaskState.FAILED))
        return dict(Counter(str((one or {}).get("type")).rpartition(":")[2] for one in errors))


def _left_after_collection(stack: Stack) -> list[str]:
    """Let every file grow old, and the workers collect; return what is left all the same."""
    make_old(stack)
    left: list[Finding] = []

    def collected() -> bool:
        stack.keep()
        left[:] = [one for one in examine(stack.installation) if one.kind not in MESSAGES_SET_ASIDE]
        return not left

    try:
        wait_until(collected, COLLECTION_SECONDS, "all is collected", every=1.0)
    except DidNotHappenError:
        return [_said(one) for one in left]
    return []


def make_old(stack: Stack) -> None:
    """Let everything on the disk be older than an hour."""
    then = time.time() - AGE_SECONDS
    data = stack.settings.data_dir
    for folder in (stack.settings.blob_dir, broker_folder(stack.settings), data / "tmp"):
        for path in folder.rglob("*"):
            if path.is_file():
                _touch(path, then)


def _touch(path: Path, then: float) -> None:
    try:
        os.utime(path, (then, then))
    except FileNotFoundError:
        return  # a message, say, that was taken meanwhile


def _after_repair(stack: Stack) -> list[str]:
    """Run the operators' command; return what it finds after it has mended what it may."""
    done = subprocess.run(
        [*own("app.cli"), "doctor", "--repair", "--json"],
        cwd=ROOT,
        env={**os.environ, **environment(stack.settings), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return []
    try:
        found = json.loads(done.stdout)["findings"]
    except ValueError:
        return [f"doctor-refused: {done.stderr[-500:]}"]
    return [f"after-repair: {one['kind']}: {one['where']}: {one['what']}" for one in found]


def _said(one: Finding) -> str:
    return f"{one.kind}: {one.where}: {one.what}"
