"""Versions, models and aliases as `/admin` shows them."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.admin.schemas import (
    ClassJson,
    CurveJson,
    FileJson,
    GateJson,
    HeldOutJson,
    MemoryJson,
    ModelGateJson,
    ModelJson,
    MoveJson,
    OriginJson,
    PointJson,
    ScoresJson,
    VersionJson,
)
from app.audit.service import Action, record
from app.db import AliasMove, HeldOutSet, Memory, Model, TaskKind, Version
from app.deletion.service import held_out_of_each
from app.errors import NotFoundProblem
from app.registry.floor import ModelGate, floor_of, own_gate
from app.registry.memory import memories_of
from app.registry.schemas import hex_colour
from app.registry.service import ensure_model, find_model, lineages, list_versions, live_version
from app.settings import Settings
from app.stored import read_stored
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


def list_models(session: Session) -> Sequence[Model]:
    """Return all models by name."""
    return session.scalars(select(Model).order_by(Model.name)).all()


def describe_model(session: Session, model: Model) -> ModelJson:
    """Return how a model looks over HTTP."""
    live = live_version(session, model.id)
    count = (
        select(func.count())
        .select_from(Version)
        .where(Version.model_id == model.id, Version.deleted_at.is_(None))
    )
    return ModelJson(
        name=model.name,
        live=live.number if live else None,
        versions=session.scalar(count) or 0,
        classes=[entry["name"] for entry in live.classes[1:]] if live else [],
        created_at=model.created_at,
    )


def describe_gate(model: Model, settings: Settings) -> ModelGateJson:
    """Return the floor of a model's gate, and what of it is the model's own."""
    return ModelGateJson(**floor_of(model, settings).model_dump(), own=own_gate(model))


def set_gate(session: Session, name: str, gate: ModelGate) -> Model:
    """Give a model limits of its own; makes it where no task has named it yet. Flushes."""
    model = ensure_model(session, name)
    before, model.gate = model.gate, gate.model_dump(mode="json", exclude_none=True) or None
    path = f"/admin/models/{name}/gate"
    record(session, Action.GATE_SET, path, model=name, before=before, after=model.gate)
    return model


def describe_versions(
    session: Session, model: Model, versions: Sequence[Version]
) -> list[VersionJson]:
    """Return how versions of a model look over HTTP; as many queries for one as for all."""
    live = live_version(session, model.id)
    memories = memories_of(session, versions)
    held_out = held_out_of_each(session, versions)
    lines = lineages(session, model.id, versions)
    return [
        _describe_version(version, live, memories.get(version.id), held_out.get(version.id), line)
        for version, line in zip(versions, lines, strict=True)
    ]


def _describe_version(
    version: Version,
    live: Version | None,
    memory: Memory | None,
    held_out: HeldOutSet | None,
    line: list[int],
) -> VersionJson:
    return VersionJson(
        model=version.model.name,
        number=version.number,
        live=_is(version, live),
        kind=TaskKind.IMPORT if version.origin else TaskKind.STEP,
        origin=OriginJson.model_validate(version.origin) if version.origin else None,
        parent=line[-2] if len(line) > 1 else None,
        lineage=line,
        task=version.task_id,
        method=version.settings.get("method"),
        created_at=version.created_at,
        classes=[
            ClassJson(
                index=entry["index"],
                name=entry["name"],
                colour=hex_colour(entry["colour"]),
                step=entry["step"],
            )
            for entry in version.classes
        ],
        new_classes=version.new_classes,
        scores=ScoresJson.model_validate(version.scores),
        gate=GateJson.model_validate(version.gate) if version.gate else None,
        backbone=version.settings["backbone"],
        backbone_start=version.backbone_start,
        settings=version.settings,
        seconds=version.seconds,
        fusion=bool(version.settings.get("fusion")),
        replayed_pictures=version.replayed_pictures,
        memory=describe_memory(memory) if memory else None,
        held_out=_describe_held_out(held_out) if held_out else None,
        files=_describe_files(version),
        deleted_at=version.deleted_at,
    )


def describe_memory(memory: Memory) -> MemoryJson:
    """Return how replay pictures look over HTTP."""
    return MemoryJson(
        pictures=memory.pictures,
        classes=memory.classes,
        bytes=memory.bytes,
        sha256=memory.blob,
        place=memory.place,
        deleted_at=memory.deleted_at,
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
    return MoveJson(
        sequence=move.sequence,
        version=move.version.number,
        kind=move.kind,
        moved_at=move.moved_at,
        moved_by=move.moved_by,
    )


def curve(session: Session, model: Model) -> CurveJson:
    """Return a model's scores over its versions, the oldest first."""
    live = live_version(session, model.id)
    versions = reversed(list_versions(session, model.id))
    return CurveJson(model=model.name, points=[_point(version, live) for version in versions])


def _point(version: Version, live: Version | None) -> PointJson:
    scores = ScoresJson.model_validate(version.scores)
    return PointJson(
        version=version.number,
        created_at=version.created_at,
        live=_is(version, live),
        miou_old=scores.miou_old,
        miou_new=scores.miou_new,
        miou_all=scores.miou_all,
        mean_forgetting=scores.mean_forgetting,
        classes=len(version.classes) - 1,
    )


def _describe_held_out(kept: HeldOutSet) -> HeldOutJson:
    return HeldOutJson(
        pictures=kept.pictures,
        classes=kept.classes,
        sha256=kept.blob,
        deleted_at=kept.deleted_at,
    )


def _describe_files(version: Version) -> list[FileJson]:
    if version.deleted_at is not None:
        return []
    here = f"/admin/models/{version.model.name}/versions/{version.number}/files"
    return [
        FileJson(name=name, bytes=file["bytes"], sha256=file["blob"], href=f"{here}/{name}")
        for name, file in version.files.items()
    ]


def _is(version: Version, live: Version | None) -> bool:
    return live is not None and live.id == version.id
