"""How long a task was in each phase, read from its events."""

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby, pairwise

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import TaskEvent
from app.telemetry.tracing import Phase


def phases(session: Session, task_ids: Collection[str]) -> Mapping[str, Sequence[Phase]]:
    """Return the phases that are over of each of these tasks whose events are still there.

    What a task entered again, in another try, comes again. Where the clocks of two machines
    disagree about the order, a phase is left out.
    """
    entered = session.execute(
        select(TaskEvent.task_id, TaskEvent.at, TaskEvent.data)
        .where(TaskEvent.task_id.in_(task_ids), TaskEvent.kind == "state")
        .order_by(TaskEvent.task_id, TaskEvent.id)
    )
    found: dict[str, Sequence[Phase]] = {}
    for task_id, states in groupby(entered, lambda row: row.task_id):
        # A child says again what its worker has said: of what follows itself the first one counts.
        firsts = [next(same) for _, same in groupby(states, lambda row: row.data["state"])]
        found[task_id] = [
            Phase(row.data["state"], row.at, after.at)
            for row, after in pairwise(firsts)
            if after.at >= row.at
        ]
    return found
