"""How tasks look over HTTP, of their rows. Web-free."""

from app.audit.schemas import ActorJson
from app.db import END_STATES, Task, TaskKind
from app.db.base import JsonObject
from app.errors.schemas import ProblemJson
from app.imports.schemas import ImportSpec
from app.records.stored import shown, with_defaults
from app.retirement.schemas import RetireSpec
from app.tasks.event_schemas import ProgressJson
from app.tasks.schemas import ListedTask, TaskJson, TaskLinks, TaskSpec
from app.tasks.states import standing
from app.tasks.waiting import Wait
from sats_core.label_report import LabelReport
from sats_core.record import Record

_SPECS: dict[TaskKind, type[Record]] = {
    kind.kind: kind for kind in (TaskSpec, ImportSpec, RetireSpec)
}
"""What a task of a kind is posted with."""


def spec_of(task: Task) -> JsonObject:
    """Return what a task was posted with, to show it; it may be what is not offered any more."""
    return with_defaults(_SPECS[TaskKind(task.kind)], task.spec)


def listed_task(
    task: Task, version: int | None, wait: Wait | None, preview: str | None
) -> ListedTask:
    """Return how a task looks in a list.

    Args:
        task: the task.
        version: number of the version it made.
        wait: what it waits for; None: it does not.
        preview: id of the task that makes its preview.
    """
    here = f"/tasks/{task.id}"
    made = f"/admin/models/{task.model.name}/versions/{version}" if version else None
    spec = spec_of(task)
    told = standing(task.state)
    ended = task.state in END_STATES
    return ListedTask(
        id=task.id,
        kind=task.kind,
        name=spec.get("name", ""),
        model=task.model.name,
        state=told.state,
        phase=told.phase,
        outcome=told.outcome,
        method=spec.get("method"),
        classes=spec.get("classes"),
        submitted_by=ActorJson.of(task.who),
        created_at=task.created_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        queue_place=wait.place if wait else None,
        waiting_for=wait.missing if wait else None,
        tries=task.tries,
        cancel_requested=task.cancel_requested,
        cancelled_by=ActorJson.of_any(task.cancelled_by),
        progress=None if ended else shown(ProgressJson, task.progress),
        warnings=task.warnings,
        error=shown(ProblemJson, task.error),
        version=version,
        preview=preview,
        preview_of=task.preview_of,
        spec=spec,
        links=TaskLinks(self=here, events=f"{here}/events", version=made),
    )


def task_json(listed: ListedTask, labels: JsonObject | None) -> TaskJson:
    """Return how a task looks by itself, with its `LabelReport` as it was stored."""
    return TaskJson(**dict(listed), labels=shown(LabelReport, labels))
