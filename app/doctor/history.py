"""A task's events tell one life: it is claimed when it waits, ends once, and ends as its row says.

A task whose events were deleted, or were never kept, tells nothing.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from sqlalchemy import select

from app.db import END_STATES, RUNNING_STATES, Task, TaskEvent, TaskState
from app.doctor.finding import Check, Finding, Installation

_AFTER: dict[str, frozenset[str]] = {
    # It fails where nobody may take it for too long.
    TaskState.QUEUED: frozenset({TaskState.VALIDATING, TaskState.CANCELLED, TaskState.FAILED}),
    # A failed task may be tried again. The others have ended for good.
    TaskState.FAILED: frozenset({TaskState.QUEUED}),
    **dict.fromkeys(set(END_STATES) - {TaskState.FAILED}, frozenset()),
    **dict.fromkeys(RUNNING_STATES, frozenset(TaskState)),
}


def find_broken_histories(installation: Installation) -> Sequence[Finding]:
    """Return the tasks whose events cannot follow one another, or end otherwise than the row."""
    told: defaultdict[str, list[str]] = defaultdict(list)
    with installation.snapshot() as session:
        rows = {row.id: row.state for row in session.execute(select(Task.id, Task.state))}
        events = (
            select(TaskEvent.task_id, TaskEvent.data)
            .where(TaskEvent.kind == "state")
            .order_by(TaskEvent.id)
        )
        for task_id, data in session.execute(events):
            told[task_id].append(str(data["state"]))
    found = []
    for task_id, states in told.items():
        for before, after in pairwise(states):
            if after not in _AFTER.get(before, frozenset()):
                what = f"it was {before} and then {after}"
                found.append(Finding("history-broken", what, f"task {task_id}"))
        if states[-1] != rows.get(task_id):
            what = f"its last event says {states[-1]}, its row {rows.get(task_id)}"
            found.append(Finding("history-disagrees", what, f"task {task_id}"))
    return found


CHECKS = (Check(find_broken_histories),)
