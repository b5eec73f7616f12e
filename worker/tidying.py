"""Leaves no bytes behind a task that has ended; a failed one may be tried again for a while."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Engine, select

from app.db import END_STATES, Task, TaskState, present, read_session, write_session
from app.errors import NotFoundProblem
from app.settings import Settings
from app.storage import BlobStore
from app.tasks.service import lock_task
from app.tasks.uploads import drop_uploads
from worker.folder import WorkFolder


def tidy(engine: Engine, blobs: BlobStore, settings: Settings, task_id: str) -> None:
    """Remove an ended task's uploads and work folder; leave any other task's alone.

    Of a failed task the upload and the checkpoints stay for `keep_failed_hours`. The work folder
    goes last: as long as it is there, `tidy_all` comes back for both. Where there is none, uploads
    that a lost worker left are the garbage collector's.
    """
    folder = WorkFolder(settings.work_dir, task_id)
    with read_session(engine) as session:
        task = session.get(Task, task_id)
        if task is None or task.state not in END_STATES:
            return
        needed, kept = task.blobs, _is_kept(task, settings, present(session))
    if kept:
        folder.shrink()
    elif _take(engine, settings, task_id):
        drop_uploads(engine, blobs, needed)
        folder.remove()


def tidy_all(engine: Engine, blobs: BlobStore, settings: Settings) -> None:
    """Tidy up behind every ended task that a lost worker, or a failure, left something of.

    Failed tasks are known by their rows, as their folders may never have been made, or lie on
    another machine; every machine's worker looks after the folders that it has.
    """
    folders = settings.work_dir.iterdir() if settings.work_dir.is_dir() else ()
    for task_id in {*_due(engine, settings), *(folder.name for folder in folders)}:
        tidy(engine, blobs, settings, task_id)


def _due(engine: Engine, settings: Settings) -> Sequence[str]:
    """Return the ids of the failed tasks whose upload has been kept for long enough."""
    with read_session(engine) as session:
        before = present(session) - timedelta(hours=settings.keep_failed_hours)
        failed = Task.state == TaskState.FAILED, Task.tidied_at.is_(None)
        return session.scalars(select(Task.id).where(*failed, Task.finished_at <= before)).all()


def _is_kept(task: Task, settings: Settings, now: datetime) -> bool:
    if task.state != TaskState.FAILED or task.tidied_at is not None or task.finished_at is None:
        return False
    return now < task.finished_at + timedelta(hours=settings.keep_failed_hours)


def _take(engine: Engine, settings: Settings, task_id: str) -> bool:
    """Say, where it is so, that a task's files are gone: from now on nobody tries it again."""
    with write_session(engine) as session:
        try:
            task, _ = lock_task(session, task_id)
        except NotFoundProblem:
            return False
        now = present(session)
        if task.state not in END_STATES or _is_kept(task, settings, now):
            return False  # somebody was faster, and it is to be tried again
        if task.state == TaskState.FAILED:
            task.tidied_at = task.tidied_at or now
        return True
