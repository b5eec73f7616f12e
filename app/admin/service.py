"""Versions, models and aliases as `/admin` shows them."""

from collections.abc import Sequence
from functools import lru_cache

from sqlalchemy import func, select
from sqlalchemy.orm import Session, lazyload

from app.admin.schemas import (
    ClassJson,
    CurveJson,
    FileJson,
    GateInForceJson,
    GateJson,
    HeldOutJson,
    MemoryJson,
    ModelJson,
    MoveJson,
    OriginJson,
    PointJson,
    ScoresJson,
    VersionJson,
)
from app.audit.actor import actor_of
from app.audit.schemas import ActorJson
from app.audit.service import Action, record
from app.db import AliasMove, HeldOutSet, Memory, Model, TaskKind, Version, utc_now
from app.db.base import JsonObject
from app.errors import NotFoundProblem
from app.records.paging import behind
from app.records.stored import read_stored
from app.registry.curves import Point, curves
from app.registry.floor import ModelGate, floor_of, own_gate
from app.registry.held_out import held_out_of_each
from app.registry.memory import memories_of
from app.registry.schemas import hex_colour
from app.registry.service import (
    LIVE,
    find_model,
    lineages,
    live_id,
    live_ids,
    live_versions,
)
from app.retirement.describing import describe_retirements
from app.retirement.schemas import RetirementJson
from app.settings import Settings
from sats_core.evaluation.forgetting import ForgettingReport


def get_model(session: Session, name: str) -> Model:
    """Return a model.

    Raises:
        NotFoundProblem: no such model.
    """
    model = find_model(session, name)
    if model is None:
        raise NotFoundProblem(f"there is no model {name!r}")
    return model


def list_models(session: Session, place: str | None = None, sort: str = "name") -> Sequence[Model]:
    """Return models by name: all, or those behind one."""
    found = behind(select(Model), [Model.name], None if place is None else [place], sort)
    return session.scalars(found).all()


def describe_models(session: Session, models: Sequence[Model]) -> list[ModelJson]:
    """Return how models look over HTTP; as many queries for one as for all."""
    standing = select(Version.model_id, func.count().label("versions"))
    standing = standing.where(Version.deleted_at.is_(None)).group_by(Version.model_id)
    counts = {row.model_id: row.versions for row in session.execute(standing)}
    rows = session.execute(live_versions(Version.number, Version.classes))
    live = {row.name: row for row in rows}
    return [
        ModelJson(
            name=model.name,
            live=live[model.name].number if model.name in live else None,
            versions=counts.get(model.id, 0),
            classes=[entry["name"] for entry in live[model.name].classes[1:]]
            if model.name in live
            else [],
            created_at=model.created_at,
        )
        for model in models
    ]


def describe_gate(model: Model, settings: Settings) -> GateInForceJson:
    """Return the floor of a model's gate, and what of it is the model's own."""
    return GateInForceJson(
        **floor_of(model, settings).model_dump(),
        own=own_gate(model),
        changed_at=model.gate_changed_at,
        changed_by=ActorJson.of_any(model.gate_changed_by),
    )


def set_gate(session: Session, model: Model, gate: ModelGate) -> None:
    """Give a model limits of its own. Flushes."""
    before, model.gate = model.gate, gate.model_dump(mode="json", exclude_none=True) or None
    model.gate_changed_at, model.gate_changed_by = utc_now(), actor_of(session)
    path = f"/admin/models/{model.name}/gate"
    record(session, Action.GATE_SET, path, model=model.name, before=before, after=model.gate)


def describe_versions(
    session: Session, model: Model, versions: Sequence[Version]
) -> list[VersionJson]:
    """Return how versions of a model look over HTTP; as many queries for one as for all."""
    live = live_id(session, model.id)
    memories = memories_of(session, versions)
    held_out = held_out_of_each(session, versions)
    lines = lineages(session, versions)
    taken = describe_retirements(session, versions)
    return [
        _describe_version(
            version, live, memories.get(version.id), held_out.get(version.id), line, retirement
        )
        for version, line, retirement in zip(versions, lines, taken, strict=True)
    ]


def _describe_version(
    version: Version,
    live: int | None,
    memory: Memory | None,
    held_out: HeldOutSet | None,
    line: list[int],
    retirement: RetirementJson | None,
) -> VersionJson:
    return VersionJson(
        model=version.model.name,
        version=version.number,
        number=version.number,
        live=version.id == live,
        kind=_kind(version),
        origin=OriginJson.model_validate(version.origin) if version.origin else None,
        retirement=retirement,
        parent=line[-2] if len(line) > 1 else None,
        lineage=line,
        task=version.task_id,
        method=version.settings.get("method"),
        created_at=version.created_at,
        classes=[describe_class(entry) for entry in version.classes],
        new_classes=version.new_classes,
        scores=ScoresJson.model_validate(version.scores),
        gate=GateJson.model_validate(version.gate) if version.gate else None,
        backbone=version.settings["backbone"],
        backbone_start=version.backbone_start,
        effective_settings=version.settings,
        seconds=version.seconds,
        fusion=bool(version.settings.get("fusion")),
        replayed_pictures=version.replayed_pictures,
        memory=describe_memory(memory) if memory else None,
        held_out=_describe_held_out(held_out) if held_out else None,
        files=_describe_files(version),
        deleted_at=version.deleted_at,
        deleted_by=ActorJson.of_any(version.deleted_by),
    )


def _kind(version: Version) -> TaskKind:
    if version.retirement:
        return TaskKind.RETIRE
    return TaskKind.IMPORT if version.origin else TaskKind.STEP


def describe_class(entry: JsonObject) -> ClassJson:
    """Return how a class of a version looks over HTTP."""
    return _class_json(entry["index"], entry["name"], tuple(entry["colour"]), entry["step"])


@lru_cache(maxsize=4096)  # versions of a line have nearly all their classes in common
def _class_json(index: int, name: str, colour: tuple[int, ...], step: int) -> ClassJson:
    return ClassJson(index=index, name=name, color=hex_colour(colour), step=step)


def describe_memory(memory: Memory) -> MemoryJson:
    """Return how replay pictures look over HTTP."""
    return MemoryJson(
        pictures=memory.pictures,
        classes=memory.classes,
        bytes=memory.bytes,
        sha256=memory.blob,
        place=memory.place.replace(" ", "_"),  # in the table with a space
        deleted_at=memory.deleted_at,
        deleted_by=ActorJson.of_any(memory.deleted_by),
    )


def forgetting_report(version: Version) -> ForgettingReport:
    """Return why a version forgot.

    Raises:
        NotFoundProblem: it came of a base step, or was made before there were reports.
    """
    if version.forgetting_report is None:
        raise NotFoundProblem(f"version {version.number} has no report: nothing came before it")
    return read_stored(ForgettingReport, version.forgetting_report)


def describe_move(move: AliasMove) -> MoveJson:
    """Return how a move of an alias looks over HTTP."""
    return _move_json(move, move.version.number)


def live_history(
    session: Session, model: Model, limit: int, before: int | None = None
) -> list[MoveJson]:
    """Return moves of `live`, the last one first; of their versions the numbers alone are read."""
    wanted = select(AliasMove, Version.number).join(AliasMove.version)
    wanted = wanted.where(AliasMove.model_id == model.id, AliasMove.alias == LIVE)
    if before is not None:
        wanted = wanted.where(AliasMove.sequence < before)
    wanted = wanted.order_by(AliasMove.sequence.desc()).limit(limit).options(lazyload("*"))
    return [_move_json(move, number) for move, number in session.execute(wanted)]


def _move_json(move: AliasMove, number: int) -> MoveJson:
    return MoveJson(
        sequence=move.sequence,
        version=number,
        kind=move.kind,
        moved_at=move.moved_at,
        by=ActorJson.of(move.who),
    )


def describe_curves(
    session: Session, models: Sequence[Model], newest: int, before: int | None = None
) -> list[CurveJson]:
    """Return scores over versions, the oldest first, of each model; two queries for all.

    Args:
        session: the transaction.
        models: whose.
        newest: how many of a model's versions at most.
        before: only versions with lower numbers; None: any.
    """
    live = set(live_ids(session).values())
    found = curves(session, models, newest, before)
    return [
        CurveJson(
            model=model.name,
            points=[
                PointJson(
                    version=point.number,
                    created_at=point.created_at,
                    live=point.id in live,
                    classes=point.classes,
                    iou=point.iou,
                    **point.means,
                )
                for point in found[model.id]
            ],
            next_before=_numbers_before(found[model.id]),
        )
        for model in models
    ]


def _numbers_before(points: Sequence[Point]) -> int | None:
    """Return the first number, where others of the model are below it: they begin at 1."""
    first = points[0].number if points else 1
    return first if first > 1 else None


def _describe_held_out(kept: HeldOutSet) -> HeldOutJson:
    return HeldOutJson(
        pictures=kept.pictures,
        classes=kept.classes,
        sha256=kept.blob,
        deleted_at=kept.deleted_at,
        deleted_by=ActorJson.of_any(kept.deleted_by),
    )


def _describe_files(version: Version) -> list[FileJson]:
    if version.deleted_at is not None:
        return []
    here = f"/admin/models/{version.model.name}/versions/{version.number}/files"
    return [
        FileJson(name=name, bytes=file["bytes"], sha256=file["blob"], href=f"{here}/{name}")
        for name, file in version.files.items()
    ]
