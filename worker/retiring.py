"""A retirement: from a claimed row to its job, and from its result to a version."""

from collections.abc import Mapping

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.db import Erasure, Task, Version, read_session
from app.db.base import JsonObject
from app.records.stored import read_spec, read_stored
from app.registry.floor import GateFloor, floor_of
from app.registry.gate import Verdict
from app.registry.memory import memory_of
from app.registry.moves import go_live
from app.registry.parents import ParentDeletedProblem
from app.registry.retired import brought_back, indices_of, retire_indices, unaware_version
from app.registry.service import live_version, lock_model, register_version
from app.retirement.checking import check_classes, check_dataset
from app.retirement.gate import judge_retirement
from app.retirement.records import Depth, Retirement
from app.retirement.schemas import RetireSpec
from app.settings import Settings
from app.storage import BlobStore
from app.tasks.classes import class_names
from sats_core.evaluation.scores import Scores
from sats_core.job import Result, RetireJob, RetireResult
from worker.folder import WorkFolder
from worker.laying_out import held_out, replay, scored_on, upload, version_files


def prepare_retirement(
    engine: Engine, blobs: BlobStore, settings: Settings, task: Task, folder: WorkFolder
) -> RetireJob:
    """Return the job of a claimed retirement; what it works with lies in the work folder.

    Raises:
        ParentDeletedProblem: the version was deleted that the classes are taken from.
        InvalidProblem: a class cannot be taken away from it.
        InvalidDatasetProblem: the pictures that came along cannot be used, or are gone.
    """
    spec = read_spec(RetireSpec, task.spec)
    with read_session(engine) as session:
        parent = session.get_one(Version, task.parent_id) if task.parent_id else None
        if parent is None or parent.deleted_at is not None:
            raise ParentDeletedProblem(
                f"version {spec.parent}, which the classes are to be taken from, was deleted"
            )
        check_classes(session, parent, spec.classes)
        kept = scored_on(session, task, parent)
        memory = memory_of(session, parent)
        unaware = unaware_version(session, parent, spec.classes)
    dataset = upload(blobs, task.evaluation, "data set", folder) if task.evaluation else None
    if dataset is not None:
        check_dataset(dataset, parent, settings.limits)
    return RetireJob(
        old_version=version_files(blobs, parent, folder.old_version),
        classes=tuple(name for name in class_names(parent) if name in spec.classes),
        depth=spec.depth.of_core,
        settings=spec.step_settings(spec.depth, memory.pictures if memory else 0),
        dataset=dataset,
        earlier=held_out(blobs, kept, folder.old_held_out),
        memory=replay(engine, blobs, settings, memory, folder.old_memory) if memory else None,
        unaware=version_files(blobs, unaware, folder.unaware) if unaware else None,
        limits=settings.limits,
        threads=settings.threads,
        work=folder.checkpoints,
        result=folder.result,
    )


def register_retirement(
    session: Session,
    settings: Settings,
    task: Task,
    result: RetireResult,
    files: Mapping[str, JsonObject],
) -> tuple[Version, bool]:
    """Add the version, give the indices to nobody any more, and judge it. Flushes.

    Returns the version and whether it went live.
    """
    model = lock_model(session, task.model_id)
    parent = session.get_one(Version, task.parent_id)
    live = live_version(session, model.id)
    spec, given = read_spec(RetireSpec, task.spec), indices_of(parent)
    retirement = Retirement(
        retired=result.retired,
        indices=tuple(given[name] for name in result.retired),
        depth=spec.depth,
        proof=result.proof,
    )
    floor = floor_of(model, settings)
    verdict = _verdict(session, task, floor, parent, live, result, retirement)
    retire_indices(session, model.id, retirement.indices)
    version = register_version(
        session,
        model,
        task_id=task.id,
        parent=parent,
        new_classes=(),
        result=result,
        verdict=verdict,
        files=dict(files),
        settings=result.settings | _as_of(parent) | {"method": None},
        backbone_start=parent.backbone_start,
        retirement=retirement.model_dump(mode="json"),
        erasure=Erasure.WAITS if spec.depth == Depth.FORGET else None,
    )
    if verdict.passed:
        go_live(session, version)
    return version, verdict.passed


def _verdict(
    session: Session,
    task: Task,
    floor: GateFloor,
    parent: Version,
    live: Version | None,
    result: RetireResult,
    retirement: Retirement,
) -> Verdict:
    """Return what the gate says, of what stays alone."""
    gate = read_spec(RetireSpec, task.spec).gate
    wish = gate.of_step()
    return judge_retirement(
        gate,
        floor.settings(wish, by_admin=task.by_admin),
        retirement,
        result.scores,
        read_stored(Scores, parent.scores),
        read_stored(Scores, live.scores) if live else None,
        _staying(live, retirement),
        live_moved=(live.id if live else None) != task.live_id,
        waived=floor.waived(wish) if task.by_admin else (),
        holds_too=holds_for_retired(session, live, result),
    )


def holds_for_retired(session: Session, live: Version | None, result: Result) -> tuple[str, ...]:
    """Return what holds a version from before a retirement: a class that was taken away since."""
    known = {str(entry["name"]): int(str(entry["index"])) for entry in result.classes}
    names = ", ".join(map(repr, brought_back(session, live, known)))
    said = f"{names} was taken away before the live version, and this one knows it"
    return (said,) if names else ()


def _staying(live: Version | None, retirement: Retirement) -> list[str]:
    """Return what the live version knows and was not taken away.

    A class of the same name that was taught again since is another one: it has another index.
    """
    known = indices_of(live) if live else {}
    return [name for name, index in known.items() if index not in retirement.indices]


def _as_of(parent: Version) -> JsonObject:
    """Return the settings that only a base step reads: what comes of it keeps them."""
    kept = ("backbone", "size")
    return {name: parent.settings[name] for name in kept if name in parent.settings}
