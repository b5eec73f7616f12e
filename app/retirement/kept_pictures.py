"""Which kept pictures may show a retired class: every place where a model keeps some."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from app.db import (
    END_STATES,
    HeldOutSet,
    LargeUpload,
    Memory,
    Place,
    Task,
    TaskKind,
    TaskState,
    Version,
)
from app.registry.retired import indices_of
from app.retirement.records import Retirement


@dataclass(frozen=True)
class Zip:
    """A zip of labelled pictures that a version keeps.

    Attributes:
        row: what refers to it.
        version: number of the version.
        names: of the retired classes that may be labelled in it.
        place: where it lies.
    """

    row: HeldOutSet | Memory
    version: int
    names: frozenset[str]
    place: Place

    @property
    def useless(self) -> bool:
        """Whether it serves these classes alone."""
        return set(self.row.classes) <= self.names


@dataclass(frozen=True)
class Kept:
    """What a model keeps that may show retired classes.

    Attributes:
        zips: of versions.
        failed: tasks whose pictures are there to be tried again with.
        sent: uploads in parts that are kept whole, each with an ended task that was made of it.
    """

    zips: Sequence[Zip]
    failed: Sequence[Task]
    sent: Sequence[tuple[LargeUpload, Task]]

    @classmethod
    def of(cls, session: Session, model_id: int, retirement: Retirement) -> "Kept":
        """Return what there is at this moment."""
        return cls(
            kept_zips(session, model_id, retirement),
            failed_tasks(session, model_id),
            sent_uploads(session, model_id),
        )

    def lacks(self, now: "Kept") -> bool:
        """Whether anything is there now that was not there when this was looked up."""
        return not now._names <= self._names

    @property
    def _names(self) -> frozenset[tuple[str, int | str, str | None]]:
        zips = ((type(one.row).__name__, one.row.id, one.row.blob) for one in self.zips)
        failed = (("Task", one.id, pictures_of(one)) for one in self.failed)
        sent = (("LargeUpload", one.id, task.id) for one, task in self.sent)
        return frozenset([*zips, *failed, *sent])


def kept_zips(session: Session, model_id: int, retirement: Retirement) -> list[Zip]:
    """Return what versions of a model keep that may show retired classes, whatever their line.

    Left out is what was kept with a version in which another class has the name.
    """
    indices = dict(zip(retirement.retired, retirement.indices, strict=True))
    versions = {
        one.id: one for one in session.scalars(select(Version).where(Version.model_id == model_id))
    }
    ids = select(Version.id).where(Version.model_id == model_id)
    held_out = select(HeldOutSet).where(
        HeldOutSet.version_id.in_(ids), HeldOutSet.deleted_at.is_(None)
    )
    memories = select(Memory).where(Memory.version_id.in_(ids), Memory.deleted_at.is_(None))
    rows: list[HeldOutSet | Memory] = [
        *session.scalars(held_out.order_by(HeldOutSet.id)),
        *session.scalars(memories.order_by(Memory.id)),
    ]
    found = []
    for row in rows:
        version = versions[row.version_id]
        known = indices_of(version)
        names = frozenset(n for n, index in indices.items() if known.get(n, index) == index)
        place = Place(row.place) if isinstance(row, Memory) else Place.BLOB_STORE
        if names:
            found.append(Zip(row, version.number, names, place))
    return found


def failed_tasks(session: Session, model_id: int) -> Sequence[Task]:
    """Return the failed tasks of a model whose pictures are there to be tried again with."""
    kept = (Task.state == TaskState.FAILED, Task.tidied_at.is_(None))
    return session.scalars(
        select(Task).where(Task.model_id == model_id, *kept).order_by(Task.sequence)
    ).all()


def sent_uploads(session: Session, model_id: int) -> list[tuple[LargeUpload, Task]]:
    """Return the uploads in parts whose pictures an ended task of a model was posted with.

    They are kept until they expire, whatever became of the task; each with the last such task.
    """
    pictures = or_(
        and_(Task.kind == TaskKind.STEP, Task.dataset == LargeUpload.blob),
        Task.evaluation == LargeUpload.blob,
    )
    wanted = (
        select(LargeUpload, Task)
        .join(Task, pictures)
        .where(Task.model_id == model_id, Task.state.in_(END_STATES))
        .order_by(Task.sequence)
    )
    last = {upload.id: (upload, task) for upload, task in session.execute(wanted)}
    return list(last.values())


def pictures_of(task: Task) -> str | None:
    """Return the blob key of the labelled pictures that a task was posted with; None: none."""
    return task.dataset if task.kind == TaskKind.STEP else task.evaluation


def left_alone(session: Session, version: Version, retirement: Retirement) -> list[str]:
    """Return what of a model still holds something of retired classes, or was not looked at."""
    gone = set(retirement.indices)
    standing = select(Version).where(
        Version.model_id == version.model_id, Version.deleted_at.is_(None)
    )
    knowing = [
        one.number
        for one in session.scalars(standing.order_by(Version.number))
        if gone & set(indices_of(one).values())
    ]
    said = []
    if knowing:
        numbers = ", ".join(map(str, knowing))
        said.append(
            f"versions that know a class of these: {numbers}. Their weights, and the features of "
            "pixels that they keep, stay until they are deleted"
        )
    open_tasks = select(Task.id).where(
        Task.model_id == version.model_id, Task.state.not_in(END_STATES)
    )
    said += [
        f"task {task_id}, which has not ended: what was posted with it was not looked at"
        for task_id in session.scalars(open_tasks.order_by(Task.sequence))
    ]
    return said
