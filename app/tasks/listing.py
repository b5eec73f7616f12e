"""Which tasks a list holds. Web-free."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from app.db import ApiKey, Model, Task
from app.db.base import utc_text
from app.records.paging import NEWEST, Listing, behind
from app.tasks.service import EVERY_TASK
from app.tasks.states import TaskOutcome, TaskStateJson, stored_states
from sats_core.limits import MAX_INT32

TaskSort = Literal["-created_at", "created_at", "-finished_at", "finished_at"]


def _ended(place: str) -> tuple[datetime, int]:
    """Return when the task of a place ended, and its sequence.

    Raises:
        ValueError: it is no such place.
    """
    time, _, sequence = place.partition(" ")
    if not time.endswith("Z") or not 0 <= int(sequence) <= MAX_INT32:
        raise ValueError("no time in UTC, or no number of a task")
    return datetime.fromisoformat(time), int(sequence)


TASKS = Listing("tasks", int)
_ENDED = Listing("tasks", str, _ended)


@dataclass(frozen=True)
class TaskOrder:
    """An order of tasks; those that have not ended are in no list by their end."""

    sort: TaskSort = NEWEST

    @property
    def listing(self) -> Listing[Any]:
        """What reads and writes its cursors."""
        return (_ENDED if self._by_end else TASKS).by(self.sort)

    def place(self, task: Task) -> int | str:
        """Return where a task stands."""
        if not self._by_end or task.finished_at is None:
            return task.sequence
        return f"{utc_text(task.finished_at)} {task.sequence}"

    def chosen(
        self, conditions: Sequence[ColumnElement[bool]], place: int | str | None, limit: int
    ) -> Select[Task]:
        """Return a query for some of the tasks with these conditions, from behind a place on."""
        if not self._by_end:
            last = None if place is None else [place]
            found = select(Task).where(*conditions)
            return behind(found, [Task.sequence], last, self.sort).limit(limit)
        # Few indexes have this order; ids are sorted many times faster than whole rows.
        columns = (Task.finished_at, Task.sequence)
        ids = select(Task.id).where(Task.finished_at.is_not(None), *conditions)
        ids = behind(ids, columns, None if place is None else _ended(str(place)), self.sort)
        some = Task.id.in_(ids.limit(limit).correlate(None))
        return behind(select(Task).where(some), columns, None, self.sort)

    @property
    def _by_end(self) -> bool:
        return self.sort.endswith("finished_at")


NEWEST_FIRST = TaskOrder()


@dataclass(frozen=True)
class Wanted:
    """What narrows a list of tasks; None: all of them.

    Attributes:
        model: name of the model that learns.
        states: any of these; empty: all.
        outcomes: any of these; empty: all, of tasks that have none too.
        submitter: name of the key that posted them; "" for none.
        created_after: not before this time.
        created_before: before this time.
        text: stands in their names, in upper or lower case.
    """

    model: str | None = None
    states: Sequence[TaskStateJson] = ()
    outcomes: Sequence[TaskOutcome] = ()
    submitter: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    text: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return them as the database checks them."""
        found: list[ColumnElement[bool]] = []
        if self.model is not None:
            named = select(Model.id).where(Model.name == self.model).scalar_subquery()
            found.append(Task.model_id == named)
        if self.states or self.outcomes:
            stored = stored_states(self.states, self.outcomes)
            # An index has the tasks of one state in order.
            one = len(stored) == 1
            found.append(Task.state == stored[0] if one else Task.state.in_(stored))
        if self.submitter is not None:
            posted = select(ApiKey.id).where(ApiKey.name == self.submitter).scalar_subquery()
            found.append(Task.key_id == posted if self.submitter else Task.key_id.is_(None))
        if self.created_after is not None:
            found.append(Task.created_at >= self.created_after)
        if self.created_before is not None:
            found.append(Task.created_at < self.created_before)
        if self.text is not None:
            found.append(Task.called.icontains(self.text, autoescape=True))
        return found


def list_tasks(
    session: Session,
    limit: int,
    which: Wanted = Wanted(),
    place: int | str | None = None,
    visible: ColumnElement[bool] = EVERY_TASK,
    order: TaskOrder = NEWEST_FIRST,
) -> Sequence[Task]:
    """Return visible tasks in an order; `place` is that of the last one seen."""
    return session.scalars(order.chosen([visible, *which.conditions()], place, limit)).all()
