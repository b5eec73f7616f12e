"""A task that no living worker may take does not hold up its model for ever (decision 29)."""

from collections.abc import Sequence

import structlog
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from app.db import Task, TaskState, read_session, write_session
from app.errors import ErrorDetail
from app.errors.codes import Code
from app.workers.needs import Needs
from app.workers.service import living
from app.workers.unmet import lasting, note, outdated
from worker.claim import Claim, end
from worker.failures import NoWorkerProblem

log = structlog.get_logger(__name__)


def fail_unmet(engine: Engine, hours: float | None) -> Sequence[str]:
    """Fail the tasks that no living worker could take for so long; returns their ids.

    What was found is written before: who looks at a task finds since when it is so.

    Args:
        engine: the database.
        hours: how long tasks wait so; None: for ever.
    """
    if hours is None:
        return []
    with read_session(engine) as session:
        changed = outdated(session)
    if changed:
        with write_session(engine) as session:
            note(session)
    with read_session(engine) as session:
        overdue = select(Task.id).where(lasting(hours)).order_by(Task.sequence)
        suspects = session.scalars(overdue).all()
    return [task_id for task_id in suspects if _fail(engine, task_id, hours)]


def _fail(engine: Engine, task_id: str, hours: float) -> bool:
    with write_session(engine) as session:
        take = update(Task).where(Task.id == task_id, lasting(hours)).values(fence=Task.fence + 1)
        row = session.execute(take.returning(Task.fence, Task.spec)).one_or_none()
        if row is None:
            return False  # somebody took it, or cancelled it, or such a worker has come
        problem = why_unmet(session, Needs.of(row.spec), hours)
        end(session, Claim(task_id, row.fence), TaskState.FAILED, error=problem.body())
    log.warning("task_unmet", task=task_id, reason=problem.detail)
    return True


def why_unmet(session: Session, needs: Needs, hours: float) -> NoWorkerProblem:
    """Return what a task fails with that asks for what no worker has."""
    missing = needs.unmet(living(session)) or "no worker that may take it is alive"
    asked = []
    if needs.device is not None:
        asked.append(
            ErrorDetail(f"asks for {needs.device}", field="spec.device", code=Code.UNAVAILABLE)
        )
    if needs.memory_mib:
        asked.append(
            ErrorDetail(
                f"asks for {needs.memory_mib} MiB",
                field="spec.min_memory_mib",
                code=Code.UNAVAILABLE,
            )
        )
    return NoWorkerProblem(
        f"{missing}, and none was for {hours:g} hours (SATS_UNMET_HOURS). Start one, then POST "
        "/tasks/{id}:retry; or post it again and ask for less",
        asked,
    )
