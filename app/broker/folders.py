"""Folders of the embedded broker, for who only looks at them: that takes nothing of Celery."""

import tempfile
import time
from pathlib import Path
from typing import Any

import structlog

PARTIAL = ".partial"
"""How a file's name ends while it is written."""
_LEFTOVERS = (PARTIAL, ".lock")
"""What nobody comes back for: writes that never ended, and locks of an earlier version of
`messages`, which made one per exchange (`.lock` itself has no suffix)."""

log = structlog.get_logger(__name__)


def transport_options(folder: Path, polling_seconds: float) -> dict[str, Any]:
    """Return the options of a `Transport` that keeps everything in `folder`; makes its folders."""
    messages, control = folder / "messages", folder / "control"
    lay_out(folder)
    return {
        "data_folder_in": str(messages),
        "data_folder_out": str(messages),
        "processed_folder": str(unreadable_folder(folder)),
        "control_folder": str(control),
        "polling_interval": polling_seconds,
    }


def unreadable_folder(folder: Path) -> Path:
    """Return where files that were no messages are set aside."""
    return folder / "unreadable"


def collect_leftovers(folder: Path, grace_seconds: float) -> list[Path]:
    """Remove what lost processes left of unfinished writes; return what was removed.

    Messages and the tables of queues stay, however old: they are somebody's. A file that cannot be
    removed is logged and stays.
    """
    before = time.time() - grace_seconds
    removed = []
    for path in (folder / "messages", folder / "control"):
        for file in sorted(path.iterdir()) if path.is_dir() else ():
            if file.suffix not in _LEFTOVERS:
                continue
            try:
                if file.stat().st_mtime >= before:
                    continue
                file.unlink()
            except FileNotFoundError:
                continue  # its writer finished after all, or another worker was faster
            except OSError as error:
                log.warning("leftover_stays", file=file.name, error=str(error))
                continue
            removed.append(file)
    return removed


def lay_out(folder: Path) -> None:
    """Make what the broker's folder must hold."""
    for path in (folder / "messages", folder / "control", unreadable_folder(folder)):
        path.mkdir(parents=True, exist_ok=True)


def check_writable(folder: Path) -> None:
    """Check that a message could be written.

    Raises:
        OSError: it could not.
    """
    lay_out(folder)
    with tempfile.TemporaryFile(dir=folder / "messages") as file:
        file.write(b"ready")
