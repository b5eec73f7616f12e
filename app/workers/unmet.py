"""Tasks that wait and that no living worker may take. Web-free.

While a worker sweeps it notes since when a task is such a one (`tasks.unmet_since`, and in
`unmet_seen` when that was last looked at). Time in which nobody looked counts for nothing: whoever
stops all workers, and starts those with a GPU last, must not find tasks failed that wait for one.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, or_, select, update
from sqlalchemy.orm import Session

from app.db import DeviceKind, Task, TaskState, Worker, database_now
from app.workers.needs import ANY
from app.workers.service import alive

NOTED_SECONDS = 60.0
"""How often it is noted that a task is still one that nobody may take."""
GAP_SECONDS = 600.0
"""Where nobody looked for so long, the time is counted from the start."""


def count_workers(session: Session) -> dict[str, int]:
    """Return how many workers are alive, by what they train on; 0 where none is."""
    rows = session.execute(
        select(Worker.device, func.count().label("workers")).where(alive()).group_by(Worker.device)
    )
    return {**dict.fromkeys(map(str, DeviceKind), 0), **{row.device: row.workers for row in rows}}


def count_unmet(session: Session) -> dict[str, int]:
    """Return how many tasks wait that no living worker may take, by the device they ask for."""
    devices = (ANY, *map(str, DeviceKind))
    asked = [func.count(case((_device() == device, 1))) for device in devices]
    counts = session.execute(select(*asked).where(*_waits(), ~_met())).one()
    return dict(zip(devices, counts, strict=True))


def outdated(session: Session) -> bool:
    """Whether `note` has something to write."""
    return session.scalar(select(or_(_to_note().exists(), _to_forget().exists()))) or False


def note(session: Session) -> None:
    """Note since when tasks wait that no living worker may take; forget it of the others. Flushes.

    Where no worker is alive at all nothing is noted: that is an outage, and no fault of a task.
    Rows are locked in their queue's order; those that somebody else has locked are left for later.
    """
    now = database_now()
    since = case((_seen_within(GAP_SECONDS), Task.unmet_since), else_=now)
    to_note, to_forget = _locked(session, _to_note()), _locked(session, _to_forget())
    for ids, values in (
        (to_note, {"unmet_since": since, "unmet_seen": now}),
        (to_forget, {"unmet_since": None, "unmet_seen": None}),
    ):
        if ids:
            session.execute(update(Task).where(Task.id.in_(ids)).values(**values))


def lasting(hours: float) -> ColumnElement[bool]:
    """Whether a task waits that no living worker could take for so long."""
    now = database_now()
    return and_(
        *_waits(),
        exists().where(alive()),
        ~_met(),
        _seen_within(GAP_SECONDS),
        Task.unmet_since <= now - hours * 3600,
    )


def _to_note() -> Select[str]:
    stale = or_(Task.unmet_seen.is_(None), ~_seen_within(NOTED_SECONDS))
    return select(Task.id).where(*_waits(), stale, exists().where(alive()), ~_met())


def _seen_within(seconds: float) -> ColumnElement[bool]:
    """Whether it was looked at so long ago at most, and not before the clock went back."""
    now = database_now()
    return Task.unmet_seen.between(now - seconds, now + GAP_SECONDS)


def _to_forget() -> Select[str]:
    return select(Task.id).where(*_waits(), Task.unmet_since.is_not(None), _met())


def _locked(session: Session, wanted: Select[str]) -> Sequence[str]:
    rows = wanted.order_by(Task.sequence).with_for_update(of=Task, skip_locked=True)
    return session.scalars(rows).all()


def _waits() -> tuple[ColumnElement[bool]]:
    return (Task.state == TaskState.QUEUED,)


def _device() -> ColumnElement[str]:
    return func.coalesce(Task.spec["device"].as_string(), ANY)


def _met() -> ColumnElement[bool]:
    """Whether a worker that is alive meets a task's needs: `app.workers.needs.Needs` in SQL."""
    memory = func.coalesce(Task.spec["min_memory_mib"].as_integer(), 0)
    fits = and_(or_(_device() == ANY, _device() == Worker.device), memory <= Worker.memory_mib)
    return select(Worker.id).where(alive(), fits).correlate(Task).exists()
