"""Columns that rows from before have empty, filled a few rows at a time once they are there.

A migration is one transaction, and on Postgres whoever wants its tables waits for its end: so what
may stay empty is filled after it, what only the store knows by a worker. Where that is cut off,
rows stay empty and are read as before.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import Engine, Row, select, update

from app.db.session import read_session, write_session
from app.db.task import Task
from app.db.version import HeldOutSet

ROWS = 1000
"""That one transaction writes."""

ASKED = 50
"""Rows that one transaction writes where the store is asked about each."""


def fill_names(engine: Engine, rows: int = ROWS) -> int:
    """Write the names of tasks from before migration 0023 into their column; returns of how many.

    A task that somebody holds is left out.
    """
    named, place, filled = Task.spec["name"].as_string(), "", 0
    empty = (Task.name.is_(None), named.is_not(None))
    while True:
        with write_session(engine) as session:
            found = select(Task.id).where(Task.id > place, *empty).order_by(Task.id).limit(rows)
            ids = session.scalars(found.with_for_update(skip_locked=True)).all()
            if not ids:
                return filled
            chosen = update(Task).where(Task.id.in_(ids)).values(name=named)
            session.execute(chosen.execution_options(synchronize_session=False))
        place, filled = ids[-1], filled + len(ids)


class HeldOutBytes:
    """Writes down how many bytes held-out pictures take that no row says.

    Those of before migration 0026, and of old processes beside newer ones. It remembers how far it
    came: what it cannot measure keeps it from nothing behind it, and a blob that is not there is
    not asked for at every pass.

    Args:
        engine: the database.
        size: returns a blob's bytes; None: the blob is not there. OSError: it cannot be read.
    """

    def __init__(self, engine: Engine, size: Callable[[str], int | None]) -> None:
        self._engine = engine
        self._size = size
        self._place = 0
        self._failed = False

    def fill(self, rows: int = ASKED) -> int:
        """Go on behind what the last pass asked for; returns of how many sets it wrote the bytes.

        Once it is through, the next pass begins anew if a read had failed.

        Raises:
            OSError: a read failed; what was measured before is written, and the next pass goes on
                behind it.
        """
        filled = 0
        while found := self._empty(rows):
            sizes, place, error = self._measure(found)
            with write_session(self._engine) as session:
                for one, of_blob in sizes.items():
                    chosen = update(HeldOutSet).where(HeldOutSet.id == one)
                    session.execute(chosen.values(bytes=of_blob))
            self._place = place
            if error is not None:
                self._failed = True
                raise error
            filled += len(sizes)
        if self._failed:
            self._place, self._failed = 0, False
        return filled

    def _empty(self, rows: int) -> Sequence[Row[int, str]]:
        empty = (HeldOutSet.bytes.is_(None), HeldOutSet.deleted_at.is_(None))
        wanted = select(HeldOutSet.id, HeldOutSet.blob).where(HeldOutSet.id > self._place, *empty)
        with read_session(self._engine) as session:
            return session.execute(wanted.order_by(HeldOutSet.id).limit(rows)).all()

    def _measure(
        self, found: Sequence[Row[int, str]]
    ) -> tuple[dict[int, int], int, OSError | None]:
        """Return sizes by row, the row that was asked about last, and what its read failed with."""
        sizes: dict[int, int] = {}
        for one, blob in found:
            try:
                of_blob = self._size(blob)
            except OSError as error:
                return sizes, one, error
            if of_blob is not None:
                sizes[one] = of_blob
        return sizes, one, None
