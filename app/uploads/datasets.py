"""What can be known of a posted data set without decoding a picture."""

from collections.abc import Iterable

from sats_core.data.names import is_allowed_name, printable
from sats_core.data.readers import glance, open_reader
from sats_core.data.sources import MOST_ISSUES, Archive, Source, ZipSource
from sats_core.errors import DatasetError, Issue
from sats_core.settings import Limits

ODD_NAME = "a name with characters that separate lines, turn the direction of text or are not seen"
"""Why a new name is refused."""


def dataset_classes(path: Archive, limits: Limits) -> tuple[str, ...]:
    """Check the structure of a zip, decoding no picture, and return the classes it labels.

    Raises:
        DatasetError: what is wrong with it.
    """
    with ZipSource(path, limits) as source:
        return open_reader(source).classes


def task_classes(path: Archive, limits: Limits) -> tuple[str, ...]:
    """Return the classes of a task's zip, as `dataset_classes` does, when the task starts.

    Where `posted_classes` could not tell the classes their names are checked now.

    Raises:
        DatasetError: what is wrong with it.
    """
    with ZipSource(path, limits) as source:
        classes = open_reader(source).classes
        if glance(source) is None:
            _refuse([_class_issue(name) for name in classes if not is_allowed_name(name)])
        return classes


def posted_classes(path: Archive, limits: Limits) -> tuple[str, ...] | None:
    """Check a zip when it is posted, in less time than it took to come.

    Returns the classes it labels; None where only reading large files whole tells them, which the
    worker does.

    Raises:
        DatasetError: what is wrong with it.
    """
    with ZipSource(path, limits) as source:
        classes = glance(source)
        check_names(source, classes or ())
        return classes


def check_names(source: Source, classes: Iterable[str]) -> None:
    """Check that the names in a data set may be taken in; those that were are only read.

    Args:
        source: its files.
        classes: that it labels.

    Raises:
        DatasetError: naming files and classes at fault, the first `MOST_ISSUES`.
    """
    files = (name for name in source.names() if not is_allowed_name(name))
    issues = [Issue(ODD_NAME, file=printable(name)) for name in files]
    _refuse(issues + [_class_issue(name) for name in classes if not is_allowed_name(name)])


def _class_issue(name: str) -> Issue:
    return Issue(ODD_NAME, class_name=printable(name))


def _refuse(issues: list[Issue]) -> None:
    if issues:
        first = issues[0]
        what = f"file {first.file!r}" if first.file else f"class {first.class_name!r}"
        more = f"; {len(issues)} in all" if len(issues) > MOST_ISSUES else ""
        raise DatasetError(f"{what}: {ODD_NAME}{more}", issues[:MOST_ISSUES])
