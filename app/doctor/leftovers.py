"""Nothing temporary is left: broken messages, lost wake-ups, half-made uploads and imports."""

import json
import shutil
import time
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import select

from app.broker import broker_folder
from app.broker.folders import unreadable_folder
from app.db import END_STATES, RUNNING_STATES, Task
from app.doctor.finding import Check, Finding, Installation


def find_broken_messages(installation: Installation) -> Sequence[Finding]:
    """Return what the embedded broker set aside as no message, or has half-written for long."""
    if installation.settings.redis_url:
        return []
    folder = broker_folder(installation.settings)
    set_aside = _files(unreadable_folder(folder))
    partial = [p for p in _files(folder) if p.suffix == ".partial" and _is_old(installation, p)]
    return [
        *(Finding("message-unreadable", "no message", str(path), True) for path in set_aside),
        *(Finding("message-partial", "a write never ended", str(path), True) for path in partial),
    ]


def find_stale_messages(installation: Installation) -> Sequence[Finding]:
    """Return the embedded broker's old wake-ups for tasks that have ended, where no worker works.

    While one does, wake-ups wait for it.
    """
    if installation.settings.redis_url:
        return []
    messages = [p for p in _files(broker_folder(installation.settings)) if p.suffix == ".msg"]
    named = {path: task_id for path in messages if (task_id := _task_of(path)) is not None}
    with installation.snapshot() as session:
        if session.scalar(select(Task.id).where(Task.state.in_(RUNNING_STATES)).limit(1)):
            return []
        waiting = set(session.scalars(select(Task.id).where(Task.state.not_in(END_STATES))))
    return [
        Finding("message-stale", f"it wakes for task {task_id}, which has ended", str(path), True)
        for path, task_id in named.items()
        if task_id not in waiting and _is_old(installation, path)
    ]


def find_temporaries(installation: Installation) -> Sequence[Finding]:
    """Return what a lost process left in `data_dir/tmp`."""
    folder = installation.settings.data_dir.resolve() / "tmp"
    left = sorted(folder.iterdir()) if folder.is_dir() else []
    return [
        Finding("temporary-left", "a lost process left it", str(path), repairable=True)
        for path in left
        if all(_is_old(installation, inner) for inner in (path, *path.rglob("*")))
    ]


def remove(_held: Installation, finding: Finding) -> None:
    """Remove a file, or a folder with all that is in it."""
    path = Path(finding.where)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in _below(folder) if path.is_file())


def _below(folder: Path) -> Iterator[Path]:
    """Yield what lies in the broker's folder and in its folders of messages and exchanges."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and path.name != unreadable_folder(folder).name:
            yield from path.iterdir()
        else:
            yield path


def _is_old(installation: Installation, path: Path) -> bool:
    try:
        return path.stat().st_mtime < time.time() - installation.settings.gc_grace_seconds
    except FileNotFoundError:
        return False  # it went meanwhile


def _task_of(path: Path) -> str | None:
    """Return the id of the task that a message wakes for; None where it says none."""
    try:
        body = json.loads(path.read_bytes())["body"]
        return str(json.loads(b64decode(body))[0][0])
    except (OSError, ValueError, Base64Error, KeyError, IndexError, TypeError):
        return None  # a worker judges what is no message, and sets it aside


CHECKS = (
    Check(find_broken_messages, remove),
    Check(find_stale_messages, remove),
    Check(find_temporaries, remove),
)
