"""`/tasks`: post labelled pictures, follow what becomes of them."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path as FilePath
from typing import Annotated, Literal

from fastapi import APIRouter, BackgroundTasks, Depends, Query, Response
from fastapi.responses import PlainTextResponse

from app.broker import wake
from app.db import TaskState, read_session
from app.errors import (
    BadRequestProblem,
    BusyProblem,
    DiskFullProblem,
    IdempotencyKeyReusedProblem,
    InvalidDatasetProblem,
    InvalidProblem,
    NotFoundProblem,
    TooLargeProblem,
    UnavailableProblem,
    UnsupportedMediaProblem,
)
from app.http.afterwards import afterwards
from app.http.answers import json_answer
from app.http.dependencies import (
    Acting,
    AppServices,
    Follower,
    ReadSession,
    WriteSession,
    require_to_change,
)
from app.http.parameters import Cursor
from app.http.problems import responses
from app.http.strays import refuse_undeclared
from app.idempotency.once import AtMostOnce, replayed
from app.keys.problems import (
    KEY_PROBLEMS,
    ByteLimitProblem,
    RequestLimitProblem,
    TaskLimitProblem,
)
from app.keys.service import Scope, check_model
from app.records.paging import NEWEST
from app.registry.floor import check_gate, floor_of
from app.registry.naming import check_known
from app.registry.parents import NothingToStartFromProblem, ParentDeletedProblem
from app.registry.problems import UnknownModelProblem
from app.registry.service import find_model
from app.storage import Blob
from app.tasks import listing, service
from app.tasks.answering import ACCEPTED, IdempotencyKey, acceptance, announce
from app.tasks.disk import check_task_fits
from app.tasks.documentation import LOG, UPLOAD
from app.tasks.listing import TaskOrder, TaskSort, Wanted
from app.tasks.owning import ChangedTaskId, TaskId
from app.tasks.parameters import wanted
from app.tasks.problems import TaskEndedProblem, TaskFilesGoneProblem, TaskNotFailedProblem
from app.tasks.schemas import TaskJson, TaskPage
from app.tasks.submission import Submission
from app.tasks.upload import PostedUpload
from app.tasks.uploads import drop_uploads
from app.tasks.visibility import visible
from app.uploads.problems import UploadUnfinishedProblem
from app.uploads.staging import still_there
from app.uploads.tokens import UploadGoneProblem

router = APIRouter(
    prefix="/tasks",
    tags=["tasks"],
    dependencies=[Depends(require_to_change(Scope.SUBMIT)), Depends(refuse_undeclared)],
    responses=responses(*KEY_PROBLEMS, InvalidProblem, UnavailableProblem),
)


@router.post(
    "",
    status_code=202,
    summary="Post a task",
    operation_id="tasks_create",
    openapi_extra=UPLOAD,
    responses=ACCEPTED
    | responses(
        BadRequestProblem,
        UnknownModelProblem,
        NothingToStartFromProblem,
        TooLargeProblem,
        UnsupportedMediaProblem,
        InvalidProblem,
        InvalidDatasetProblem,
        UploadGoneProblem,
        UploadUnfinishedProblem,
        IdempotencyKeyReusedProblem,
        RequestLimitProblem,
        TaskLimitProblem,
        ByteLimitProblem,
        BusyProblem,
        UnavailableProblem,
        DiskFullProblem,
    ),
)
def post_task(
    services: AppServices,
    actor: Acting,
    upload: PostedUpload,
    response: Response,
    background: BackgroundTasks,
    idempotency_key: IdempotencyKey = None,
) -> TaskJson:
    """Post labelled pictures of something new.

    The zip's structure is checked at once; the pictures themselves, and COCO's files, are read
    when the task starts, and the task then names every bad file. A gate that is laxer than the
    model's floor is refused, unless the key has scope `admin`.
    """
    by_admin = upload.caller.may(Scope.ADMIN)

    def make(stored: Mapping[str, Blob]) -> Submission:
        return Submission(
            upload.spec,
            stored["dataset"],
            upload.caller.name,
            idempotency_key,
            by_admin=by_admin,
            key_id=upload.caller.key_id,
        )

    def check(staged: Mapping[str, FilePath]) -> None:
        if not upload.spec.create:
            with read_session(services.engine) as session:
                check_known(session, upload.spec.model, upload.caller.reaches)
        if not by_admin:
            with read_session(services.engine) as session:
                floor = floor_of(find_model(session, upload.spec.model), services.settings)
            check_gate(upload.spec.gate, floor, upload.spec.model)
        with ExitStack() as stack:
            if isinstance(upload.dataset, Blob):
                pictures = stack.enter_context(
                    still_there(services.blobs.in_places(upload.dataset.key))
                )
            else:
                pictures = staged["dataset"]
            limits = services.settings.limits
            service.check_step(services.engine, upload.spec, pictures, limits)
            check_task_fits(services.engine, services.settings, upload.spec, pictures)

    answer, replayed = acceptance(services, actor).accept({"dataset": upload.dataset}, make, check)
    return announce(services, response, background, answer, replayed)


@router.get("", summary="List tasks", operation_id="tasks_list", response_model=TaskPage)
def list_tasks(
    session: ReadSession,
    caller: Follower,
    which: Annotated[Wanted, Depends(wanted)],
    view: Annotated[
        Literal["full", "summary"],
        Query(description="`summary`: what a table of tasks shows, without spec and progress."),
    ] = "full",
    sort: Annotated[
        TaskSort,
        Query(
            description="By when they were posted or ended, with `-` the last one first; "
            "`finished_at` lists those alone that have ended."
        ),
    ] = NEWEST,
    limit: Annotated[int, Query(ge=1, le=200, description="Most tasks of a page.")] = 50,
    cursor: Cursor = None,
) -> Response:
    """Return tasks, the newest first if nothing else is asked for: all with scope `read`, else
    those that the key posted."""
    if which.model is not None:
        check_model(caller, which.model)
    order = TaskOrder(sort)
    place = order.listing.read(cursor)
    found = listing.list_tasks(session, limit + 1, which, place, visible(caller), order)
    page, following = order.listing.cut(found, limit, order.place)
    tasks = service.describe_listed(session, page)
    items = [task.summary() for task in tasks] if view == "summary" else tasks
    return json_answer(TaskPage(items=list(items), next_cursor=following))


@router.get(
    "/{task_id}",
    summary="Look at a task",
    operation_id="tasks_get",
    responses=responses(NotFoundProblem),
)
def get_task(session: ReadSession, task_id: TaskId) -> TaskJson:
    """Return a task: its state, progress, place in the queue, and errors if it failed."""
    return service.describe(session, service.get_task(session, str(task_id)))


@router.post(
    "/{task_id}:cancel",
    status_code=202,
    summary="Cancel a task",
    operation_id="tasks_cancel",
    responses=replayed(202)
    | responses(InvalidProblem, IdempotencyKeyReusedProblem, NotFoundProblem, TaskEndedProblem),
)
def cancel_task(
    services: AppServices,
    session: WriteSession,
    task_id: ChangedTaskId,
    once: AtMostOnce,
    background: BackgroundTasks,
) -> TaskJson:
    """Cancel a task: one that waits ends at once, one that runs as soon as its worker hears."""
    if once.before() is not None:
        return service.describe(session, service.get_task(session, str(task_id)))
    task = service.cancel(session, str(task_id))
    once.made(task.id)
    if task.state == TaskState.CANCELLED:
        afterwards(background, drop_uploads, services.engine, services.blobs, task.blobs)
    return service.describe(session, task)


@router.post(
    "/{task_id}:retry",
    status_code=202,
    summary="Try a failed task again",
    operation_id="tasks_retry",
    responses=replayed(202)
    | responses(
        InvalidProblem,
        IdempotencyKeyReusedProblem,
        NotFoundProblem,
        TaskNotFailedProblem,
        TaskFilesGoneProblem,
        ParentDeletedProblem,
        RequestLimitProblem,
        TaskLimitProblem,
    ),
)
def retry_task(
    services: AppServices,
    session: WriteSession,
    task_id: ChangedTaskId,
    once: AtMostOnce,
    background: BackgroundTasks,
) -> TaskJson:
    """Queue a failed task again, at its old place; it goes on from its last checkpoint.

    Its upload and its checkpoints are kept for `SATS_KEEP_FAILED_HOURS`. It starts from the version
    that it started from before: where another one went live since, other than its preview's, its
    version will be held.
    """
    if once.before() is not None:
        return service.describe(session, service.get_task(session, str(task_id)))
    task = service.retry(session, services.blobs, str(task_id))
    once.made(task.id)
    afterwards(background, wake, services.sender.celery, task.id)
    return service.describe(session, task)


@router.get(
    "/{task_id}/log",
    summary="Read a task's log",
    operation_id="tasks_log",
    response_class=PlainTextResponse,
    responses=LOG | responses(NotFoundProblem),
)
def read_log(session: ReadSession, task_id: TaskId) -> PlainTextResponse:
    """Return what the task's training process wrote last, over all its tries: 64 KiB at most.

    It is a few seconds behind while the task runs, and stays when the task has ended.
    """
    return PlainTextResponse(service.read_log(session, str(task_id)))
