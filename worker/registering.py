"""From a finished step to a version: files into the blob store, then one transaction."""

from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.db import HeldOutSet, Task, TaskState, Version, write_session
from app.db.base import JsonObject
from app.models.gate import judge
from app.models.memory import add_memory, memory_place, memory_store
from app.models.service import go_live, live_version, lock_model, register_version
from app.settings import Settings
from app.storage import Blob, BlobStore
from app.tasks.schemas import TaskSpec
from sats_core.evaluation.scores import Scores
from sats_core.job import StepResult
from worker.claim import Claim, end, hold
from worker.folder import WorkFolder

GATE = "gate"
"""Who moved `live`, where it was nobody."""


@dataclass(frozen=True)
class _Stored:
    """A finished step whose files are all in the blob store."""

    result: StepResult
    files: dict[str, JsonObject]
    held_out: str | None
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
        return _register(session, claim, stored)


def _store(blobs: BlobStore, settings: Settings, folder: WorkFolder) -> _Stored:
    files: dict[str, JsonObject] = {}
    for path in sorted(folder.version.iterdir()):
        blob = blobs.put_file(path)
        files[path.name] = {"blob": blob.key, "bytes": blob.size}
    place = memory_place(settings)
    memories = memory_store(settings, blobs, place)
    return _Stored(
        result=StepResult.model_validate_json(folder.result_file.read_bytes()),
        files=files,
        held_out=blobs.put_file(folder.held_out).key if folder.held_out.exists() else None,
        memory=memories.put_file(folder.memory) if folder.memory.exists() else None,
        place=place,
    )


def _register(session: Session, claim: Claim, stored: _Stored) -> TaskState:
    task = session.get_one(Task, claim.task_id)
    model = lock_model(session, task.model_id)
    parent = session.get_one(Version, task.parent_id) if task.parent_id else None
    live = live_version(session, model.id)
    known = {entry["name"] for entry in parent.classes} if parent else {"background"}
    new_classes = [
        str(entry["name"]) for entry in stored.result.classes if entry["name"] not in known
    ]
    verdict = judge(
        TaskSpec.model_validate(task.spec).gate,
        stored.result.scores,
        Scores.model_validate(parent.scores) if parent else None,
        new_classes,
        live_moved=(live.id if live else None) != task.parent_id,
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
    if stored.held_out is not None:
        session.add(
            HeldOutSet(
                version_id=version.id,
                blob=stored.held_out,
                classes=new_classes,
                pictures=stored.result.held_out_pictures,
            )
        )
    if stored.memory is not None and stored.result.memory is not None:
        memory = stored.memory
        add_memory(session, version, stored.result.memory, memory.key, memory.size, stored.place)
    if verdict.passed:
        go_live(session, version, by=GATE)
    state = TaskState.LIVE if verdict.passed else TaskState.HELD
    return end(session, claim, state, version=(version.id, version.number))
