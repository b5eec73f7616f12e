"""How events are asked for: which of them, from where on, as a stream or by the page."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request, Response
from sqlalchemy.orm import Session

from app.http.media_types import MediaType, best_liked
from app.http.parameters import Cursor
from app.records.paging import Listing
from app.registry.schemas import MAX_NUMBER
from app.tasks.event_schemas import EventPage, EventType
from app.tasks.events import WantedEvents, page_after

JSON = MediaType("application", "json")
SSE = MediaType("text", "event-stream")

EVENTS = Listing("events", int)

EventTypes = Annotated[
    list[EventType] | None,
    Query(description="Only events of this type; given again, of any of these."),
]
EventLimit = Annotated[int, Query(ge=1, le=500, description="Most events of a page.")]


def accepts(*offers: MediaType) -> Callable[[Request, Response], MediaType]:
    """Return the dependency that says which of these a caller wants; the first, if none."""

    def accepted(request: Request, response: Response) -> MediaType:
        response.headers["Vary"] = "Accept"
        return best_liked(",".join(request.headers.getlist("accept")), offers) or offers[0]

    return accepted


def place(
    after: Annotated[
        int | None,
        Query(
            ge=0, le=MAX_NUMBER, description="Only events behind the one with this `id`; 0: all."
        ),
    ] = None,
    cursor: Cursor = None,
    last_event_id: Annotated[
        int | None,
        Header(
            ge=0,
            le=MAX_NUMBER,
            description="As `after`: id of the last event seen. `EventSource` sends it.",
        ),
    ] = None,
) -> int | None:
    """Return the id of the last event that was seen: the highest that is named; None: none is."""
    named = (after, EVENTS.read(cursor), last_event_id)
    return max((one for one in named if one is not None), default=None)


Place = Annotated[int | None, Depends(place)]


def event_page(session: Session, which: WantedEvents, after: int, limit: int) -> EventPage:
    """Return some events behind a place, the oldest first."""
    found = page_after(session, which, after, limit + 1)
    page, following = EVENTS.cut(found, limit, lambda told: told.number)
    return EventPage(items=[told.event for told in page], next_cursor=following)


def event_answers(description: str) -> dict[str, Any]:
    """Return how an answer with events is documented: a page, or a stream of what pages hold."""
    return {
        "description": description,
        "headers": {
            "Vary": {"description": "`Accept`.", "schema": {"type": "string"}},
        },
        "content": {
            str(SSE): {
                "schema": {
                    "type": "string",
                    "description": "Server-Sent Events: `id` is the event's, `event` its type, "
                    "`data` the whole event, as an item of the page has it.",
                },
                "example": "id: 12\nevent: task.warning\n"
                'data: {"id":"12","type":"task.warning","at":"2026-11-21T16:51:04.201337Z",'
                '"task":"2ccf943e-3427-467c-a8a9-3dd85cad8432","model":"default",'
                '"data":{"message":"class \'boat\' is in 3 pictures only"}}\n\n',
            }
        },
    }
