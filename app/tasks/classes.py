"""Which classes a task teaches: judged when it is posted, and again when it starts. Web-free."""

from collections.abc import Collection

from app.db import Version
from app.errors import ErrorDetail, InvalidProblem
from app.errors.codes import Code
from app.tasks.schemas import TaskSpec


def class_names(version: Version | None) -> tuple[str, ...]:
    """Return the classes of a version; none if there is no version."""
    return tuple(str(entry["name"]) for entry in version.classes) if version else ()


def check_classes(
    spec: TaskSpec,
    labelled: Collection[str] | None,
    known: Collection[str],
    retired: Collection[str] = (),
) -> None:
    """Check that a task has something to learn that its data set labels.

    The worker checks again when the task starts: by then the model may know more.

    Args:
        spec: the task's spec.
        labelled: classes that its data set labels; None while nobody has read it whole.
        known: classes of the version that it starts from.
        retired: classes that were taken away before it: they are learned again where they are
            named, and else not.

    Raises:
        InvalidProblem: naming every class at fault.
    """
    if spec.classes is None:
        _check_something_new(labelled, known, retired)
        return
    missing = [name for name in spec.classes if labelled is not None and name not in labelled]
    again = [name for name in spec.classes if name in known]
    errors = [
        *(_class_error(name, "the data set does not label it", Code.MISSING) for name in missing),
        *(_class_error(name, "the model knows it already", Code.EXISTS) for name in again),
    ]
    if errors:
        raise InvalidProblem("not every class of `spec.classes` can be learned", errors)


def _check_something_new(
    labelled: Collection[str] | None, known: Collection[str], retired: Collection[str]
) -> None:
    if labelled is None or not set(labelled) <= {*known, *retired}:
        return
    taken = [name for name in labelled if name in retired]
    if not taken:
        raise InvalidProblem("the model knows every class of the data set already")
    said = "it was taken away from the model: name it in `classes` to teach it again"
    raise InvalidProblem(
        f"class {taken[0]!r}: {said}", [_class_error(name, said, Code.FORBIDDEN) for name in taken]
    )


def _class_error(name: str, message: str, code: Code) -> ErrorDetail:
    return ErrorDetail(message, field="spec.classes", class_name=name, code=code)
