"""From a finished step or import to a version that can be seen: one transaction."""

from dataclasses import dataclass

from pydantic import TypeAdapter
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.datasets import dataset_classes
from app.db import HeldOutSet, Task, TaskKind, TaskState, Version, write_session
from app.db.base import JsonObject
from app.imports.schemas import ImportSpec
from app.models.gate import GateSettings, judge
from app.models.memory import add_memory, memory_place, memory_store
from app.models.service import IMPORT, go_live, live_version, lock_model, register_version
from app.settings import Settings
from app.storage import Blob, BlobStore
from app.stored import read_spec, read_stored
from app.tasks.service import class_names
from sats_core.evaluation.scores import Scores
from sats_core.job import ImportResult, StepResult
from worker.claim import Claim, end, hold, warn
from worker.folder import WorkFolder

GATE = "gate"
"""Who moved `live`, where it was nobody."""

_RESULT: TypeAdapter[StepResult | ImportResult] = TypeAdapter(StepResult | ImportResult)


@dataclass(frozen=True)
class _Stored:
    """A finished step or import whose files are all in the blob store."""

    result: StepResult | ImportResult
    files: dict[str, JsonObject]
    held_out: str | None
    held_out_classes: tuple[str, ...]
    """What held-out pictures that came with an import are labelled for."""
    memory: Blob | None
    place: str


def register(
    engine: Engine, blobs: BlobStore, settings: Settings, claim: Claim, folder: WorkFolder
) -> TaskState:
    """Register the version that lies in the work folder, judge it, and end the task.

    Blobs come first and are named by their content: a worker lost in between leaves bytes that
    the next one finds and uses. Everything that can be seen happens in one transaction.

    Raises:
        LeaseLostError: the task is somebody else's; nothing is registered.
    """
    stored = _store(blobs, settings, folder)
    with write_session(engine) as session:
        if hold(session, claim):  # somebody asked to cancel it before this very moment
            return end(session, claim, TaskState.CANCELLED)
        task = session.get_one(Task, claim.task_id)
        version, live = _register(session, claim, task, stored)
        state = TaskState.LIVE if live else TaskState.HELD
        return end(session, claim, state, version=(version.id, version.number))


def _store(blobs: BlobStore, settings: Settings, folder: WorkFolder) -> _Stored:
    files: dict[str, JsonObject] = {}
    for path in sorted(folder.version.iterdir()):
        blob = blobs.put_file(path)
        files[path.name] = {"blob": blob.key, "bytes": blob.size}
    place = memory_place(settings)
    memories = memory_store(settings, blobs, place)
    result = _RESULT.validate_json(folder.result_file.read_bytes())
    kept = folder.held_out.exists()
    labelled = kept and isinstance(result, ImportResult)
    return _Stored(
        result=result,
        files=files,
        held_out=blobs.put_file(folder.held_out).key if kept else None,
        held_out_classes=dataset_classes(folder.held_out, settings.limits) if labelled else (),
        memory=memories.put_file(folder.memory) if folder.memory.exists() else None,
        place=place,
    )


def _register(session: Session, claim: Claim, task: Task, stored: _Stored) -> tuple[Version, bool]:
    """Add the version and what belongs to it; returns it and whether it went live."""
    if task.kind == TaskKind.IMPORT:
        version, live = _register_import(session, claim, task, stored)
    else:
        version, live = _register_step(session, task, stored)
    if stored.held_out is not None:
        session.add(
            HeldOutSet(
                version_id=version.id,
                blob=stored.held_out,
                classes=list(stored.held_out_classes or version.new_classes),
                pictures=stored.result.held_out_pictures,
            )
        )
    return version, live


def _register_import(
    session: Session, claim: Claim, task: Task, stored: _Stored
) -> tuple[Version, bool]:
    model = lock_model(session, task.model_id)
    names = [str(entry["name"]) for entry in stored.result.classes[1:]]
    version = register_version(
        session,
        model,
        task_id=task.id,
        parent=None,
        new_classes=names,
        result=stored.result,
        verdict=None,
        files=stored.files,
    )
    if not read_spec(ImportSpec, task.spec).promote:
        return version, False
    before = live_version(session, model.id)
    gone = [name for name in class_names(before) if name not in class_names(version)]
    if before is not None and gone:
        lost = ", ".join(map(repr, gone))
        message = f"version {before.number}, live until now, knew {lost} and this import does not"
        warn(session, claim, message)
    go_live(session, version, by=task.submitted_by or IMPORT, kind=IMPORT)
    return version, True


def _register_step(session: Session, task: Task, stored: _Stored) -> tuple[Version, bool]:
    model = lock_model(session, task.model_id)
    parent = session.get_one(Version, task.parent_id) if task.parent_id else None
    live = live_version(session, model.id)
    known = {entry["name"] for entry in parent.classes} if parent else {"background"}
    new_classes = [
        str(entry["name"]) for entry in stored.result.classes if entry["name"] not in known
    ]
    verdict = judge(
        read_spec(GateSettings, task.spec.get("gate", {})),
        stored.result.scores,
        read_stored(Scores, parent.scores) if parent else None,
        new_classes,
        live_moved=(live.id if live else None) != task.live_id,
        live_classes=class_names(live),
    )
    version = register_version(
        session,
        model,
        task_id=task.id,
        parent=parent,
        new_classes=new_classes,
        result=stored.result,
        verdict=verdict,
        files=stored.files,
    )
    result = stored.result
    if stored.memory is not None and isinstance(result, StepResult) and result.memory is not None:
        memory = stored.memory
        add_memory(session, version, result.memory, memory.key, memory.size, stored.place)
    if verdict.passed:
        go_live(session, version, by=GATE)
    return version, verdict.passed
