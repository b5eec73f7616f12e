"""Which projects of Label Studio models learn from: what is asked for, by whom. Web-free."""

from contextlib import suppress
from functools import partial

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import LabelStudioProject, ProjectState, present
from app.errors import ConflictProblem, NotFoundProblem
from app.integrations.label_studio.projects import Asker, begin_next
from app.keys.problems import TaskLimitProblem
from app.keys.quotas import check_imports


class ImportAskedProblem(ConflictProblem):
    """Another key has asked for the next import of the project; that one brings all there is."""

    slug = "label-studio-import-asked"
    title = "The project's next import was asked for"


def ask(
    session: Session, project: int, model: str, asker: Asker, most: int | None = None
) -> LabelStudioProject:
    """Ask for an import: at once, or as soon as the one that is under way has ended. Flushes.

    Args:
        session: the transaction.
        project: number in Label Studio.
        model: that is to learn.
        asker: who asks.
        most: imports that may wait for one key; None: any.

    Raises:
        TaskLimitProblem: as many wait for the key as may.
        ImportAskedProblem: another key has asked for the one that is next.
    """
    row = _locked(session, project, model)
    _ask(session, row, asker, most)
    session.flush()
    return row


def note(
    session: Session,
    project: int,
    model: str,
    annotations: int,
    enough: int,
    asker: Asker,
    most: int | None = None,
) -> LabelStudioProject:
    """Count new annotations; ask for an import where they are enough and it may wait. Flushes."""
    row = _locked(session, project, model)
    if row.state == ProjectState.NEVER and row.key_id is None:
        row.key_id = asker.key_id
    row.annotations += annotations
    if row.annotations >= enough:
        with suppress(TaskLimitProblem, ImportAskedProblem):  # the next annotation asks again
            _ask(session, row, asker, most)
    session.flush()
    return row


def _ask(session: Session, row: LabelStudioProject, asker: Asker, most: int | None) -> None:
    key_id = asker.key_id
    if row.state == ProjectState.WAITING and row.key_id == key_id:  # at its place
        row.annotations, row.asked_by = 0, asker.actor
        row.by_admin, row.create = asker.by_admin, asker.create
        return
    if row.wanted and row.next_key_id != key_id:
        raise ImportAskedProblem("another key has asked for the next import of this project")
    if most is not None and not row.wanted:
        check_imports(session, key_id, partial(_waiting, session, key_id), most)
    row.annotations = 0
    row.asked_at = present(session)
    row.next_asked_by, row.next_key_id = asker.actor, key_id
    row.next_by_admin, row.next_create = asker.by_admin, asker.create
    row.wanted = True
    if row.state not in (ProjectState.WAITING, ProjectState.FETCHING):
        begin_next(row)


def _waiting(session: Session, key_id: int | None) -> int:
    """Return how many imports wait that a key has asked for."""
    waits = (LabelStudioProject.state == ProjectState.WAITING) & (
        LabelStudioProject.key_id == key_id
    )
    follows = LabelStudioProject.wanted & (LabelStudioProject.next_key_id == key_id)
    counted = select(func.count()).select_from(LabelStudioProject).where(or_(waits, follows))
    return session.scalar(counted) or 0


def never_asked(project: int, model: str) -> NotFoundProblem:
    """Return what says that a caller has asked for no training; others may have."""
    return NotFoundProblem(f"no training of {model!r} from project {project} was asked for yet")


def names(project: int, model: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Return which row is that of a project and a model."""
    return LabelStudioProject.project == project, LabelStudioProject.model == model


def _locked(session: Session, project: int, model: str) -> LabelStudioProject:
    """Return the row of a project, made where there is none, and locked."""
    wanted = select(LabelStudioProject).where(*names(project, model)).with_for_update()
    wanted = wanted.execution_options(populate_existing=True)
    found = session.scalar(wanted)
    if found is not None:
        return found
    try:
        with session.begin_nested():
            session.add(LabelStudioProject(project=project, model=model))
    except IntegrityError:
        pass  # somebody else was first
    return session.scalars(wanted).one()
