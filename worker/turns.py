"""Whose turn it is: which of the tasks that wait a worker takes next.

Tasks of one model run one after another, in the order in which they were posted; so of each model
the first one that waits can be taken, while none of it runs. Of these a worker may take those whose
needs it meets, and takes one of the owner (the key that posted it; all without a key are one) that
workers like it served longest ago. Of that owner's it takes the one of the highest priority, then
the one that was posted first.

So, whoever else posts how much: before an owner's next task no other owner has two. Workers like it
are those with the same device and about the same memory, one pool: what they took for an owner
tells nothing of whom others may serve. A worker that served only CPU tasks of somebody would else
put off that one's GPU tasks for ever.
"""

from sqlalchemy import Select, and_, delete, exists, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import ScalarSelect

from app.db import RUNNING_STATES, ApiKey, Task, TaskState, Turn
from app.workers.needs import ANY, Resources

NOBODY = 0
"""The owner of what was posted without a key; keys are numbered from 1."""


def whose_turn(has: Resources) -> ScalarSelect[str]:
    """Return a query for the id of the task that a worker with this takes next; NULL: none."""
    return _in_turn(has).limit(1).scalar_subquery()


def next_task(session: Session, has: Resources) -> str | None:
    """Return the id of the task that a worker with this would take now."""
    return session.scalar(_in_turn(has).limit(1))


def note_turn(session: Session, task_id: str, has: Resources) -> None:
    """Write down that the owner of a task was served, in the transaction of the claim.

    The last lock that a claim takes: two claims for one owner wait for each other here alone.
    """
    insert = (sqlite if session.get_bind().dialect.name == "sqlite" else postgresql).insert
    owner = select(_owner(Task)).where(Task.id == task_id).scalar_subquery()
    later = select(func.coalesce(func.max(Turn.number), 0) + 1).scalar_subquery()
    served = insert(Turn).values(owner=owner, pool=has.pool, number=later)
    session.execute(
        served.on_conflict_do_update(
            index_elements=[Turn.owner, Turn.pool], set_={"number": served.excluded.number}
        )
    )


def forget_turns(session: Session) -> None:
    """Delete the turns of owners who come no more: keys that were revoked and have nothing open."""
    valid = select(ApiKey.id).where(ApiKey.revoked_at.is_(None))
    unended = select(Task.key_id).where(
        Task.key_id.is_not(None), Task.state.in_((TaskState.QUEUED, *RUNNING_STATES))
    )
    gone = and_(Turn.owner != NOBODY, Turn.owner.not_in(valid), Turn.owner.not_in(unended))
    session.execute(delete(Turn).where(gone))


def next_of_its_model(task: type[Task]) -> ColumnElement[bool]:
    """Whether no other task of the model runs, and none waits that was posted before."""
    other = aliased(Task)
    before = and_(other.state == TaskState.QUEUED, other.sequence < task.sequence)
    return ~exists().where(
        other.model_id == task.model_id, or_(other.state.in_(RUNNING_STATES), before)
    )


def _in_turn(has: Resources) -> Select[str]:
    """Return a query for the tasks that a worker may take, in the order in which it would."""
    task = aliased(Task)
    owner = _owner(task)
    priority = func.coalesce(task.spec["priority"].as_integer(), 0)
    return (
        select(task.id)
        .outerjoin(Turn, and_(Turn.owner == owner, Turn.pool == has.pool))
        .where(task.sequence.in_(_firsts()), _met(task, has))
        # Owners that were never served are told apart by their numbers.
        .order_by(func.coalesce(Turn.number, 0), owner, priority.desc(), task.sequence)
    )


def _firsts() -> Select[int]:
    """Return a query for the numbers of the tasks that are `next_of_its_model`, of all at once.

    To ask that of each task that waits, Postgres takes seconds where thousands do.
    """
    task, other = aliased(Task), aliased(Task)
    busy = select(other.model_id).where(other.state.in_(RUNNING_STATES))
    waiting = (task.state == TaskState.QUEUED, task.model_id.not_in(busy))
    return select(func.min(task.sequence)).where(*waiting).group_by(task.model_id)


def _owner(task: type[Task]) -> ColumnElement[int]:
    return func.coalesce(task.key_id, NOBODY)


def _met(task: type[Task], has: Resources) -> ColumnElement[bool]:
    """Whether a worker with this meets a task's needs: `app.workers.needs.Needs` in SQL."""
    device = task.spec["device"].as_string()
    memory = task.spec["min_memory_mib"].as_integer()
    return and_(
        func.coalesce(device, ANY).in_((ANY, has.device)),
        func.coalesce(memory, 0) <= has.memory_mib,
    )
