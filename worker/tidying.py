"""Leaves no bytes behind a task that has ended; a failed one may be tried again for a while."""

from datetime import timedelta

from sqlalchemy import Engine, select

from app.db import END_STATES, Task, TaskState, read_session, utc_now, write_session
from app.settings import Settings
from app.storage import BlobStore
from app.tasks.uploads import drop_upload
from worker.folder import WorkFolder


def tidy(engine: Engine, blobs: BlobStore, settings: Settings, task_id: str) -> None:
    """Remove an ended task's uploads and work folder; leave any other task's alone.

    Of a failed task the upload and the checkpoints stay for `keep_failed_hours`. The work folder
    goes last: as long as it is there, `tidy_all` comes back for both.
    """
    folder = WorkFolder(settings.work_dir, task_id)
    with read_session(engine) as session:
        task = session.get(Task, task_id)
        if task is None or task.state not in END_STATES:
            return
        kept = _is_kept(task, settings)
    if kept:
        folder.shrink()
        return
    if not _take(engine, settings, task_id):
        return
    for key in task.uploads:
        with write_session(engine) as session:
            drop_upload(session, blobs, key)
    folder.remove()


def tidy_all(engine: Engine, blobs: BlobStore, settings: Settings) -> None:
    """Tidy up behind every ended task that a lost worker, or a failure, left something of."""
    if settings.work_dir.is_dir():
        for folder in list(settings.work_dir.iterdir()):
            tidy(engine, blobs, settings, folder.name)


def _is_kept(task: Task, settings: Settings) -> bool:
    if task.state != TaskState.FAILED or task.tidied_at is not None or task.finished_at is None:
        return False
    return utc_now() < task.finished_at + timedelta(hours=settings.keep_failed_hours)


def _take(engine: Engine, settings: Settings, task_id: str) -> bool:
    """Say, where it is so, that a task's files are gone: from now on nobody tries it again."""
    with write_session(engine) as session:
        task = session.scalar(select(Task).where(Task.id == task_id).with_for_update(of=Task))
        if task is None or task.state not in END_STATES or _is_kept(task, settings):
            return False  # somebody was faster, and it is to be tried again
        if task.state == TaskState.FAILED:
            task.tidied_at = task.tidied_at or utc_now()
        return True
