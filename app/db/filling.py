"""Columns that rows from before have empty, filled a few rows at a time once they are there.

A migration is one transaction, and on Postgres whoever wants its tables waits for its end: so what
may stay empty is filled after it, what only the store knows by a worker. Where that is cut off,
rows stay empty and are read as before.
"""

from collections.abc import Callable

from sqlalchemy import Engine, select, update

from app.db.session import read_session, write_session
from app.db.task import Task
from app.db.version import HeldOutSet

ROWS = 1000
"""That one transaction writes."""


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


def fill_held_out_bytes(engine: Engine, size: Callable[[str], int | None], rows: int = ROWS) -> int:
    """Write down how many bytes held-out pictures take that no row says; returns of how many sets.

    Those of before migration 0026, and of old processes beside newer ones.

    Args:
        engine: the database.
        size: returns a blob's bytes; None: the blob is not there.
        rows: that one transaction writes, the store having been asked before it.

    Raises:
        OSError: the store cannot be asked; what was written stays.
    """
    place, filled = 0, 0
    empty = (HeldOutSet.bytes.is_(None), HeldOutSet.deleted_at.is_(None))
    wanted = select(HeldOutSet.id, HeldOutSet.blob).where(*empty).order_by(HeldOutSet.id)
    while True:
        with read_session(engine) as session:
            found = session.execute(wanted.where(HeldOutSet.id > place).limit(rows)).all()
        if not found:
            return filled
        sizes = {row.id: of_blob for row in found if (of_blob := size(row.blob)) is not None}
        with write_session(engine) as session:
            for one, of_blob in sizes.items():
                session.execute(
                    update(HeldOutSet).where(HeldOutSet.id == one).values(bytes=of_blob)
                )
        place, filled = found[-1].id, filled + len(sizes)
