"""Which version of each model is live, known in memory: a request asks the database nothing."""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import structlog
from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db import Version, read_session
from app.db.base import JsonObject
from app.registry.service import lineage, live_ids, served_version

MOST_NUMBERED = 256
"""Versions asked for by their number that are remembered."""
NUMBERED_SECONDS = 60.0
"""How long they are: a version never changes, but it may be deleted."""
STOP_SECONDS = 5.0
"""How long a look at a database that does not answer holds up the end of the process."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, eq=False)
class KnownVersion:
    """What answering needs of a version's row; none of it ever changes."""

    id: int
    model_id: int
    model: str
    number: int
    classes: Sequence[JsonObject]
    line: tuple[int, ...]
    """Numbers of the versions it was learned through: base first, itself last."""
    brought: Mapping[str, int]
    """Number of the one among them that brought each class, the last one that did."""
    files: JsonObject

    @classmethod
    def of(cls, session: Session, version: Version) -> "KnownVersion":
        """Take it from a row; its lineage is read too."""
        line = lineage(session, version)
        return cls(
            id=version.id,
            model_id=version.model_id,
            model=version.model.name,
            number=version.number,
            classes=version.classes,
            line=tuple(line.values()),
            brought=_brought(session, line),
            files=version.files,
        )


class LiveVersions:
    """The live version of every model, as it was a moment ago.

    A thread asks the database again and again, with one statement while nothing changes. Whoever
    moves `live` in this process calls `refresh` once that is committed. While the database does
    not answer, what was known stays known.

    Args:
        engine: the database.
        seconds: between two looks.
    """

    def __init__(self, engine: Engine, seconds: float) -> None:
        self._engine = engine
        self._seconds = seconds
        self._live: Mapping[str, KnownVersion] = MappingProxyType({})  # replaced, never changed
        self._numbered: OrderedDict[tuple[str, int], tuple[KnownVersion, float]] = OrderedDict()
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._begun = self._ended = 0
        self._failure: Exception | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-versions", daemon=True)

    def start(self) -> None:
        """Look now, and from now on."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def all(self) -> list[KnownVersion]:
        """Return the live versions by their models' names."""
        return sorted(self._live.values(), key=lambda known: known.model)

    def recall(self, model: str, number: int | None = None) -> KnownVersion | None:
        """Return the version of this number, else the live one, where it is known; asks nobody."""
        if number is None:
            return self._live.get(model)
        with self._lock:
            known, at = self._numbered.get((model, number), (None, 0.0))
            if known is None or time.monotonic() - at > NUMBERED_SECONDS:
                return None
            self._numbered.move_to_end((model, number))
            return known

    def find(self, model: str, number: int | None = None) -> KnownVersion:
        """Return the version of this number, else the live one; asks for what is not known.

        Raises:
            NotFoundProblem: no such model or version.
            NoLiveVersionProblem: the model has no live version.
            SQLAlchemyError: the database does not answer.
        """
        known = self.recall(model, number)
        if known is not None:
            return known
        with read_session(self._engine) as session:
            known = KnownVersion.of(session, served_version(session, model, number))
        if number is not None:
            self._remember(known)
            return known
        with self._lock:
            # A look that found one meanwhile may be newer.
            self._live = MappingProxyType({model: known, **self._live})
            return self._live[model]

    def forget(self, model: str, number: int) -> None:
        """Ask again for a version by its number: it was deleted."""
        with self._lock:
            self._numbered.pop((model, number), None)

    def refresh(self) -> None:
        """Look which versions are live.

        Whoever waits for another's look takes what it raised, and what it found where it began
        after they came: one that began before may not see what they have just committed.

        Raises:
            SQLAlchemyError: the database does not answer.
        """
        ended, begun = self._ended, self._begun
        # One look at a time: an older one never replaces what a newer one has found.
        with self._looking:
            if self._ended > ended and self._failure is not None:
                raise self._failure.with_traceback(None)
            if self._ended > ended and self._begun > begun:
                return
            self._begun += 1
            self._failure = None
            try:
                self._look()
            except Exception as error:
                self._failure = error
                raise
            finally:
                self._ended += 1

    def _look(self) -> None:
        with read_session(self._engine) as session:
            known = {version.id: version for version in self._live.values()}
            found = {
                model: known.get(version_id) or _read(session, version_id)
                for model, version_id in live_ids(session).items()
            }
        with self._lock:
            self._live = MappingProxyType(found)

    def refresh_soon(self) -> None:
        """Look now; where the database does not answer, the thread's next looks do it."""
        try:
            self.refresh()
        except SQLAlchemyError as error:
            log.warning("live_versions_not_read", error=str(error))

    def _remember(self, known: KnownVersion) -> None:
        with self._lock:
            self._numbered[known.model, known.number] = (known, time.monotonic())
            self._numbered.move_to_end((known.model, known.number))
            while len(self._numbered) > MOST_NUMBERED:
                self._numbered.popitem(last=False)

    def _run(self) -> None:
        failing = False
        while not self._over.is_set():
            try:
                self.refresh()
            except Exception:
                # The thread outlives any bad look; of many in a row the first is told.
                if not failing:
                    log.exception("live_versions_not_read")
                failing = True
            else:
                failing = False
            self._over.wait(self._seconds)


def _brought(session: Session, line: Mapping[int, int]) -> dict[str, int]:
    """Return the numbers of the versions of a line that brought its classes, by their names."""
    rows = session.execute(
        select(Version.id, Version.new_classes).where(Version.id.in_(list(line)))
    )
    of = {row.id: row.new_classes for row in rows}
    return {name: number for version_id, number in line.items() for name in of[version_id]}


def _read(session: Session, version_id: int) -> KnownVersion:
    return KnownVersion.of(session, session.get_one(Version, version_id))
