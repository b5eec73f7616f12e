"""A task on its way into the queue."""

from dataclasses import dataclass, replace

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit.actor import actor_of
from app.audit.service import Action
from app.db import Model, Task, TaskKind, TaskState
from app.errors import ErrorDetail, IdempotencyKeyReusedProblem
from app.errors.codes import Code
from app.keys.quotas import check_quotas
from app.registry.parents import may_be_base
from app.registry.service import ensure_model, lock_model
from app.storage import Blob
from app.tasks import asked_for
from app.tasks.schemas import TaskSpec
from app.tasks.service import record_task
from app.tasks.telling import tell
from app.telemetry.tracing import traceparent

_POSTED = {
    TaskKind.STEP: Action.TASK_POST,
    TaskKind.IMPORT: Action.IMPORT,
    TaskKind.RETIRE: Action.RETIRE,
}
"""What the audit log calls a task that was posted."""


@dataclass(frozen=True)
class Submission:
    """A task that somebody posts, its uploads staged and their structure checked.

    Attributes:
        spec: what to learn and how, what to import, or what to take away.
        dataset: the staged zip: labelled pictures, or a checkpoint; of a retirement its spec.
        by: name of the caller's key.
        idempotency_key: as posted.
        evaluation: the staged zip of labelled pictures that an import is scored on, or that came
            with a retirement.
        by_admin: whether the caller has scope `admin`.
        key_id: the caller's key, whose task it will be; None: nobody's.
    """

    spec: asked_for.Spec
    dataset: Blob
    by: str
    idempotency_key: str | None
    evaluation: Blob | None = None
    by_admin: bool = False
    key_id: int | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of what was posted: the same request gives the same."""
        return asked_for.digest(self.spec, self.dataset, self.evaluation)

    def asked_as(self, digest: str) -> bool:
        """Return whether a digest is of this request, written now or before."""
        return digest in asked_for.digests(self.spec, self.dataset, self.evaluation)

    @property
    def bytes(self) -> int:
        """How many bytes its uploads have."""
        return self.dataset.size + (self.evaluation.size if self.evaluation else 0)

    @property
    def preview(self) -> "Submission | None":
        """What is queued before it as its preview, under no Idempotency-Key of its own."""
        if not (isinstance(self.spec, TaskSpec) and self.spec.preview):
            return None
        return replace(self, spec=self.spec.preview_spec(), idempotency_key=None)


def find_replay(session: Session, submission: Submission) -> Task | None:
    """Return the task that this Idempotency-Key made before, if any.

    Raises:
        IdempotencyKeyReusedProblem: the key made a task of another request.
    """
    if submission.idempotency_key is None:
        return None
    before = session.scalar(
        select(Task).where(
            Task.submitted_by == submission.by,
            Task.idempotency_key == submission.idempotency_key,
        )
    )
    if before is not None and not submission.asked_as(before.request_digest):
        raise IdempotencyKeyReusedProblem(
            f"this key made task {before.id} from another spec or other files",
            [ErrorDetail("used before", field="Idempotency-Key", code=Code.EXISTS)],
        )
    return before


def submit(session: Session, submission: Submission) -> tuple[Task, bool]:
    """Queue a task; returns it and whether the same request had made it before. Flushes.

    A preview that its spec asks for is queued before it.

    Raises:
        IdempotencyKeyReusedProblem: the key made a task of another request.
        TaskLimitProblem, ByteLimitProblem: it is too much for the caller's key.
    """
    before = find_replay(session, submission)
    if before is not None:
        return before, True
    check_quotas(session, submission.key_id, submission.bytes)
    try:
        with session.begin_nested():
            return _queue(session, submission), False
    except IntegrityError:
        # The same key came twice at once, and the other request was first.
        before = find_replay(session, submission)
        if before is None:
            raise
        return before, True


def _queue(session: Session, submission: Submission) -> Task:
    # Locked, so that of two first tasks posted at once one sees the other before it.
    model = lock_model(session, ensure_model(session, submission.spec.model).id)
    base = may_be_base(session, model.id)
    preview = submission.preview
    if preview is None:
        return _add(session, model, submission, may_be_base=base)
    # The queue runs in the order of the inserts: the preview first.
    before = _add(session, model, preview, may_be_base=False)
    task = _add(session, model, submission, may_be_base=base)
    before.preview_of = task.id
    session.flush()
    return task


def _add(
    session: Session,
    model: Model,
    submission: Submission,
    *,
    may_be_base: bool,
) -> Task:
    evaluation = submission.evaluation
    task = Task(
        model=model,
        state=TaskState.QUEUED,
        kind=submission.spec.kind,
        spec=submission.spec.model_dump(mode="json"),
        dataset=submission.dataset.key,
        dataset_bytes=submission.dataset.size,
        evaluation=evaluation.key if evaluation else None,
        submitter=actor_of(session),
        submitted_by=submission.by,
        by_admin=submission.by_admin,
        key_id=submission.key_id,
        idempotency_key=submission.idempotency_key,
        request_digest=submission.digest,
        may_be_base=may_be_base,
        traceparent=traceparent(),
        warnings=[],
    )
    session.add(task)
    session.flush()
    tell(session, task.id, "state", {"state": task.state})
    record_task(session, _POSTED[TaskKind(task.kind)], task, None)
    return task
