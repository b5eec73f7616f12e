"""From a finished step or import to a version that can be seen: one transaction."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.audit.actor import act_as
from app.db import (
    Actor,
    ActorType,
    HeldOutSet,
    Model,
    Place,
    Task,
    TaskKind,
    TaskState,
    Version,
    write_session,
)
from app.db.base import JsonObject
from app.imports.schemas import ImportSpec
from app.records.stored import read_spec, read_stored
from app.registry.floor import GateWish, floor_of, judge_import
from app.registry.gate import judge
from app.registry.memory import add_memory, memory_place, memory_store
from app.registry.moves import IMPORT, go_live
from app.registry.parents import preview_version
from app.registry.service import alias_history, live_version, lock_model, register_version
from app.settings import Settings
from app.storage import BlobStore, StagedBlob
from app.storage.references import lock_blobs
from app.storage.sending import enter_with, send
from app.tasks.classes import class_names
from app.uploads.datasets import dataset_classes
from sats_core.evaluation.scores import Scores
from sats_core.job import (
    ImportResult,
    MemoryRecord,
    Result,
    RetireResult,
    StepResult,
    parse_result,
)
from worker.claim import Claim, end, hold, warn
from worker.folder import WorkFolder
from worker.retiring import holds_for_retired, register_retirement


@dataclass(frozen=True)
class _Staged:
    """A finished step or import whose files are all staged, each for the store it belongs in."""

    result: Result
    files: Mapping[str, StagedBlob]
    held_out: StagedBlob | None
    held_out_classes: tuple[str, ...]
    """What held-out pictures that came with an import are labelled for."""
    memory: StagedBlob | None
    place: Place
    """Where the memory belongs."""

    @property
    def all(self) -> tuple[StagedBlob, ...]:
        """Every file."""
        beside = tuple(one for one in (self.held_out, self.memory) if one is not None)
        return (*self.files.values(), *beside)


def register(
    engine: Engine, blobs: BlobStore, settings: Settings, claim: Claim, folder: WorkFolder
) -> TaskState:
    """Register the version that lies in the work folder, judge it, and end the task.

    The files are staged first, which takes as long as they are large. Everything that can be seen
    happens in one transaction.

    Raises:
        LeaseLostError: the task is somebody else's; nothing is registered.
    """
    with ExitStack() as stack:
        staged = _stage(stack, engine, blobs, settings, folder)
        send(staged.all)
        return enter_with(staged.all, lambda: _end(engine, settings, claim, staged))


def _end(engine: Engine, settings: Settings, claim: Claim, staged: _Staged) -> TaskState:
    with write_session(engine) as session:
        lock_blobs(session, [one.blob.key for one in staged.all])
        for one in staged.all:
            one.confirm()  # before the row is locked, which heartbeats write to
        if hold(session, claim):  # somebody asked to cancel it before this very moment
            return end(session, claim, TaskState.CANCELLED)
        task = session.get_one(Task, claim.task_id)
        act_as(session, Actor(ActorType.WORKER, task.worker or ""))
        version, live = _register(session, settings, claim, task, staged)
        for one in staged.all:
            one.publish()
        state = TaskState.LIVE if live else TaskState.HELD
        return end(session, claim, state, version=(version.id, version.number))


def _stage(
    stack: ExitStack, engine: Engine, blobs: BlobStore, settings: Settings, folder: WorkFolder
) -> _Staged:
    """Stage what lies in the work folder; what is not published goes when `stack` closes."""

    def stage(store: BlobStore, path: Path) -> StagedBlob:
        return stack.enter_context(store.stage_file(path))

    place = memory_place(settings)
    memories = memory_store(engine, settings, blobs, place)
    result = parse_result(folder.result_file.read_bytes())
    kept = folder.held_out.exists()
    labelled = kept and isinstance(result, ImportResult)
    keeps_memory = _memory_record(result) is not None
    return _Staged(
        result=result,
        files={path.name: stage(blobs, path) for path in sorted(folder.version.iterdir())},
        held_out=stage(blobs, folder.held_out) if kept else None,
        held_out_classes=dataset_classes(folder.held_out, settings.limits) if labelled else (),
        memory=stage(memories, folder.memory) if keeps_memory else None,
        place=place,
    )


def _register(
    session: Session, settings: Settings, claim: Claim, task: Task, staged: _Staged
) -> tuple[Version, bool]:
    """Add the version and what belongs to it; returns it and whether it went live."""
    if task.kind == TaskKind.IMPORT:
        version, live = _register_import(session, settings, claim, task, staged)
    elif isinstance(staged.result, RetireResult):
        version, live = register_retirement(
            session, settings, task, staged.result, _described(staged.files)
        )
        _keep_memory(session, version, staged)
    else:
        version, live = _register_step(session, settings, task, staged)
    if staged.held_out is not None and not isinstance(staged.result, RetireResult):
        session.add(
            HeldOutSet(
                version_id=version.id,
                blob=staged.held_out.blob.key,
                classes=list(staged.held_out_classes or version.new_classes),
                pictures=staged.result.held_out_pictures,
                bytes=staged.held_out.blob.size,
            )
        )
    return version, live


def _register_import(
    session: Session, settings: Settings, claim: Claim, task: Task, staged: _Staged
) -> tuple[Version, bool]:
    model = lock_model(session, task.model_id)
    promote = read_spec(ImportSpec, task.spec).promote
    verdict = judge_import(floor_of(model, settings)) if promote else None
    names = [str(entry["name"]) for entry in staged.result.classes[1:]]
    version = register_version(
        session,
        model,
        task_id=task.id,
        parent=None,
        new_classes=names,
        result=staged.result,
        verdict=verdict,
        files=_described(staged.files),
    )
    if not promote or verdict is not None:
        return version, False
    before = live_version(session, model.id)
    gone = [name for name in class_names(before) if name not in class_names(version)]
    if before is not None and gone:
        lost = ", ".join(map(repr, gone))
        message = f"version {before.number}, live until now, knew {lost} and this import does not"
        warn(session, claim, message)
    go_live(session, version, IMPORT, by=task.who)
    return version, True


def _register_step(
    session: Session, settings: Settings, task: Task, staged: _Staged
) -> tuple[Version, bool]:
    model = lock_model(session, task.model_id)
    parent = session.get_one(Version, task.parent_id) if task.parent_id else None
    live = live_version(session, model.id)
    known = {entry["name"] for entry in parent.classes} if parent else {"background"}
    new_classes = [
        str(entry["name"]) for entry in staged.result.classes if entry["name"] not in known
    ]
    preview = preview_version(session, task.id)
    unmoved = {task.live_id}
    if preview is not None and task.live_id in (preview.id, preview.parent_id):
        # Rolled back, the preview leaves live what both started from and the scores compare with;
        # promoted, or live at a later try, it is compared with itself.
        unmoved |= {preview.id, preview.parent_id}
    wish, floor = read_spec(GateWish, task.spec.get("gate", {})), floor_of(model, settings)
    verdict = judge(
        floor.settings(wish, by_admin=task.by_admin),
        staged.result.scores,
        read_stored(Scores, parent.scores) if parent else None,
        new_classes,
        live_moved=(live.id if live else None) not in unmoved,
        live_classes=class_names(live),
        live=_replaced_scores(session, model, preview),
        preview=read_stored(Scores, preview.scores) if preview and live is preview else None,
        waived=floor.waived(wish) if task.by_admin else (),
        warnings=_serious(staged.result),
        holds_too=holds_for_retired(session, live, staged.result),
    )
    version = register_version(
        session,
        model,
        task_id=task.id,
        parent=parent,
        new_classes=new_classes,
        result=staged.result,
        verdict=verdict,
        files=_described(staged.files),
    )
    _keep_memory(session, version, staged)
    if verdict.passed:
        go_live(session, version)
    return version, verdict.passed


def _keep_memory(session: Session, version: Version, staged: _Staged) -> None:
    record = _memory_record(staged.result)
    if staged.memory is not None and record is not None:
        memory = staged.memory.blob
        add_memory(session, version, record, memory.key, memory.size, staged.place)


def _memory_record(result: Result) -> MemoryRecord | None:
    return None if isinstance(result, ImportResult) else result.memory


def _serious(result: Result) -> tuple[str, ...]:
    """Return what is seriously wrong with the labels that a step learned from."""
    labels = result.labels if isinstance(result, StepResult) else None
    return labels.serious if labels else ()


def _replaced_scores(session: Session, model: Model, preview: Version | None) -> Scores | None:
    """Return the scores of the live version, or of what the step's own preview replaced there."""
    for move in alias_history(session, model.id, limit=2):
        if preview is None or move.version_id != preview.id:
            return read_stored(Scores, move.version.scores)
    return None


def _described(files: Mapping[str, StagedBlob]) -> dict[str, JsonObject]:
    return {name: {"blob": f.blob.key, "bytes": f.blob.size} for name, f in files.items()}
