"""The registry: models, their versions, the indices of their classes, and where `live` points."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import CTE, Select, func, literal, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased, defer, lazyload
from sqlalchemy.sql.base import ExecutableOption

from app.db import AliasMove, Model, ModelClass, Version
from app.db.base import JsonObject
from app.errors import NoLiveVersionProblem, NotFoundProblem
from app.records.paging import NEWEST, behind
from app.registry.gate import Verdict
from sats_core.classes import BACKGROUND, MAX_CLASSES
from sats_core.errors import ClassError
from sats_core.job import ImportResult, RetireResult, StepResult

LIVE = "live"
_Move = aliased(AliasMove)


def find_model(session: Session, name: str) -> Model | None:
    """Return the model called `name`, or None."""
    return session.scalar(select(Model).where(Model.name == name))


def ensure_model(session: Session, name: str) -> Model:
    """Return the model called `name`; make it if there is none. Flushes."""
    model = find_model(session, name)
    if model is not None:
        return model
    try:
        with session.begin_nested():
            model = Model(name=name)
            session.add(model)
    except IntegrityError:
        # Somebody made it between the look and the insert: theirs is the one.
        return session.scalars(select(Model).where(Model.name == name)).one()
    return model


def lock_model(session: Session, model_id: int) -> Model:
    """Return the model, locked until the transaction ends.

    Whatever numbers versions or moves an alias holds this lock, so that it sees the last number.
    (SQLite has one writer at a time in any case.)
    """
    return session.scalars(select(Model).where(Model.id == model_id).with_for_update()).one()


def live_version(session: Session, model_id: int) -> Version | None:
    """Return the version that `live` points at, or None before the first one."""
    history = alias_history(session, model_id, limit=1)
    return history[0].version if history else None


def live_id(session: Session, model_id: int) -> int | None:
    """Return the id of the version that `live` points at, or None before the first one."""
    last = select(AliasMove.version_id).where(
        AliasMove.model_id == model_id, AliasMove.alias == LIVE
    )
    return session.scalar(last.order_by(AliasMove.sequence.desc()).limit(1))


def live_ids(session: Session) -> dict[str, int]:
    """Return the id of every model's live version by the model's name, in one statement."""
    return {row.name: row.id for row in session.execute(live_versions(Version.id))}


def live_versions(*columns: Any) -> Select[Any]:
    """Return a query for every model's name and these columns of its live version.

    One look into an index for each model, however often `live` was moved.
    """
    last = (
        select(_Move.id)
        .where(_Move.model_id == Model.id, _Move.alias == LIVE)
        .order_by(_Move.sequence.desc())
        .limit(1)
        .correlate(Model)
        .scalar_subquery()
    )
    return (
        select(Model.name, *columns)
        .select_from(Model)
        .join(AliasMove, AliasMove.id == last)
        .join(Version, Version.id == AliasMove.version_id)
    )


def get_version(
    session: Session, model_id: int, number: int, *options: ExecutableOption
) -> Version:
    """Return a version by its number, read with these options.

    Raises:
        NotFoundProblem: the model has no such version.
    """
    wanted = select(Version).where(Version.model_id == model_id, Version.number == number)
    found = session.scalar(wanted.options(*options))
    if found is None:
        raise NotFoundProblem(f"the model has no version {number}")
    return found


def standing_version(session: Session, model_id: int, number: int) -> Version:
    """Return a version by its number, its files still there.

    Raises:
        NotFoundProblem: the model has no such version, or it was deleted.
    """
    found = get_version(session, model_id, number)
    if found.deleted_at is not None:
        raise NotFoundProblem(f"version {number} was deleted at {found.deleted_at:%F %T} UTC")
    return found


def served_version(session: Session, model_name: str, number: int | None = None) -> Version:
    """Return the version that answers for a model: the one of this number, else the live one.

    Raises:
        NotFoundProblem: no such model or version.
        NoLiveVersionProblem: nothing was learned yet, or everything is held.
    """
    model = find_model(session, model_name)
    if model is None:
        raise NotFoundProblem(
            f"there is no model {model_name!r}; POST /tasks, or an import, makes it"
        )
    if number is not None:
        return standing_version(session, model.id, number)
    live = live_version(session, model.id)
    if live is None:
        raise NoLiveVersionProblem(
            f"model {model_name!r} has no live version yet: POST /tasks, then wait until the task "
            "is live; or promote a version that is held"
        )
    return live


def list_versions(
    session: Session,
    model_id: int,
    limit: int | None = None,
    place: int | None = None,
    sort: str = NEWEST,
) -> Sequence[Version]:
    """Return versions of a model, by number: all, deleted ones too, or some of those behind one.

    Their reports of forgetting are read when they are asked for; their model is at hand.
    """
    wanted = select(Version).where(Version.model_id == model_id)
    wanted = wanted.options(defer(Version.forgetting_report), lazyload(Version.model))
    wanted = behind(wanted, [Version.number], None if place is None else [place], sort)
    return session.scalars(wanted.limit(limit)).all()


def lineage(session: Session, version: Version) -> dict[int, int]:
    """Return id and number of the versions this one was learned through: base first, itself last.

    One query, however long the line is.
    """
    line = line_of(version)
    rows = session.execute(select(line.c.id, line.c.number).order_by(line.c.back.desc()))
    return {row.id: row.number for row in rows}


def line_of(version: Version) -> CTE:
    """Return a version's lineage to select from: `id`, `number`, and how far `back` each lies."""
    found = select(Version.id, Version.number, Version.parent_id, literal(0).label("back"))
    line = found.where(Version.id == version.id).cte(recursive=True)
    before = select(Version.id, Version.number, Version.parent_id, line.c.back + 1)
    return line.union_all(before.join(line, Version.id == line.c.parent_id))


def lineages(session: Session, versions: Sequence[Version]) -> list[list[int]]:
    """Return each version's lineage in numbers, as `lineage` does, at the cost of one query.

    What several of them were learned through is read once; other lines of their model are not.
    """
    found = select(Version.id, Version.number, Version.parent_id)
    lines = found.where(Version.id.in_([one.id for one in versions])).cte(recursive=True)
    lines = lines.union(found.join(lines, Version.id == lines.c.parent_id))
    known = {row.id: (row.number, row.parent_id) for row in session.execute(select(lines))}
    return [_line(known, version.id) for version in versions]


def _line(known: Mapping[int, tuple[int, int | None]], start: int) -> list[int]:
    line: list[int] = []
    step: int | None = start
    while step is not None:
        number, step = known[step]
        line.append(number)
    return line[::-1]


def assign_indices(session: Session, model_id: int, names: Sequence[str]) -> tuple[int, ...]:
    """Return the mask value of each class: the one it had before in this model, or the next free.

    Nothing is written; `register_version` does that, and steps of one model run one at a time.

    Raises:
        ClassError: the model has no index left.
    """
    rows = session.scalars(select(ModelClass).where(ModelClass.model_id == model_id)).all()
    known = {row.name: row.index for row in rows}
    for name in names:
        known.setdefault(name, max(known.values(), default=BACKGROUND) + 1)
    if max(known.values(), default=0) > MAX_CLASSES:
        raise ClassError(
            f"a model gives out at most {MAX_CLASSES} class indices over its whole life"
        )
    return tuple(known[name] for name in names)


def register_version(
    session: Session,
    model: Model,
    *,
    task_id: str,
    parent: Version | None,
    new_classes: Sequence[str],
    result: StepResult | ImportResult | RetireResult,
    verdict: Verdict | None,
    files: dict[str, JsonObject],
    **beside: Any,
) -> Version:
    """Add a version, and what its new classes' indices are. Flushes; moves no alias.

    Args:
        session: one whose transaction holds `lock_model`.
        model: the model it belongs to.
        task_id: the task whose step, import or retirement made it.
        parent: the version the task started from; None for a base step and for an import.
        new_classes: names of the classes that it brought.
        result: what the task gave back.
        verdict: what the gate said; None for an import.
        files: file name -> {"blob": key, "bytes": size}; every blob is stored already.
        **beside: columns that do not come out of the result as it stands.
    """
    known = set(
        session.scalars(select(ModelClass.name).where(ModelClass.model_id == model.id)).all()
    )
    indices = {str(entry["name"]): int(str(entry["index"])) for entry in result.classes}
    for name in new_classes:
        if name not in known:
            session.add(ModelClass(model_id=model.id, name=name, index=indices[name]))
    last = session.scalar(select(func.max(Version.number)).where(Version.model_id == model.id))
    version = Version(
        model_id=model.id,
        number=(last or 0) + 1,
        parent_id=parent.id if parent else None,
        task_id=task_id,
        new_classes=list(new_classes),
        gate=verdict.model_dump(mode="json") if verdict else None,
        files=files,
        **{**_written(result), **beside},
    )
    session.add(version)
    session.flush()
    return version


def _written(result: StepResult | ImportResult | RetireResult) -> dict[str, Any]:
    """Return the columns that come out of a result as it stands."""
    written = result.model_dump(mode="json")
    of_all = ("classes", "scores", "confusion", "seconds")
    columns = {name: written[name] for name in of_all}
    if isinstance(result, RetireResult):
        return columns
    columns["backbone_start"] = result.backbone_start
    if isinstance(result, ImportResult):
        settings = {"backbone": result.backbone, "size": result.size}
        return columns | {"settings": settings, "origin": written["origin"]}
    names = ("settings", "forgetting_report", "replayed_pictures")
    return columns | {name: written[name] for name in names}


def alias_history(
    session: Session, model_id: int, alias: str = LIVE, limit: int | None = None
) -> Sequence[AliasMove]:
    """Return the moves of an alias, the last one first."""
    return session.scalars(
        select(AliasMove)
        .where(AliasMove.model_id == model_id, AliasMove.alias == alias)
        .order_by(AliasMove.sequence.desc())
        .limit(limit)
    ).all()
