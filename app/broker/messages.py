"""Celery's filesystem broker, with messages that are written and taken whole.

kombu's own lets a reader see a file before its writer has filled it, and a file that is no message
ends the worker that meets it.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from queue import Empty
from typing import Any
from uuid import uuid4

import structlog
from kombu.transport import filesystem
from kombu.utils.json import dumps, loads

from app.broker.folders import PARTIAL

log = structlog.get_logger(__name__)


class Channel(filesystem.Channel):  # type: ignore[misc]  # kombu has no types
    """Writes each file under a temporary name first; sets aside what it cannot read."""

    @cached_property
    def _messages(self) -> Path:
        return Path(self.data_folder_in)

    @cached_property
    def _stuck(self) -> set[str]:
        """Names of files that can neither be read nor moved: told once, then passed over."""
        return set()

    def _put(self, queue: str, payload: Any, **_kw: Any) -> None:
        # The names sort by age; wall time, as files outlive a restart of the machine.
        name = f"{time.time_ns()}_{uuid4()}.{queue}.msg"
        _write_whole(self._messages / name, dumps(payload))

    def _get(self, queue: str) -> Any:
        self._messages.mkdir(parents=True, exist_ok=True)  # somebody may have tidied it away
        for file in sorted(self._messages.iterdir()):
            if file.name.partition(".")[2] == f"{queue}.msg" and file.name not in self._stuck:
                payload = self._take(file)
                if payload is not None:
                    return payload
        raise Empty

    def _take(self, file: Path) -> Any:
        """Return a file's message; None where it holds none or another worker was faster."""
        try:
            payload = loads(file.read_bytes().decode())
            self.Message(payload, channel=self)  # what kombu will make of it, and stumble over
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._set_aside(file, error)
            return None
        try:
            file.unlink()  # of two that read it, one removes it: that one has it
        except FileNotFoundError:
            return None
        except OSError as error:
            self._pass_over(file, error)
            return None
        return payload

    def _set_aside(self, file: Path, error: Exception) -> None:
        try:
            file.rename(Path(self.processed_folder) / file.name)
        except FileNotFoundError:
            return  # another worker did it
        except OSError as failure:
            self._pass_over(file, failure)
            return
        log.error("message_skipped", file=file.name, error=f"{type(error).__name__}: {error}")

    def _pass_over(self, file: Path, error: OSError) -> None:
        self._stuck.add(file.name)
        log.error("message_stuck", file=file.name, error=str(error))

    def get_table(self, exchange: str) -> list[Any]:
        """Return an exchange's queues; a damaged file has none, until it is bound again."""
        try:
            found: list[Any] = super().get_table(exchange)
        except (ValueError, TypeError) as error:
            log.warning("exchange_unreadable", exchange=exchange, error=str(error))
            return []
        return found

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        bound = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        file = self._exchange_file(exchange)
        with _locked(file.parent):
            table = self.get_table(exchange)
            if bound not in table:
                _write_whole(file, dumps([bound, *table]))

    def _delete(
        self, queue: str, exchange: str, routing_key: str, pattern: str, *_a: Any, **_kw: Any
    ) -> None:
        self._purge(queue)
        bound = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        file = self._exchange_file(exchange)
        with _locked(file.parent):
            table = self.get_table(exchange)
            others = [one for one in table if one != bound]
            if others and others != table:
                _write_whole(file, dumps(others))
            elif not others:
                file.unlink(missing_ok=True)  # an exchange without queues is as good as none


class Transport(filesystem.Transport):  # type: ignore[misc]  # kombu has no types
    """What `broker_transport` names."""

    Channel = Channel


def _write_whole(file: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=PARTIAL)
    partial = Path(name)
    try:
        with os.fdopen(handle, "w") as out:
            out.write(text)
        partial.replace(file)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the one lock under which the tables in a folder are changed."""
    with folder.joinpath(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
