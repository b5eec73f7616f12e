"""From a project of Label Studio to a task, wherever that was asked for. Web-free.

    waiting ── take ──► fetching ──► queued (a task was made), nothing_new, failed
       ▲                   │ ▲
       └── asked again ────┘ └── tried again: Label Studio did not answer, a worker was lost

A row, no message, says that an import is asked for, so that none is lost, and a thread of every
worker looks for it, so that none waits for a step that runs.
"""

import asyncio
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog
from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from app.db import ProjectState, Task, read_session, write_session
from app.errors import (
    BusyProblem,
    DiskFullProblem,
    IdempotencyKeyReusedProblem,
    Problem,
    UnavailableProblem,
    problem_of,
)
from app.integrations.label_studio import projects
from app.integrations.label_studio.client import LabelStudio, LabelStudioError
from app.integrations.label_studio.gathering import Gathered, gather
from app.integrations.label_studio.projects import Taken
from app.keys.service import check_row
from app.registry.naming import check_known
from app.registry.parents import check_start
from app.registry.retired import retired_names
from app.settings import Settings
from app.storage import Blob, BlobStore
from app.tasks.accepting import Acceptance
from app.tasks.classes import class_names
from app.tasks.disk import check_task_fits
from app.tasks.schemas import TaskJson, TaskSpec
from app.tasks.service import check_step
from app.tasks.submission import Submission
from sats_core.data.names import printable
from sats_core.errors import CoreError

BEAT_SECONDS = 1.0
"""Between two looks whether the import is still ours, and whether it is to end."""
PASSING = (OSError, DiskFullProblem, BusyProblem, UnavailableProblem)
"""What passes by itself: the disk is full, for instance."""
_DATASET = "dataset"
_LONGEST = 2000

log = structlog.get_logger(__name__)


class _LostError(Exception):
    """Somebody else has taken the import, or this process is to end."""


class Importing:
    """Takes imports that were asked for and makes tasks of them, one at a time.

    Args:
        engine: the database.
        blobs: where data sets go.
        settings: the process's settings.
        wake: sends a worker the id of a task that waits.
    """

    def __init__(
        self, engine: Engine, blobs: BlobStore, settings: Settings, wake: Callable[[str], None]
    ) -> None:
        self._engine = engine
        self._blobs = blobs
        self._settings = settings
        self._wake = wake
        self.stopping = threading.Event()
        """Set: what is under way is given back, for another worker."""

    def act(self) -> None:
        """Make what is due."""
        while not self.stopping.is_set() and (taken := self.next()) is not None:
            self.run(taken)

    def next(self, row: int | None = None) -> Taken | None:
        """Take an import that is due, if there is one; of one row, where it is named."""
        with read_session(self._engine) as session:  # no write lock where there is nothing to do
            if not projects.is_due(session, row):
                return None
        with write_session(self._engine) as session:
            return projects.take(session, row)

    def run(self, taken: Taken) -> None:
        """Make an import, and write what became of it."""
        told = {"project": taken.project, "model": taken.model}
        try:
            state, values = self._made(taken)
        except _LostError:
            log.info("label_studio_given_back", **told)
            with write_session(self._engine) as session:
                projects.give_back(session, taken)
            return
        except LabelStudioError as error:
            log.warning("label_studio_failed", passing=error.passing, error=str(error), **told)
            with write_session(self._engine) as session:
                if error.passing:
                    projects.put_off(session, taken, str(error)[:_LONGEST])
                else:
                    projects.end(session, taken, ProjectState.FAILED, **_failed(str(error)))
            return
        except PASSING as error:
            log.warning("label_studio_failed", passing=True, error=str(error), **told)
            with write_session(self._engine) as session:
                projects.put_off(session, taken, str(error)[:_LONGEST])
            return
        except (Problem, CoreError) as error:
            detail = (problem_of(error) if isinstance(error, CoreError) else error).detail
            log.warning("label_studio_failed", error=detail, **told)
            with write_session(self._engine) as session:
                projects.end(session, taken, ProjectState.FAILED, **_failed(detail))
            return
        log.info("label_studio_imported", state=state, task=values.get("task_id"), **told)
        with write_session(self._engine) as session:
            projects.end(session, taken, state, **values)

    def _made(self, taken: Taken) -> tuple[ProjectState, dict[str, object]]:
        made = self._task_before(taken)
        if made is not None:
            return ProjectState.QUEUED, {"task_id": made}
        self._check_asker(taken)
        self._settings.incoming_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._settings.incoming_dir) as folder:
            gathered = asyncio.run(self._gathered(taken, Path(folder)))
            known = self._known(taken.model)
            values: dict[str, object] = {
                "classes": sorted(gathered.classes),
                "pictures": gathered.pictures,
                "pictures_in_all": gathered.in_all,
                "warnings": [*gathered.warnings, *_unseen(gathered, known)],
            }
            if gathered.classes <= known:
                return ProjectState.NOTHING_NEW, values
            if not self._renewed(taken, gathered.pictures, gathered.in_all):
                raise _LostError
            self._check_asker(taken)  # it took a while
            try:
                task = self._queue(taken, gathered)
            except IdempotencyKeyReusedProblem:
                # Whoever had it before was not lost, and has made it after all.
                return ProjectState.QUEUED, values | {"task_id": self._task_before(taken)}
        self._wake(task.preview or task.id)
        return ProjectState.QUEUED, values | {"task_id": task.id}

    def _task_before(self, taken: Taken) -> str | None:
        """Return the task that a try before this one made: its worker was lost just then."""
        with read_session(self._engine) as session:
            return session.scalar(
                select(Task.id).where(
                    Task.submitted_by == taken.asker.submitted_by,
                    Task.idempotency_key == taken.task_key,
                )
            )

    def _check_asker(self, taken: Taken) -> None:
        """Check that the model is there, or may be made, and that the key that asked still works.

        Raises:
            UnauthorizedProblem, ExpiredKeyProblem: it does not.
            ModelNotFoundProblem: there is no such model.
        """
        with read_session(self._engine) as session:
            if taken.asker.key_id is not None:
                check_row(session, taken.asker.key_id)
            if not taken.asker.create:
                check_known(session, taken.model, lambda _: True)

    def _known(self, model: str) -> set[str]:
        """Return what is not taught: what the model knows, and what was taken away from it."""
        with read_session(self._engine) as session:
            start = check_start(session, model, None)
            retired = retired_names(session, start) if start else ()
            return {*class_names(start), *retired}

    async def _gathered(self, taken: Taken, folder: Path) -> Gathered:
        pictures = [0, 0]

        def told(done: int, in_all: int) -> None:
            pictures[:] = done, in_all

        async def gathering() -> Gathered:
            async with LabelStudio.opened(self._settings) as label_studio:
                return await gather(label_studio, taken.project, self._settings, folder, told)

        with self._kept(taken, pictures) as lost:
            working = asyncio.create_task(gathering())
            try:
                while not working.done():
                    await asyncio.wait([working], timeout=BEAT_SECONDS)
                    if lost.is_set():
                        raise _LostError
            finally:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
        return working.result()

    @contextmanager
    def _kept(self, taken: Taken, pictures: Sequence[int]) -> Iterator[threading.Event]:
        """Keep an import while the block runs; gives what is set when it is ours no more.

        In a thread: to read a large export takes longer than it is taken for.
        """
        lost, over = threading.Event(), threading.Event()

        def beat() -> None:
            while not over.wait(BEAT_SECONDS):
                try:
                    if self.stopping.is_set() or not self._renewed(taken, *pictures):
                        lost.set()
                        return
                except SQLAlchemyError as error:
                    log.warning("label_studio_not_renewed", error=str(error))

        beating = threading.Thread(target=beat, name="label-studio-beat", daemon=True)
        beating.start()
        try:
            yield lost
        finally:
            over.set()
            beating.join()

    def _renewed(self, taken: Taken, done: int, in_all: int) -> bool:
        with write_session(self._engine) as session:
            return projects.renew(session, taken, done, in_all)

    def _queue(self, taken: Taken, gathered: Gathered) -> TaskJson:
        asker = taken.asker
        spec = TaskSpec(name=_name(taken, gathered), model=taken.model, create=asker.create)

        def make(stored: Mapping[str, Blob]) -> Submission:
            return Submission(
                spec,
                stored[_DATASET],
                asker.submitted_by,
                taken.task_key,
                by_admin=asker.by_admin,
                key_id=asker.key_id,
            )

        def check(staged: Mapping[str, Path]) -> None:
            check_step(self._engine, spec, staged[_DATASET], self._settings.limits)
            check_task_fits(self._engine, self._settings, spec, staged[_DATASET])

        most = self._settings.max_upload_bytes
        accepting = Acceptance(self._engine, self._blobs, most, asker.actor)
        with gathered.dataset.open("rb") as dataset:
            task, _replayed = accepting.accept({_DATASET: dataset}, make, check)
        return task


def _failed(why: str) -> dict[str, object]:
    return {"error": why[:_LONGEST]}


def _name(taken: Taken, gathered: Gathered) -> str:
    title = printable(gathered.title).strip() or f"project {taken.project}"
    return f"Label Studio: {title}"[:200]


def _unseen(gathered: Gathered, known: set[str]) -> list[str]:
    """Return what is said of labels that are new to the model and on no picture."""
    names = [name for name in gathered.labels if name not in gathered.classes | known]
    return [f"no picture shows {name!r}: it is left out" for name in names]
