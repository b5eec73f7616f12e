"""What can be known of a retirement when it is asked for, and again when it starts."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import END_STATES, ModelClass, Task, TaskKind, Version
from app.errors import ConflictProblem, ErrorDetail, InvalidDatasetProblem, InvalidProblem
from app.errors.codes import Code
from app.registry.service import served_version
from app.uploads.datasets import posted_classes
from sats_core.errors import DatasetError
from sats_core.settings import Limits

CLASSES = "classes"
DATASET = "dataset"


class RetirementUnderWayProblem(ConflictProblem):
    """A task that has not ended takes a class away from the same version."""

    slug = "retirement-under-way"
    title = "A class is being taken away already"


def check_retirement(
    session: Session, model: str, number: int, names: Sequence[str], field: str = CLASSES
) -> Version:
    """Return the version that classes are to be taken from.

    Args:
        session: to read with.
        model: its model.
        number: its number.
        names: of the classes.
        field: where they stand in the request.

    Raises:
        NotFoundProblem: no such model or version, or it was deleted.
        InvalidProblem: naming every class at fault.
        RetirementUnderWayProblem: naming the class that goes already, and the task.
    """
    version = served_version(session, model, number)
    check_classes(session, version, names, field)
    _check_alone(session, version, names, field)
    return version


def check_classes(
    session: Session, version: Version, names: Sequence[str], field: str = f"spec.{CLASSES}"
) -> None:
    """Check that classes can be taken from a version.

    Raises:
        InvalidProblem: naming every class at fault: it is the background, or the version does not
            know it; or all that it knows, of which one must stay.
    """
    background, *known = (str(entry["name"]) for entry in version.classes)
    faults = [
        _fault(name, "the background cannot be taken away", field, Code.FORBIDDEN)
        for name in names
        if name == background
    ]
    faults += [
        _fault(name, _unknown(session, version, name), field, Code.UNKNOWN)
        for name in names
        if name not in (background, *known)
    ]
    if not faults and set(known) <= set(names):
        said = f"version {version.number} knows no other class: one must stay"
        faults = [_fault(name, said, field, Code.FORBIDDEN) for name in names]
    if faults:
        raise InvalidProblem("not every class can be taken away", faults)


def check_dataset(path: Path, version: Version, limits: Limits) -> None:
    """Check that pictures label a class of a version, decoding none.

    Raises:
        InvalidDatasetProblem: they do not, or cannot be read.
    """
    try:
        labelled = posted_classes(path, limits)
    except DatasetError as error:
        issues = [
            ErrorDetail(i.reason, i.file, DATASET, i.class_name, i.code) for i in error.issues
        ]
        fault = issues or [ErrorDetail(error.message, field=DATASET, code=Code.UNREADABLE)]
        raise InvalidDatasetProblem(f"`{DATASET}`: {error.message}", fault) from error
    known = {entry["name"] for entry in version.classes}
    if labelled is not None and not set(labelled) & known:
        message = f"it labels no class of version {version.number}, but {', '.join(labelled[:20])}"
        raise InvalidDatasetProblem(
            f"`{DATASET}`: {message}", [ErrorDetail(message, field=DATASET, code=Code.MISSING)]
        )


def _unknown(session: Session, version: Version, name: str) -> str:
    said = f"version {version.number} does not know {name!r}"
    retired = select(ModelClass.id).where(
        ModelClass.model_id == version.model_id, ModelClass.retired_name == name
    )
    if session.scalar(retired.limit(1)) is not None:
        return f"{said}; a class of this name was taken away from this model before"
    return said


def _check_alone(session: Session, version: Version, names: Sequence[str], field: str) -> None:
    under_way = select(Task).where(
        Task.model_id == version.model_id,
        Task.kind == TaskKind.RETIRE,
        Task.state.not_in(END_STATES),
        ~Task.cancel_requested,
    )
    for task in session.scalars(under_way):
        twice = [name for name in names if name in task.spec.get("classes", ())]
        if task.spec.get("parent") == version.number and twice:
            said = f"task {task.id}, which has not ended, takes it away from this version"
            faults = [_fault(name, said, field, Code.EXISTS) for name in twice]
            raise RetirementUnderWayProblem(f"class {twice[0]!r}: {said}", faults)


def _fault(name: str, message: str, field: str, code: Code) -> ErrorDetail:
    return ErrorDetail(message, field=field, class_name=name, code=code)
