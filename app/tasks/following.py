"""`/tasks/{id}/events`: follow a task as it goes on, from a program or from a browser."""

from datetime import UTC, datetime
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.security import HTTPAuthorizationCredentials
from starlette.concurrency import run_in_threadpool

from app.errors import (
    BusyProblem,
    InvalidProblem,
    NotFoundProblem,
    StoppingProblem,
    UnavailableProblem,
)
from app.http.dependencies import AppServices, KeyDigest, ReadSession, bearer, check_again, require
from app.http.media_types import MediaType
from app.http.problems import Responses, responses
from app.keys.problems import KEY_PROBLEMS
from app.keys.service import Scope
from app.tasks import service
from app.tasks.asking import (
    JSON,
    SSE,
    EventLimit,
    EventTypes,
    Place,
    accepts,
    event_answers,
    event_page,
)
from app.tasks.event_schemas import EventPage, EventsTokenJson
from app.tasks.events import WantedEvents, newest
from app.tasks.owning import TaskId, seen_task
from app.tasks.streams import EventStream, Watch
from app.tasks.tokens import check_token, make_token

router = APIRouter(
    prefix="/tasks/{task_id}/events",
    tags=["tasks"],
    responses=responses(
        *KEY_PROBLEMS,
        NotFoundProblem,
        InvalidProblem,
        BusyProblem,
        StoppingProblem,
        UnavailableProblem,
    ),
)

_ANSWERS: Responses = {
    200: event_answers("Events, oldest first: a stream until the task has ended, or a page."),
    204: {"description": "The task has ended and every event was sent: do not come back."},
}


async def follower(
    request: Request,
    services: AppServices,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    hashed: KeyDigest,
    task_id: Annotated[UUID, Path(description="The task's id.")],
    token: Annotated[
        str | None,
        Query(
            max_length=200,
            description="Instead of a key: a token of `POST /tasks/{task_id}/events/token`.",
        ),
    ] = None,
) -> str:
    """Let callers through who see the task, and bearers of a token; return their key's digest."""
    if credentials is None and token is not None:
        hashed = check_token(services.secret, str(task_id), token)
        await check_again(services, hashed)
        return hashed
    caller = await require(Scope.SUBMIT, Scope.READ)(request, credentials)
    await run_in_threadpool(seen_task, services, caller, task_id)
    return hashed


@router.get(
    "",
    summary="Follow a task",
    operation_id="tasks_events",
    response_model=EventPage,
    responses=_ANSWERS,
)
def follow_task(
    services: AppServices,
    session: ReadSession,
    hashed: Annotated[str, Depends(follower)],
    task_id: Annotated[UUID, Path(description="The task's id.")],
    accepted: Annotated[MediaType, Depends(accepts(SSE, JSON))],
    place: Place,
    type: EventTypes = None,
    limit: EventLimit = 100,
) -> Response | EventPage:
    """Stream what happens to a task as Server-Sent Events, or give it by the page.

    With `Accept: application/json` it is a page: everything that is kept, `type=task.epoch` for
    the curves. Progress is deleted when the task has ended.

    Who comes late to the stream gets the states, epochs and warnings so far and the last progress.
    A browser's `EventSource` resumes by itself: it sends `Last-Event-ID`. A comment comes every 15
    seconds while nothing happens. The stream ends when the key is revoked or expires. 503 where
    `SATS_SERVE_STREAMS` streams are open, or a quarter of them by this key and its tokens.
    """
    which = WantedEvents(task=str(task_id), types=type or ())
    last, ended = newest(session, which.task)
    after = place or 0
    if accepted == JSON:
        return event_page(session, which, after, limit)
    if ended and after >= last:
        return Response(status_code=204)
    check = partial(check_again, services, hashed)
    return EventStream(services.streams, Watch(which.task, which, after, hashed, check))


@router.post(
    "/token",
    summary="Let a browser follow a task",
    operation_id="tasks_events_token",
    dependencies=[Depends(require(Scope.SUBMIT, Scope.READ))],
)
def make_events_token(
    services: AppServices,
    session: ReadSession,
    response: Response,
    hashed: KeyDigest,
    task_id: TaskId,
) -> EventsTokenJson:
    """Return a token that opens the events of this task, and nothing else, for five minutes.

    Nothing is stored of it, so no Idempotency-Key is read: who asks twice has two that are good.

    `EventSource` cannot send a key; it takes `url`. A stream that is open stays open when its token
    ends; to connect again then takes a new one. The key's end is theirs.
    """
    found = service.get_task(session, str(task_id)).id
    token, ends = make_token(services.secret, found, hashed)
    response.headers["Cache-Control"] = "no-store"
    return EventsTokenJson(
        token=token,
        expires_at=datetime.fromtimestamp(ends, UTC),
        url=f"/tasks/{found}/events?token={token}",
    )
