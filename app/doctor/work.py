"""No work folder outlives its task. Only this machine's folders are seen."""

import fcntl
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from app.db import END_STATES, Place, Task, TaskState, present
from app.doctor.finding import Check, Finding, Installation
from app.settings import Settings
from app.storage.references import referenced


@dataclass(frozen=True)
class _Look:
    """A work folder and its task, as they were at one moment.

    Attributes:
        folder: the folder.
        task: None: the database knows none.
        modified: when something came into the folder, or went, last; seconds since 1970.
        now: the moment, by the database's clock.
        settings: of this process.
    """

    folder: Path
    task: Task | None
    modified: float
    now: datetime
    settings: Settings

    @classmethod
    def at(cls, installation: Installation, folder: Path) -> "_Look":
        """Look at a folder; one that went meanwhile is as one that was made just now."""
        with installation.snapshot() as session:
            task, now = session.get(Task, folder.name), present(session)
        modified = time.time()
        with suppress(FileNotFoundError):
            modified = folder.stat().st_mtime
        return cls(folder, task, modified, now, installation.settings)

    def why_left(self) -> str | None:
        """Return why it should not be there any more; None: it may be."""
        grace = self.settings.gc_grace_seconds
        if self.task is None:
            return None if time.time() - self.modified < grace else "its task is not there"
        if self.task.state not in END_STATES:
            return None
        kept = timedelta(seconds=grace)
        if self.task.state == TaskState.FAILED and self.task.tidied_at is None:
            kept += timedelta(hours=self.settings.keep_failed_hours)
        ended = self.task.finished_at
        if ended is not None and self.now < ended + kept:
            return None
        return f"its task is {self.task.state} and past its keeping time"


def find_left_folders(installation: Installation) -> Sequence[Finding]:
    """Return the work folders of tasks that ended, and are past their keeping time."""
    work = installation.settings.work_dir.resolve()
    folders = sorted(work.iterdir() if work.is_dir() else ())
    looked = [_Look.at(installation, one) for one in folders if _is_work_folder(one)]
    left = [(one.folder, why) for one in looked if (why := one.why_left()) is not None]
    ours = not left or any(one.task for one in looked) or _holds_our_blobs(installation)
    lost = "" if ours else ", nor that of any other one: are they another service's?"
    return [
        Finding("work-folder-left", what + lost, str(folder), repairable=ours)
        for folder, what in left
    ]


def remove_folder(installation: Installation, finding: Finding) -> None:
    """Remove it, unless a process still works in it."""
    folder = Path(finding.where)
    if _Look.at(installation, folder).why_left() is None:
        return
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    except BlockingIOError:
        return  # it is found again
    finally:
        os.close(handle)


def _holds_our_blobs(installation: Installation) -> bool:
    """Whether a blob that the database refers to lies beside the work folders."""
    store = installation.stores[Place.BLOB_STORE]
    if store.elsewhere:
        return False
    with installation.snapshot() as session:
        keys = referenced(session, Place.BLOB_STORE)
    return any(store.is_there(key) for key in keys)


def _is_work_folder(path: Path) -> bool:
    """Whether a path is a folder of a task; a link is somebody's doing, and theirs to undo."""
    try:
        UUID(path.name)
    except ValueError:
        return False
    return path.is_dir() and not path.is_symlink()


CHECKS = (Check(find_left_folders, remove_folder),)
