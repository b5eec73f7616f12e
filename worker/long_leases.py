"""Leases that last longer than any is given: the database's clock was set back since.

A worker that lives renews its own at its next beat. That of a lost one would hold up its model for
as long as the clock went back, which may be years where a machine began with a wrong one.
"""

from collections.abc import Sequence

import structlog
from sqlalchemy import ColumnElement, Engine, and_, select, update

from app.db import RUNNING_STATES, Task, database_now, read_session, write_session

TIMES = 10.0
LEAST_SECONDS = 3600.0
"""How far ahead a lease may end though this process's own are shorter: so many times one of those,
and an hour at least. Another process may have other settings."""

log = structlog.get_logger(__name__)


def shorten(engine: Engine, lease_seconds: float) -> Sequence[str]:
    """Let each such lease end as one that is given now; returns the tasks' ids.

    Nothing is taken from anybody: who lives has the time of a lease to renew it.
    """
    too_long = _is_too_long(lease_seconds)
    with read_session(engine) as session:  # no write lock where there is nothing to do
        if session.scalar(select(Task.id).where(too_long).limit(1)) is None:
            return []
    until = database_now() + lease_seconds
    shortened = update(Task).where(too_long).values(lease_until=until).returning(Task.id)
    with write_session(engine) as session:
        found = session.scalars(shortened.execution_options(synchronize_session=False)).all()
    for task_id in found:
        log.warning("lease_shortened", task=task_id)
    return found


def _is_too_long(lease_seconds: float) -> ColumnElement[bool]:
    longest = max(LEAST_SECONDS, TIMES * lease_seconds)
    return and_(Task.state.in_(RUNNING_STATES), Task.lease_until > database_now() + longest)
