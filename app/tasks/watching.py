"""`/events`: what happens to every task that a caller sees."""

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from app.errors import BusyProblem, InvalidProblem, StoppingProblem, UnavailableProblem
from app.http.dependencies import (
    AppServices,
    Follower,
    KeyDigest,
    ReadSession,
    check_again,
    require_to_change,
)
from app.http.media_types import MediaType
from app.http.problems import responses
from app.keys.problems import KEY_PROBLEMS
from app.keys.service import Scope, check_model
from app.registry.schemas import MODEL_PATTERN
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
from app.tasks.event_schemas import EventPage
from app.tasks.events import WantedEvents, newest
from app.tasks.streams import EventStream, Watch

router = APIRouter(
    prefix="/events",
    tags=["tasks"],
    dependencies=[Depends(require_to_change(Scope.SUBMIT))],
    responses=responses(
        *KEY_PROBLEMS, InvalidProblem, BusyProblem, StoppingProblem, UnavailableProblem
    ),
)


@router.get(
    "",
    summary="Follow all tasks",
    operation_id="events_list",
    response_model=EventPage,
    responses={200: event_answers("Events, oldest first: a page, or a stream.")},
)
def list_events(
    services: AppServices,
    session: ReadSession,
    caller: Follower,
    hashed: KeyDigest,
    accepted: Annotated[MediaType, Depends(accepts(JSON, SSE))],
    place: Place,
    type: EventTypes = None,
    model: Annotated[
        str | None, Query(pattern=MODEL_PATTERN, description="Only of this model's tasks.")
    ] = None,
    task: Annotated[UUID | None, Query(description="Only of this task.")] = None,
    limit: EventLimit = 100,
) -> Response | EventPage:
    """Return what happened to tasks, the oldest first: to all with scope `read`, else to those
    that the key posted.

    To hear what is new, ask again with the last `id` as `after`: no event comes up later behind
    one that was seen. Events are gone with their task, and progress when the task has ended.

    With `Accept: text/event-stream` it is a stream that does not end: what comes behind `after`,
    or `Last-Event-ID`, or from now on. A comment comes every 15 seconds while nothing happens. It
    ends when the key is revoked or expires. 503 where `SATS_SERVE_STREAMS` streams are open, or a
    quarter of them by this key.
    """
    if model is not None:
        check_model(caller, model)
    which = WantedEvents(caller, str(task) if task else None, model, type or ())
    if accepted == JSON:
        return event_page(session, which, place or 0, limit)
    after = newest(session, None)[0] if place is None else place
    check = partial(check_again, services, hashed)
    return EventStream(services.streams, Watch(None, which, after, hashed, check))
