"""Leaves no bytes behind a task that has ended."""

from pathlib import Path

from sqlalchemy import Engine

from app.db import END_STATES, Task, read_session
from app.storage import BlobStore
from app.tasks.uploads import drop_uploads
from worker.folder import WorkFolder


def tidy(engine: Engine, blobs: BlobStore, work_dir: Path, task_id: str) -> None:
    """Remove an ended task's uploads and work folder; leave any other task's alone.

    The work folder goes last: as long as it is there, `tidy_all` comes back for both.
    """
    with read_session(engine) as session:
        task = session.get(Task, task_id)
        if task is None or task.state not in END_STATES:
            return
        uploads = task.uploads
    drop_uploads(engine, blobs, uploads)
    WorkFolder(work_dir, task_id).remove()


def tidy_all(engine: Engine, blobs: BlobStore, work_dir: Path) -> None:
    """Tidy up behind every ended task that a lost worker left something of."""
    if work_dir.is_dir():
        for folder in list(work_dir.iterdir()):
            tidy(engine, blobs, work_dir, folder.name)
