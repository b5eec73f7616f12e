"""What every check stands on: what is examined, and what may be found."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.audit.actor import COMMAND
from app.db import Actor, Place, read_session
from app.settings import Settings
from app.storage import BlobStore, open_store
from app.storage.garbage import stores_of


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it must be.

    Attributes:
        kind: its name in docs/doctor.md.
        what: what is wrong, for people.
        where: the row, version or file, the same in every examination.
        repairable: whether `sats doctor --repair` mends it.
    """

    kind: str
    what: str
    where: str
    repairable: bool = False


@dataclass(frozen=True)
class Installation:
    """A service's database, stores and folders, as this machine sees them.

    Attributes:
        engine: the database.
        stores: every place that blobs are kept in.
        settings: the process's settings.
        actor: who mends it.
    """

    engine: Engine
    stores: Mapping[Place, BlobStore]
    settings: Settings
    actor: Actor = COMMAND

    @classmethod
    def of(cls, engine: Engine, settings: Settings, actor: Actor = COMMAND) -> "Installation":
        """Return the installation that a process's settings name."""
        stores = stores_of(open_store(settings, engine), settings, engine)
        return cls(engine, stores, settings, actor)

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Open a session whose reads are all of one moment, while the service goes on."""
        engine = self.engine
        if engine.dialect.name == "postgresql":
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with read_session(engine) as session:
            yield session


@dataclass(frozen=True)
class Check:
    """One invariant.

    Attributes:
        find: returns where it does not hold; changes nothing.
        repair: mends a finding that is repairable and still stands; None where none ever is.
    """

    find: Callable[[Installation], Sequence[Finding]]
    repair: Callable[[Installation, Finding], None] | None = None
