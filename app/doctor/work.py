"""No work folder outlives its task. Only this machine's folders are seen."""

import fcntl
import os
import shutil
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session

from app.db import END_STATES, Task, TaskState, utc_now
from app.doctor.finding import Check, Finding, Installation


def find_left_folders(installation: Installation) -> Sequence[Finding]:
    """Return the work folders of tasks that ended, and are past their keeping time."""
    folders = installation.settings.work_dir
    with installation.snapshot() as session:
        return [
            Finding("work-folder-left", what, str(folder.resolve()), repairable=True)
            for folder in sorted(folders.iterdir() if folders.is_dir() else ())
            if _is_id(folder.name)
            and (what := _why_left(installation, session, folder)) is not None
        ]


def remove_folder(installation: Installation, finding: Finding) -> None:
    """Remove it, unless a process still works in it."""
    if finding not in find_left_folders(installation):
        return
    folder = Path(finding.where)
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        return  # it is found again
    finally:
        os.close(handle)


def _is_id(name: str) -> bool:
    try:
        UUID(name)
    except ValueError:
        return False
    return True


def _why_left(installation: Installation, session: Session, folder: Path) -> str | None:
    grace = installation.settings.gc_grace_seconds
    task = session.get(Task, folder.name)
    if task is None:
        young = time.time() - folder.stat().st_mtime < grace
        return None if young else "its task is not there"
    if task.state not in END_STATES:
        return None
    kept = timedelta(seconds=grace)
    if task.state == TaskState.FAILED and task.tidied_at is None:
        kept += timedelta(hours=installation.settings.keep_failed_hours)
    ended = task.finished_at
    if ended is not None and utc_now() < ended + kept:
        return None
    return f"its task is {task.state} and past its keeping time"


CHECKS = (Check(find_left_folders, remove_folder),)
