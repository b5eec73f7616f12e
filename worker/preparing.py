"""From a claimed row to the job that its training process runs."""

from collections.abc import Sequence

from sqlalchemy import Engine

from app.db import Task, TaskKind, Version, read_session
from app.imports.checking import checkpoint_classes
from app.imports.schemas import ImportSpec
from app.records.stored import read_spec
from app.registry.memory import memory_of
from app.registry.parents import ParentDeletedProblem, check_base
from app.registry.retired import retired_names
from app.registry.service import assign_indices
from app.settings import Settings
from app.storage import BlobStore
from app.tasks.classes import check_classes, class_names
from app.tasks.disk import check_fits, needed, needed_to_retire, own_bytes
from app.tasks.schemas import TaskSpec
from app.uploads.datasets import task_classes
from sats_core.job import ImportJob, Job, RetireJob, StepJob
from worker.device import Device
from worker.folder import WorkFolder
from worker.laying_out import held_out, replay, scored_on, upload, version_files
from worker.retiring import prepare_retirement


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
    if task.kind == TaskKind.RETIRE:
        return prepare_retirement(engine, blobs, settings, task, folder)
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
    if isinstance(job, RetireJob) and start is not None:
        wanted = needed_to_retire(start, job.dataset, settings.limits)
    elif isinstance(job, ImportJob):
        spec = read_spec(ImportSpec, task.spec)
        wanted = needed(spec, job.source, None, settings.limits, job.evaluate)
    elif isinstance(job, StepJob):
        wanted = needed(read_spec(TaskSpec, task.spec), job.dataset, start, settings.limits)
    there = own_bytes(folder.checkpoints) + own_bytes(folder.result)
    check_fits(settings, wanted, there)


def _prepare_import(
    engine: Engine, blobs: BlobStore, settings: Settings, task: Task, folder: WorkFolder
) -> ImportJob:
    spec = read_spec(ImportSpec, task.spec)
    source = upload(blobs, task.dataset, "checkpoint", folder)
    names = checkpoint_classes(source, spec, settings.limits)
    return ImportJob(
        source=source,
        source_name=spec.source,
        background=spec.background,
        allow_pickle=spec.allow_pickle,
        classes=names,
        indices=_indices(engine, task, names),
        evaluate=upload(blobs, task.evaluation, "data set", folder) if task.evaluation else None,
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
        kept = scored_on(session, task, parent) if parent else ()
        known = class_names(parent)
        retired = retired_names(session, parent) if parent else ()
        memory = memory_of(session, parent) if parent and task.spec.get("memory") else None
    spec = read_spec(TaskSpec, task.spec)
    dataset = upload(blobs, task.dataset, "data set", folder)
    names = _classes_to_learn(spec, task_classes(dataset, settings.limits), known, retired)
    return StepJob(
        dataset=dataset,
        old_version=version_files(blobs, parent, folder.old_version) if parent else None,
        new_classes=names,
        indices=_indices(engine, task, names),
        named=spec.classes is not None,
        settings=spec.step_settings(),
        halvings=task.halvings,
        devices=devices,
        held_out=spec.held_out,
        earlier=held_out(blobs, kept, folder.old_held_out),
        memory=replay(engine, blobs, settings, memory, folder.old_memory) if memory else None,
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
    spec: TaskSpec, labelled: Sequence[str], known: Sequence[str], retired: Sequence[str]
) -> tuple[str, ...]:
    """Return the classes that the step brings, in channel order.

    They were checked when the task was posted, against what was live then; tasks before it in
    the queue may have taught the model since.
    """
    check_classes(spec, labelled, known, retired)
    if spec.classes is not None:
        return tuple(spec.classes)
    return tuple(name for name in labelled if name not in {*known, *retired})
