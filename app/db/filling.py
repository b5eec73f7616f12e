"""Columns that rows from before have empty, filled a few rows at a time once they are there.

A migration is one transaction, and on Postgres whoever wants its tables waits for its end: so what
may stay empty is filled after it. Where that is cut off, rows stay empty and are read as before.
"""

from sqlalchemy import Engine, select, update

from app.db.session import write_session
from app.db.task import Task

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
