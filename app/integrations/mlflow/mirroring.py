"""Brings MLflow to what the registry says, again and again. Web-free.

Nothing is queued and no row says what was mirrored: what is there is compared with what is to be
there. So versions from before the setting are mirrored, and a promotion during an outage arrives
after it. Nobody waits for it: a task and a promotion are done before it looks.
"""

import fcntl
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from sqlalchemy import Engine, select

from app.db import Version, read_session, utc_now
from app.db.base import utc_text
from app.errors import Problem
from app.integrations.mlflow.apart import Ask
from app.integrations.mlflow.client import Mlflow, MlflowError, Registered
from app.integrations.mlflow.describing import (
    DELETED_TAG,
    MADE_TAG,
    MIRRORED_TAG,
    MODEL_TAG,
    TASK_TAG,
    Description,
    describe,
)
from app.integrations.mlflow.packing import FILES, pack
from app.integrations.mlflow.wanted import WantedModel, WantedVersion, wanted
from app.registry.files import version_file
from app.settings import Settings
from app.storage import BlobStore
from sats_core.files import write_whole
from sats_core.scratch import Scratch

FIRST_WAIT_SECONDS = 20.0
LONGEST_WAIT_SECONDS = 600.0
_MOST_TOLD = 20

log = structlog.get_logger(__name__)


class _StoppedError(Exception):
    """This process is to end."""


class Mirroring:
    """Mirrors every model's versions, one worker at a time.

    Args:
        engine: the database; it is only read.
        blobs: where versions' files are.
        settings: the process's settings.
        ask: makes the calls of MLflow.
    """

    def __init__(self, engine: Engine, blobs: BlobStore, settings: Settings, ask: Ask) -> None:
        self._engine = engine
        self._blobs = blobs
        self._settings = settings
        self._ask = ask
        self._tries = 0
        self._due = 0.0
        self._since: str | None = None
        self._said: list[str] | None = None
        self.stopping = threading.Event()
        """Set: what is under way is left, and taken up again by the next process."""

    def act(self) -> None:
        """Compare and mend, if it is time to and no other worker is at it."""
        if time.monotonic() < self._due:
            return
        with _turn(self._settings.data_dir / "mlflow.lock") as ours:
            if not ours:
                return
            try:
                behind = self.compare()
            except _StoppedError:
                return
            except MlflowError as error:
                behind = [str(error)]
            self._note(behind)

    def compare(self) -> list[str]:
        """Bring MLflow to what the registry says; returns what could not be brought, in words.

        Where nothing has changed it is one request for every thousand models.

        Raises:
            MlflowError: MLflow does not answer.
        """
        with read_session(self._engine) as session:
            models = wanted(session)
        if not models:
            return []
        prefix = self._settings.mlflow_prefix
        there = self._ask(Mlflow.models, prefix)
        behind: list[str] = []
        for model in models:
            found = there.get(f"{prefix}{model.name}")
            if found is None or found.tags.get(MIRRORED_TAG) != _mark(model, found.live):
                try:
                    behind += self._bring(model, found)
                except MlflowError as error:
                    if not error.of_one_version:
                        raise
                    behind.append(f"{model.name}: {error}")
                except _StoppedError:
                    raise
                except Exception as error:
                    # What goes wrong with one model must not keep the others from their turn.
                    log.exception("mlflow_model_failed", model=model.name)
                    behind.append(f"{model.name}: {type(error).__name__}: {error}")
        return behind

    def _bring(self, model: WantedModel, found: Registered | None) -> list[str]:
        """Mirror one model; returns which of its versions could not be, and why."""
        name = f"{self._settings.mlflow_prefix}{model.name}"
        if found is None:
            self._ask(Mlflow.make_model, name, {MODEL_TAG: model.name, MADE_TAG: model.made})
        elif found.tags.get(MADE_TAG) != model.made:
            return [
                f"{name} in MLflow is not this service's: delete it there, or choose another "
                "SATS_MLFLOW_PREFIX"
            ]
        known: dict[str, Registered] = {}
        for one in self._ask(Mlflow.versions, name):
            known.setdefault(one.tags.get(TASK_TAG, ""), one)
        behind = []
        for version in model.versions:
            try:
                self._bring_version(name, version, known)
            except (Problem, OSError, ValueError, MlflowError) as error:
                if isinstance(error, MlflowError) and not error.of_one_version:
                    raise
                behind.append(f"{model.name}@{version.number}: {error}")
        live = self._point(name, model.live, known, found.live if found else "")
        if not behind:
            self._ask(Mlflow.tag_model, name, MIRRORED_TAG, _mark(model, live))
        return behind

    def _bring_version(
        self, name: str, version: WantedVersion, known: dict[str, Registered]
    ) -> None:
        if self.stopping.is_set():
            raise _StoppedError
        there = known.get(version.task)
        if version.deleted is None and there is None:
            known[version.task] = self._mirror(name, version)
        elif version.deleted and there is not None and DELETED_TAG not in there.tags:
            self._ask(Mlflow.tag_version, there, DELETED_TAG, version.deleted)
            log.info("mlflow_tagged_deleted", model=name, version=version.number)

    def _mirror(self, name: str, wanted: WantedVersion) -> Registered:
        with read_session(self._engine) as session:
            version = session.get_one(Version, wanted.id)
            parent = session.scalar(select(Version.number).where(Version.id == version.parent_id))
        files = {file: version_file(self._blobs, version, file) for file in FILES}
        told = describe(version, parent)
        run, whole = self._ask(Mlflow.run, name, told)
        if not whole:
            self._write(run, told, files)
        made = self._ask(Mlflow.register, name, run, told)
        log.info("mlflow_mirrored", model=name, version=wanted.number, mlflow=made.number)
        return made

    def _write(self, run: str, told: Description, files: dict[str, Path]) -> None:
        with Scratch("mlflow") as folder:
            pack(folder, files, self._ask(Mlflow.release), run)
            self._ask(Mlflow.write, run, told, folder)

    def _point(
        self, name: str, live: WantedVersion | None, known: dict[str, Registered], now: str
    ) -> str:
        """Move the alias to where it should be, and return where it is."""
        if live is None:
            if now:
                self._ask(Mlflow.remove_live, name)
            return ""
        target = known.get(live.task)
        if target is None:  # it could not be mirrored: where the alias is it says what was live
            return now
        if target.number != now:
            self._ask(Mlflow.point_live, name, target.number)
            log.info("mlflow_live_moved", model=name, version=live.number, mlflow=target.number)
        return target.number

    def _note(self, behind: list[str]) -> None:
        """Say what could not be brought: in the log, and for `sats doctor`; and when to try."""
        if behind:
            self._due = time.monotonic() + wait_after(self._tries)
            self._tries += 1
            self._since = self._since or utc_text(utc_now())
            log.warning("mlflow_behind", tries=self._tries, reasons=behind[:_MOST_TOLD])
        else:
            self._tries, self._due, self._since = 0, 0.0, None
        if behind or self._said != behind:
            said = {"since": self._since, "behind": behind[:_MOST_TOLD]}
            write_whole(self._settings.mlflow_file, json.dumps(said).encode())
        self._said = behind


def wait_after(tries: int) -> float:
    """Return how many seconds pass after so many failures before this one."""
    return min(FIRST_WAIT_SECONDS * 2.0 ** min(tries, 10), LONGEST_WAIT_SECONDS)


def _mark(model: WantedModel, live: str) -> str:
    """Return what is written on a model that is mirrored whole, its alias where it should be."""
    return f"{model.digest} {live}"


@contextmanager
def _turn(path: Path) -> Iterator[bool]:
    """Hold a lock on a file while the block runs; gives whether nobody else has it."""
    with path.open("ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = True
        except BlockingIOError:
            ours = False
        yield ours
