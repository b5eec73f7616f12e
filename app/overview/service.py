"""Models at a glance: as many statements for one as for all, each by an index."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session, lazyload

from app.admin.service import describe_class
from app.audit.schemas import ActorJson
from app.db import RUNNING_STATES, AliasMove, Model, Task, Version, database_now
from app.overview.schemas import (
    EndedTaskJson,
    LiveVersionJson,
    MeanScoresJson,
    ModelOverviewJson,
    OverviewJson,
    RunningTaskJson,
    TaskCountsJson,
    WorkersJson,
)
from app.registry.service import live_versions
from app.tasks.states import standing
from app.workers.service import idle

ENDS = 5
"""So many of a model's tasks that ended last are told."""


def overview(
    session: Session, which: ColumnElement[bool], worker_restarts: int | None
) -> OverviewJson:
    """Return models, and what their tasks and workers themselves tell of workers.

    Args:
        session: to read with.
        which: of the models; a condition on `Model`.
        worker_restarts: as `/health/ready` tells them.
    """
    models = describe(session, which)
    running = [model.running for model in models if model.running is not None]
    return OverviewJson(models=models, workers=_workers(session, running, worker_restarts))


@dataclass(frozen=True)
class LiveModel:
    """What a model serves.

    Attributes:
        name: of the model.
        versions: how many of its versions were not deleted.
        live: the version that answers; None: none does.
    """

    name: str
    versions: int
    live: LiveVersionJson | None


def live_models(session: Session, which: ColumnElement[bool]) -> list[LiveModel]:
    """Return what the models of a condition on `Model` serve; of their tasks nothing is read."""
    live, versions = _live(session, which), _versions(session, which)
    found = session.execute(select(Model.id, Model.name).where(which).order_by(Model.name))
    return [LiveModel(row.name, versions.get(row.id, 0), live.get(row.name)) for row in found]


def workers(
    session: Session, which: ColumnElement[bool], worker_restarts: int | None
) -> WorkersJson:
    """Return the workers that `overview` has."""
    return _workers(session, _running(session, which).values(), worker_restarts)


def _workers(
    session: Session, running: Collection[RunningTaskJson], restarts: int | None
) -> WorkersJson:
    return WorkersJson(
        busy=sorted(task.worker for task in running if task.worker_alive),
        lost=sorted(task.worker for task in running if not task.worker_alive),
        idle=list(idle(session)),
        restarts=restarts,
    )


def describe(session: Session, which: ColumnElement[bool]) -> list[ModelOverviewJson]:
    """Return the models of a condition on `Model`, by name."""
    live, versions = _live(session, which), _versions(session, which)
    counts, running = _counts(session, which), _running(session, which)
    ended = _ended(session, which)
    return [
        ModelOverviewJson(
            name=model.name,
            created_at=model.created_at,
            versions=versions.get(model.id, 0),
            live=live.get(model.name),
            tasks=counts[model.id],
            running=running.get(model.id),
            ended=ended[model.id],
        )
        for model in session.scalars(select(Model).where(which).order_by(Model.name))
    ]


def _live(session: Session, which: ColumnElement[bool]) -> dict[str, LiveVersionJson]:
    names = tuple(MeanScoresJson.model_fields)
    means = [Version.scores[name].as_float().label(name) for name in names]
    live = live_versions(AliasMove, Version.number, Version.classes, *means).where(which)
    rows = session.execute(live.options(lazyload("*")))
    return {
        row.name: LiveVersionJson(
            version=row.number,
            since=row.AliasMove.moved_at,
            kind=row.AliasMove.kind,
            by=ActorJson.of(row.AliasMove.who),
            classes=[describe_class(entry) for entry in row.classes],
            scores=MeanScoresJson(
                **{name: row._mapping[name] for name in MeanScoresJson.model_fields}
            ),
        )
        for row in rows
    }


def _versions(session: Session, which: ColumnElement[bool]) -> dict[int, int]:
    standing = select(Version.model_id, func.count().label("versions"))
    standing = standing.where(Version.deleted_at.is_(None), _of(Version.model_id, which))
    rows = session.execute(standing.group_by(Version.model_id))
    return {row.model_id: row.versions for row in rows}


def _counts(session: Session, which: ColumnElement[bool]) -> dict[int, TaskCountsJson]:
    found: dict[int, TaskCountsJson] = defaultdict(TaskCountsJson)
    counted = select(Task.model_id, Task.state, func.count().label("tasks"))
    counted = counted.where(_of(Task.model_id, which)).group_by(Task.model_id, Task.state)
    for row in session.execute(counted):
        counts, state = found[row.model_id], standing(row.state).state
        setattr(counts, state, getattr(counts, state) + row.tasks)
    return found


def _running(session: Session, which: ColumnElement[bool]) -> dict[int, RunningTaskJson]:
    alive = (database_now() < Task.lease_until).label("alive")
    wanted = _tasks(Task.state, Task.started_at, Task.worker, alive)
    wanted = wanted.where(Task.state.in_(RUNNING_STATES), _of(Task.model_id, which))
    return {
        row.model_id: RunningTaskJson(
            id=row.id,
            name=row.name,
            phase=standing(row.state).phase,
            started_at=row.started_at,
            worker=row.worker or "",
            worker_alive=bool(row.alive),  # nobody holds what has no lease
        )
        for row in session.execute(wanted)
    }


def _ended(session: Session, which: ColumnElement[bool]) -> dict[int, list[EndedTaskJson]]:
    last = union_all(*(_end(number, which) for number in range(ENDS))).subquery()
    wanted = (
        _tasks(Task.state, Task.finished_at, Version.number)
        .join(last, last.c.id == Task.id)
        .outerjoin(Version, Version.id == Task.version_id)
        .order_by(Task.finished_at.desc(), Task.sequence.desc())
    )
    found: dict[int, list[EndedTaskJson]] = defaultdict(list)
    for row in session.execute(wanted):
        ended = EndedTaskJson(
            id=row.id,
            name=row.name,
            state=standing(row.state).state,
            outcome=standing(row.state).outcome,
            version=row.number,
            finished_at=row.finished_at,
        )
        found[row.model_id].append(ended)
    return found


def _end(number: int, which: ColumnElement[bool]) -> Select[Any]:
    """Return a query for the id of each model's task that ended last but so many.

    One look into an index for each; SQLite has no LATERAL, which would find all of them in one.
    """
    end = (
        select(Task.id)
        .where(Task.model_id == Model.id, Task.finished_at.is_not(None))
        .order_by(Task.finished_at.desc(), Task.sequence.desc())
        .limit(1)
        .offset(number)
        .correlate(Model)
        .scalar_subquery()
    )
    return select(end.label("id")).select_from(Model).where(which)


def _tasks(*columns: Any) -> Select[Any]:
    return select(Task.model_id, Task.id, Task.called.label("name"), *columns)


def _of(model_id: InstrumentedAttribute[int], which: ColumnElement[bool]) -> ColumnElement[bool]:
    return model_id.in_(select(Model.id).where(which))
