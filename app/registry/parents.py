"""What a step starts from: the version that its task names, or the live one (decision 10).

A task with a preview starts from what its preview started from (decision 12).
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import END_STATES, Model, Task, Version
from app.errors import ConflictProblem, ErrorDetail, InvalidProblem
from app.errors.codes import Code
from app.registry.service import find_model, list_versions, live_version

PARENT_FIELD = "spec.parent"


class NothingToStartFromProblem(ConflictProblem):
    """Versions of the model are held and none is live; a step would start from scratch."""

    slug = "nothing-to-start-from"
    title = "The step has no version to start from"


class ParentDeletedProblem(ConflictProblem):
    """The version that a task started from was deleted."""

    slug = "parent-deleted"
    title = "The task's parent was deleted"


def find_start(session: Session, model_id: int, number: int | None) -> Version | None:
    """Return the version with this number, or without one the live version; None: no such one."""
    if number is None:
        return live_version(session, model_id)
    return session.scalar(
        select(Version).where(
            Version.model_id == model_id, Version.number == number, Version.deleted_at.is_(None)
        )
    )


def step_start(session: Session, task_id: str, model_id: int, number: int | None) -> Version | None:
    """Return the version that a step starts from when it is claimed first; None: there is none.

    Never its own preview, which knows the classes already: then from what that started from.

    Args:
        session: the transaction.
        task_id: the step's task.
        model_id: its model.
        number: of the version that the task names, if any.
    """
    start = find_start(session, model_id, number)
    preview = preview_version(session, task_id)
    if start is not None and preview is not None and start.id == preview.id:
        return preview.parent
    return start


def preview_version(session: Session, task_id: str) -> Version | None:
    """Return the version that a task's preview made; None: no preview, or it made none."""
    return session.scalar(
        select(Version).join(Task, Task.version_id == Version.id).where(Task.preview_of == task_id)
    )


def check_start(session: Session, model_name: str, number: int | None) -> Version | None:
    """Return what a task that is posted now would start from; None for a model without versions.

    Raises:
        InvalidProblem: it names a version that the model does not have.
        NothingToStartFromProblem: it names none, and every version of the model is held.
    """
    model = find_model(session, model_name)
    start = find_start(session, model.id, number) if model else None
    if start is None and number is not None:
        raise _unknown_parent(model_name, number)
    if start is None and model is not None:
        _refuse_held(session, model)
    return start


def may_be_base(session: Session, model_id: int) -> bool:
    """Whether a task that is posted now may start from scratch.

    It may where there is nothing to build on: no version, and no task that may still make one.
    One that somebody asked to cancel does not count.
    """
    made = select(Version.id).where(Version.model_id == model_id, Version.deleted_at.is_(None))
    before = select(Task.id).where(
        Task.model_id == model_id, Task.state.not_in(END_STATES), ~Task.cancel_requested
    )
    return session.scalar(made.limit(1)) is None and session.scalar(before.limit(1)) is None


def would_be_base(session: Session, model_name: str) -> bool:
    """Whether a task that is posted now for this model, known or not, may start from scratch."""
    model = find_model(session, model_name)
    return model is None or may_be_base(session, model.id)


def check_base(session: Session, task: Task) -> None:
    """Check that a step that was claimed with nothing to start from may start from scratch.

    Raises:
        NothingToStartFromProblem: it would teach the model its own classes alone.
    """
    if task.spec.get("parent") is not None:
        raise _unknown_parent(task.model.name, task.spec["parent"])
    _refuse_held(session, task.model)
    if task.preview_of is not None:
        raise NothingToStartFromProblem(
            "a preview starts from an old version, and the task before it ended without one"
        )
    if not task.may_be_base:
        raise NothingToStartFromProblem(
            "the task before this one ended without a version, so this one would teach "
            f"{task.model.name!r} its own classes alone: post that one again, then this one; or "
            "post this one again if it is to be the first"
        )


def _unknown_parent(model_name: str, number: int) -> InvalidProblem:
    message = f"model {model_name!r} has no version {number} to start from"
    return InvalidProblem(message, [ErrorDetail(message, field=PARENT_FIELD, code=Code.UNKNOWN)])


def _refuse_held(session: Session, model: Model) -> None:
    held = [one for one in list_versions(session, model.id) if one.deleted_at is None]
    if not held:
        return
    number = held[0].number
    raise NothingToStartFromProblem(
        f"version {number} of model {model.name!r} is held and none is live, so a step would start "
        f"from scratch: promote it (PUT /admin/models/{model.name}/aliases/live), "
        f'or say `"parent": {number}` to start from it; another model starts from scratch'
    )
