"""Leaves no bytes behind a task that has ended."""

from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.db import END_STATES, HeldOutSet, Task, write_session
from app.storage import BlobStore
from app.tasks.service import dataset_is_needed
from worker.folder import WorkFolder


def tidy(engine: Engine, blobs: BlobStore, work_dir: Path, task_id: str) -> None:
    """Remove an ended task's upload and work folder; leave any other task's alone.

    The work folder goes last: as long as it is there, `tidy_all` comes back for both.
    """
    with write_session(engine) as session:
        task = session.get(Task, task_id)
        if task is None or task.state not in END_STATES:
            return
        if not _in_use(session, task.dataset):
            blobs.delete(task.dataset)
    WorkFolder(work_dir, task_id).remove()


def tidy_all(engine: Engine, blobs: BlobStore, work_dir: Path) -> None:
    """Tidy up behind every ended task that a lost worker left something of."""
    if work_dir.is_dir():
        for folder in list(work_dir.iterdir()):
            tidy(engine, blobs, work_dir, folder.name)


def _in_use(session: Session, key: str) -> bool:
    kept = select(HeldOutSet.id).where(HeldOutSet.blob == key).limit(1)
    return dataset_is_needed(session, key) or session.scalar(kept) is not None
