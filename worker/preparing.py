"""From a claimed row to the job that its training process runs."""

import os
import shutil
from collections.abc import Sequence, Set
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.datasets import task_classes
from app.db import HeldOutSet, Memory, Place, Task, TaskKind, Version, read_session
from app.disk import check_fits, needed, own_bytes
from app.errors import InvalidDatasetProblem
from app.imports.checking import checkpoint_classes
from app.imports.schemas import ImportSpec
from app.registry.files import verified, version_file
from app.registry.held_out import held_out_sets
from app.registry.memory import memory_of, memory_store
from app.registry.parents import ParentDeletedProblem, check_base
from app.registry.service import assign_indices
from app.settings import Settings
from app.storage import BlobDamagedError, BlobMissingError, BlobStore
from app.stored import read_spec
from app.tasks.schemas import TaskSpec
from app.tasks.service import check_classes, class_names
from sats_core.job import HeldOutPictures, ImportJob, Job, StepJob
from worker.device import Device
from worker.folder import WorkFolder


def prepare(
    engine: Engine,
    blobs: BlobStore,
    settings: Settings,
    task_id: str,
    folder: WorkFolder,
    device: Device,
) -> Job:
    """Return the job of a claimed task; an old version lies verified in the work folder.

    No connection is held while files are read or copied. A step shares its batches among as many
    devices as the settings allow and `device` has.

    Raises:
        Problem: the task cannot be run, now or ever.
        CoreError: the data set, or the checkpoint, is wrong.
    """
    with read_session(engine) as session:
        task = session.get_one(Task, task_id)
    if task.kind == TaskKind.IMPORT:
        return _prepare_import(engine, blobs, settings, task, folder)
    devices = device.sharing(settings.train_devices)
    return _prepare_step(engine, blobs, settings, task, folder, devices)


def check_room(
    engine: Engine, settings: Settings, task_id: str, job: Job, folder: WorkFolder
) -> None:
    """Check that what a prepared job still has to write fits on the disk.

    Raises:
        DiskFullProblem: it does not.
        CoreError: the upload cannot be read.
    """
    with read_session(engine) as session:
        task = session.get_one(Task, task_id)
        start = session.get_one(Version, task.parent_id) if task.parent_id else None
    if isinstance(job, ImportJob):
        spec = read_spec(ImportSpec, task.spec)
        wanted = needed(spec, job.source, None, settings.limits, job.evaluate)
    else:
        wanted = needed(read_spec(TaskSpec, task.spec), job.dataset, start, settings.limits)
    there = own_bytes(folder.checkpoints) + own_bytes(folder.result)
    check_fits(settings, wanted, there)


def _prepare_import(
    engine: Engine, blobs: BlobStore, settings: Settings, task: Task, folder: WorkFolder
) -> ImportJob:
    spec = read_spec(ImportSpec, task.spec)
    source = _upload(blobs, task.dataset, "checkpoint", folder)
    names = checkpoint_classes(source, spec, settings.limits)
    return ImportJob(
        source=source,
        source_name=spec.source,
        background=spec.background,
        allow_pickle=spec.allow_pickle,
        classes=names,
        indices=_indices(engine, task, names),
        evaluate=_upload(blobs, task.evaluation, "data set", folder) if task.evaluation else None,
        features=spec.features,
        limits=settings.limits,
        threads=settings.threads,
        work=folder.checkpoints,
        result=folder.result,
    )


def _prepare_step(
    engine: Engine,
    blobs: BlobStore,
    settings: Settings,
    task: Task,
    folder: WorkFolder,
    devices: int,
) -> StepJob:
    with read_session(engine) as session:
        parent = session.get_one(Version, task.parent_id) if task.parent_id else None
        if parent is None:
            check_base(session, task)
        elif parent.deleted_at is not None:
            raise ParentDeletedProblem(
                f"version {parent.number}, which it starts from, was deleted"
            )
        kept = held_out_sets(session, parent) if parent else ()
        own = _own_versions(session, task, kept)
        memory = memory_of(session, parent) if parent and task.spec.get("memory") else None
    spec = read_spec(TaskSpec, task.spec)
    dataset = _upload(blobs, task.dataset, "data set", folder)
    names = _classes_to_learn(spec, task_classes(dataset, settings.limits), parent)
    return StepJob(
        dataset=dataset,
        old_version=_old_version(blobs, parent, folder.old_version) if parent else None,
        new_classes=names,
        indices=_indices(engine, task, names),
        named=spec.classes is not None,
        settings=spec.step_settings(),
        halvings=task.halvings,
        devices=devices,
        held_out=spec.held_out,
        earlier=_held_out(blobs, kept, own, folder.old_held_out),
        memory=_memory(blobs, settings, memory, folder.old_memory) if memory else None,
        limits=settings.limits,
        backbone_dir=settings.backbone_dir.resolve() if settings.backbone_dir else None,
        threads=settings.threads,
        work=folder.checkpoints,
        result=folder.result,
    )


def _indices(engine: Engine, task: Task, names: Sequence[str]) -> tuple[int, ...]:
    with read_session(engine) as session:
        return assign_indices(session, task.model_id, names)


def _classes_to_learn(
    spec: TaskSpec, labelled: Sequence[str], parent: Version | None
) -> tuple[str, ...]:
    """Return the classes that the step brings, in channel order.

    They were checked when the task was posted, against what was live then; tasks before it in
    the queue may have taught the model since.
    """
    known = class_names(parent)
    check_classes(spec, labelled, known)
    if spec.classes is not None:
        return tuple(spec.classes)
    return tuple(name for name in labelled if name not in known)


def _upload(blobs: BlobStore, key: str, what: str, folder: WorkFolder) -> Path:
    try:
        return blobs.held(key, folder.uploads).resolve()
    except BlobMissingError as error:
        raise InvalidDatasetProblem(f"the posted {what} is gone; post it again") from error
    except BlobDamagedError as error:
        message = f"the posted {what} is damaged in the blob store; post it again"
        raise InvalidDatasetProblem(message) from error


def _old_version(blobs: BlobStore, version: Version, target: Path) -> Path:
    """Lay the version to start from out in `target`, afresh on every try.

    They are links, checked anew: many tries cost no room, and deleting the version breaks none.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in version.files:
        _link(version_file(blobs, version, name), target / name)
    return target


def _memory(blobs: BlobStore, settings: Settings, memory: Memory, target: Path) -> Path | None:
    """Lay the parent's replay pictures out in the work folder; None where they were deleted.

    A step that runs keeps its own link to them, so that deleting them does not break it.
    """
    target.unlink(missing_ok=True)
    if memory.deleted_at is not None:
        return None
    store = memory_store(settings, blobs, Place(memory.place))
    _link(verified(store, memory.blob, "the pictures kept for replay"), target)
    return target


def _own_versions(session: Session, task: Task, kept: Sequence[HeldOutSet]) -> set[int]:
    """Return the versions whose held-out pictures whoever posted a task may be told of.

    Those that its own key posted; an admin's all. Of others, a count of copies would tell whether
    a picture is among them.
    """
    versions = {pictures.version_id for pictures in kept}
    if task.by_admin:
        return versions
    posted = select(Version.id).join(Task, Task.id == Version.task_id)
    own = Task.key_id.is_not_distinct_from(task.key_id)
    return set(session.scalars(posted.where(Version.id.in_(versions), own)))


def _held_out(
    blobs: BlobStore, kept: Sequence[HeldOutSet], own: Set[int], target: Path
) -> tuple[HeldOutPictures, ...]:
    """Lay the sets of held-out pictures out in the work folder, for the same reason."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    laid_out = []
    for number, pictures in enumerate(kept):
        path = target / f"{number}.zip"
        _link(verified(blobs, pictures.blob, "a set of held-out pictures"), path)
        compared = pictures.version_id in own
        laid_out.append(
            HeldOutPictures(path=path, classes=tuple(pictures.classes), compared=compared)
        )
    return tuple(laid_out)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
