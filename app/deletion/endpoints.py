"""`DELETE` of versions, held-out pictures, replay pictures and ended tasks."""

from fastapi import APIRouter, Depends

from app.admin.schemas import MemoryJson
from app.admin.service import describe_memory, get_model
from app.audit.actor import act_as
from app.db import write_session
from app.deletion import service
from app.deletion.freeing import free
from app.deletion.schemas import DeletionJson
from app.deletion.service import Removal
from app.errors import (
    InvalidProblem,
    NotFoundProblem,
    UnavailableProblem,
)
from app.http.dependencies import Acting, AppServices, require
from app.http.problems import responses
from app.http.services import Services
from app.keys.problems import KEY_PROBLEMS
from app.keys.service import Scope
from app.registry.memory import kept_memory
from app.registry.paths import ModelName, Number
from app.registry.problems import VersionInUseProblem
from app.registry.service import get_version
from app.storage.garbage import stores_of
from app.tasks.owning import ChangedTaskId
from app.tasks.problems import TaskNotEndedProblem

router = APIRouter(
    dependencies=[Depends(require(Scope.ADMIN))],
    responses=responses(*KEY_PROBLEMS, NotFoundProblem, InvalidProblem, UnavailableProblem),
)


@router.delete(
    "/admin/models/{model}/versions/{number}",
    tags=["admin"],
    summary="Delete a version",
    operation_id="versions_delete",
    responses=responses(VersionInUseProblem),
)
def delete_version(
    services: AppServices, actor: Acting, model: ModelName, number: Number
) -> DeletionJson:
    """Delete a version's files, its held-out pictures and its replay pictures.

    Not where it is live, where another version was learned from it, or where a task that has not
    ended starts from it. Its record stays and says when; its number is never given again. Deleting
    twice is no error.
    """
    with write_session(services.engine) as session:
        act_as(session, actor)
        found = get_model(session, model)
        places = stores_of(services.blobs, services.settings, services.engine).keys()
        removal = service.delete_version(session, places, found, number)
    services.live.forget(model, number)
    return _freed(services, removal)


@router.delete(
    "/admin/models/{model}/versions/{number}/held-out",
    tags=["admin"],
    summary="Delete a version's held-out pictures",
    operation_id="versions_held_out_delete",
)
def delete_held_out(
    services: AppServices, actor: Acting, model: ModelName, number: Number
) -> DeletionJson:
    """Delete the held-out pictures that were kept with a version.

    Versions after it are not scored on its classes any more: nobody measures what they forget of
    them, and the gate does not guard them. A step that runs now goes on with what it has. Deleting
    twice is no error.
    """
    with write_session(services.engine) as session:
        act_as(session, actor)
        version = get_version(session, get_model(session, model).id, number)
        removal = service.delete_held_out(session, version)
    return _freed(services, removal)


@router.delete(
    "/admin/models/{model}/versions/{number}/memory",
    tags=["admin"],
    summary="Delete a version's replay pictures",
    operation_id="versions_memory_delete",
)
def delete_memory(
    services: AppServices, actor: Acting, model: ModelName, number: Number
) -> MemoryJson:
    """Delete the training pictures that a version keeps; steps that start later replay none.

    Versions after it may keep some of the same pictures: each deletes its own. A step that runs
    now goes on with what it has; cancel it if it must not. Deleting twice is no error.
    """
    with write_session(services.engine) as session:
        act_as(session, actor)
        version = get_version(session, get_model(session, model).id, number)
        places = stores_of(services.blobs, services.settings, services.engine).keys()
        removal = service.delete_memory(session, places, version)
        memory = kept_memory(session, version)
    _freed(services, removal)
    return describe_memory(memory)


@router.delete(
    "/tasks/{task_id}",
    tags=["admin"],
    summary="Delete an ended task",
    operation_id="tasks_delete",
    responses=responses(TaskNotEndedProblem),
)
def delete_task(services: AppServices, actor: Acting, task_id: ChangedTaskId) -> DeletionJson:
    """Delete an ended task: its events, its log, and what was kept so that it could be tried again.

    Scope `admin`. A task that made no version is gone altogether; that of one that did stays as the
    version's record.
    """
    with write_session(services.engine) as session:
        act_as(session, actor)
        removal = service.delete_task(session, str(task_id))
    return _freed(services, removal)


def _freed(services: Services, removal: Removal) -> DeletionJson:
    stores = stores_of(services.blobs, services.settings, services.engine)
    freed = free(services.engine, stores, services.settings, removal)
    return DeletionJson(deleted=list(removal.deleted), kept=list(removal.kept), freed_bytes=freed)
