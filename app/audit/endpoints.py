"""`/admin/audit`: who did what."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Engine

from app.audit.schemas import ActorJson, AuditEntryJson, AuditPage, entry_json
from app.audit.service import Action, Wanted, entries_after, list_entries
from app.db import ActorType, read_session
from app.errors import InvalidProblem, UnavailableProblem
from app.http.answers import json_answer
from app.http.dependencies import AppServices, require_everywhere
from app.http.parameters import Cursor, Time
from app.http.problems import Responses, responses
from app.keys.problems import KEY_PROBLEMS
from app.records.paging import Listing
from app.registry.schemas import MODEL_PATTERN

LINES = "application/jsonl"
ENTRIES = Listing("audit", int)

router = APIRouter(
    prefix="/admin/audit",
    tags=["admin"],
    dependencies=[Depends(require_everywhere)],
    responses=responses(*KEY_PROBLEMS, InvalidProblem, UnavailableProblem),
)


_ENTRY = AuditEntryJson(
    id=17,
    at=datetime(2026, 11, 22, 6, 4, 54, tzinfo=UTC),
    action=Action.PROMOTE,
    actor=ActorJson(type=ActorType.KEY, name="operator"),
    request_id="1617fb62f23444f68097c8d3d3dcd3b8",
    model="default",
    object="/admin/models/default/versions/2",
    before={"live": 1},
    after={"live": 2, "kind": "promote"},
    previous="0" * 64,
    hash="bc7d116e097d1b843837c54f7e344e8e14e099173aaae5b593882a0ac12fce6a",
)
_ANSWERS: Responses = {
    200: {
        "description": "A page of entries; with `Accept: application/jsonl` or `format=jsonl` all "
        "of them, one JSON a line, the oldest first.",
        "content": {
            LINES: {
                "schema": {"type": "string", "description": "An `AuditEntry` a line."},
                "example": f"{_ENTRY.model_dump_json()}\n",
            }
        },
    }
}


def wanted(
    action: Annotated[Action | None, Query(description="Only this action.")] = None,
    model: Annotated[
        str | None, Query(pattern=MODEL_PATTERN, description="Only what concerns this model.")
    ] = None,
    actor: Annotated[
        str | None, Query(max_length=200, description="Only what this key, worker or user did.")
    ] = None,
    since: Annotated[
        Time | None, Query(description="Not before this time; without a zone, UTC.")
    ] = None,
    until: Annotated[Time | None, Query(description="Before this time.")] = None,
) -> Wanted:
    """Return which entries are asked for."""
    return Wanted(action, model, actor, since, until)


@router.get(
    "",
    summary="Read the audit log",
    operation_id="audit_list",
    response_model=AuditPage,
    responses=_ANSWERS,
)
def read_audit(
    request: Request,
    services: AppServices,
    which: Annotated[Wanted, Depends(wanted)],
    limit: Annotated[int, Query(ge=1, le=500, description="Most entries of a page.")] = 50,
    cursor: Cursor = None,
    format: Annotated[
        Literal["json", "jsonl"] | None,
        Query(description="`jsonl`: everything, a line each, whatever `Accept` says."),
    ] = None,
) -> Response:
    """Return who did what, the newest first: by page, or everything as lines of JSON.

    Entries are written in the transaction of the deed, and never changed.
    """
    asked = LINES if LINES in request.headers.get("accept", "").lower() else "application/json"
    if format == "jsonl" or (format is None and asked == LINES):
        return StreamingResponse(_lines(services.engine, which), media_type=LINES)
    before = ENTRIES.read(cursor)
    with read_session(services.engine) as session:
        found = list_entries(session, which, limit + 1, before)
    page, following = ENTRIES.cut(found, limit, lambda entry: entry.id)
    body = AuditPage(items=[entry_json(entry) for entry in page], next_cursor=following)
    return json_answer(body, {"Vary": "Accept"})


def _lines(engine: Engine, which: Wanted) -> Iterator[bytes]:
    """Yield every entry as a line; a batch at a time is read and held."""
    last = 0
    while True:
        with read_session(engine) as session:
            batch = entries_after(session, which, last)
        if not batch:
            return
        for entry in batch:
            yield entry_json(entry).model_dump_json().encode() + b"\n"
        last = batch[-1].id
