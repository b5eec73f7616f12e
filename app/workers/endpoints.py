"""`/admin/workers`: who trains, and on what."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from app.errors import InvalidProblem, UnavailableProblem
from app.http.dependencies import ReadSession, require_everywhere
from app.http.parameters import Cursor
from app.http.problems import responses
from app.keys.problems import KEY_PROBLEMS
from app.records.paging import Listing
from app.workers import service
from app.workers.schemas import WorkerPage, worker_json

WORKERS = Listing("workers", int)

router = APIRouter(
    prefix="/admin/workers",
    tags=["admin"],
    dependencies=[Depends(require_everywhere)],
    responses=responses(*KEY_PROBLEMS, InvalidProblem, UnavailableProblem),
)


@router.get("", summary="List workers", operation_id="workers_list")
def list_workers(
    session: ReadSession,
    limit: Annotated[int, Query(ge=1, le=200, description="Most workers of a page.")] = 50,
    cursor: Cursor = None,
) -> WorkerPage:
    """Return the workers that are there, what each has and what it does.

    A worker writes its row every `SATS_PRESENCE_SECONDS` and counts as lost when it was silent for
    three times as long. Workers of a version from before there were such rows are in no list.
    """
    found = service.list_workers(session, limit + 1, WORKERS.read(cursor))
    page, following = WORKERS.cut(found, limit, lambda seen: seen.worker.id)
    return WorkerPage(items=[worker_json(one) for one in page], next_cursor=following)
