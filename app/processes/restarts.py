"""How often processes that others watch were started again: told by files, as they are apart."""

import json
import os
from pathlib import Path

import structlog

from sats_core.files import write_whole

SIBLINGS = "SATS_SIBLINGS_DIR"
"""Variable that names the folder in which the processes of one `sats api` find each other."""
SUPERVISED = "SATS_SUPERVISED"
"""Variable that tells a process that `sats serve` stops it, and ends it where it does not."""
_AMONG_SIBLINGS = ".restarts"
"""File in it; what begins with a dot is no sibling."""
_WORKER, _API = "worker_restarts", "api_restarts"

log = structlog.get_logger(__name__)


def write_restarts(record: Path, worker: int = 0, api: int = 0) -> None:
    """Write how often `sats serve` started its children again.

    A disk that is full costs the record alone.
    """
    _write(record, {_WORKER: worker, _API: api})


def read_restarts(record: Path) -> int | None:
    """Return how often `sats serve` started its worker again; None where it runs none here."""
    return _read(record, _WORKER)


def write_siblings_restarts(folder: Path, restarts: int) -> None:
    """Write how often `sats api` started its processes again, into the folder that they share."""
    _write(folder / _AMONG_SIBLINGS, {_API: restarts})


def read_api_restarts(record: Path) -> int | None:
    """Return how often processes of the API were started again, by `sats serve` or `sats api`.

    None: this one is started by neither.
    """
    found = []
    if SUPERVISED in os.environ:  # else it is that of another one on this folder
        found.append(_read(record, _API))
    if SIBLINGS in os.environ:
        found.append(_read(Path(os.environ[SIBLINGS]) / _AMONG_SIBLINGS, _API))
    told = [one for one in found if one is not None]
    return sum(told) if told else None


def _write(record: Path, told: dict[str, int]) -> None:
    try:
        write_whole(record, json.dumps(told).encode())
    except OSError as error:
        log.warning("restarts_not_recorded", error=str(error))


def _read(record: Path, name: str) -> int | None:
    try:
        told = json.loads(record.read_text())
        # A version from before wrote fewer.
        return int(told[name]) if name in told else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        log.warning("restarts_not_read", error=str(error))
        return None
