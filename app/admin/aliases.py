"""`/admin/models/{model}/aliases`: where `live` points, and how it came there."""

import re
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from sqlalchemy.orm import Session

from app.admin import service
from app.admin.schemas import MoveJson, MovePage, Target
from app.db import AliasMove
from app.errors import (
    BadRequestProblem,
    IdempotencyKeyReusedProblem,
    InvalidProblem,
    NotFoundProblem,
    UnavailableProblem,
)
from app.http.dependencies import AnnounceLive, ReadSession, WriteSession, require_to_change
from app.http.deprecated import deprecated_route
from app.http.parameters import Cursor
from app.http.problems import Responses, responses
from app.idempotency.once import AtMostOnce, Once, replayed
from app.keys.problems import KEY_PROBLEMS
from app.keys.service import Scope
from app.records.paging import Listing
from app.registry.moves import point_live, promote, rollback, tag_of
from app.registry.paths import ModelName, Number
from app.registry.problems import (
    AlreadyLiveProblem,
    MovedMeanwhileProblem,
    NothingBeforeProblem,
    NotLiveProblem,
)
from app.registry.service import alias_history

MOVES = Listing("moves", int)
PROMOTE_DEPRECATED = "@1795305600"
"""Since when `:promote` is to be avoided: 2026-11-22, as RFC 9745 spells it."""

router = APIRouter(
    prefix="/admin",
    tags=["admin"],
    dependencies=[Depends(require_to_change(Scope.ADMIN))],
    responses=responses(*KEY_PROBLEMS, InvalidProblem, UnavailableProblem),
)

IfMatch = Annotated[
    list[str] | None,
    Header(
        alias="If-Match",
        description="`ETag`s of the alias as the caller knows it: where it was moved since, 412.",
    ),
]
_ETAG: Responses = {
    200: {
        "headers": {
            "ETag": {
                "schema": {"type": "string", "description": "For `If-Match`."},
                "description": "Another one after every move.",
            }
        }
    }
}


@router.get(
    "/models/{model}/aliases/live",
    summary="Where `live` points",
    operation_id="live_get",
    responses=_ETAG | responses(NotFoundProblem),
)
def show_live(session: ReadSession, model: ModelName, response: Response) -> MoveJson:
    """Return the version that `live` points at, by the move that brought it there."""
    last = alias_history(session, service.get_model(session, model).id, limit=1)
    if not last:
        raise NotFoundProblem(f"model {model!r} has no live version yet")
    return _shown(service.describe_move(last[0]), response)


@router.put(
    "/models/{model}/aliases/live",
    summary="Move `live`",
    operation_id="live_set",
    dependencies=[AnnounceLive],
    responses=_ETAG | responses(BadRequestProblem, NotFoundProblem, MovedMeanwhileProblem),
)
def move_live(
    session: WriteSession,
    model: ModelName,
    target: Target,
    response: Response,
    known: IfMatch = None,
) -> MoveJson:
    """Point `live` at a version, whatever the gate said of it.

    Where it points there already nothing is moved: a call may be repeated. With `If-Match` it is
    moved only where it still stands as the caller saw it.
    """
    found = service.get_model(session, model)
    move = point_live(session, found, target.version, _tags(known))
    return _shown(service.describe_move(move), response)


def _tags(known: list[str] | None) -> frozenset[str] | None:
    """Return `ETag`s, or `*`; None: any move. Weak ones match nothing, as RFC 9110 has it."""
    if known is None:
        return None
    if any(value.strip() == "*" for value in known):
        return frozenset("*")
    return frozenset(re.findall(r'(?:^|,)\s*("[^"]*")\s*(?=,|$)', ",".join(known)))


def _shown(move: MoveJson, response: Response) -> MoveJson:
    response.headers["ETag"] = tag_of(move.sequence)
    return move


@router.get(
    "/models/{model}/aliases/live/moves",
    summary="History of `live`",
    operation_id="live_moves",
    responses=responses(NotFoundProblem),
)
def live_history(
    session: ReadSession,
    model: ModelName,
    limit: Annotated[int, Query(ge=1, le=500, description="Most moves of a page.")] = 50,
    cursor: Cursor = None,
) -> MovePage:
    """Return the moves of `live`, the last one first; nothing is ever taken out of its history."""
    found = service.get_model(session, model)
    moves = service.live_history(session, found, limit + 1, MOVES.read(cursor))
    page, following = MOVES.cut(moves, limit, lambda move: move.sequence)
    return MovePage(items=list(page), next_cursor=following)


def promote_version(
    session: WriteSession, model: ModelName, number: Number, once: AtMostOnce
) -> MoveJson:
    """Point `live` at this version; `PUT .../aliases/live` does it too, and may be repeated."""
    found = service.get_model(session, model)
    return _moved(session, once, lambda: promote(session, found, number))


router.add_api_route(
    "/models/{model}/versions/{number}:promote",
    promote_version,
    methods=["POST"],
    summary="Make a version live",
    operation_id="versions_promote",
    dependencies=[AnnounceLive],
    responses=replayed(200)
    | responses(NotFoundProblem, AlreadyLiveProblem, InvalidProblem, IdempotencyKeyReusedProblem),
    route_class_override=deprecated_route(PROMOTE_DEPRECATED, "/admin/models/{model}/aliases/live"),
)


@router.post(
    "/models/{model}/versions/{number}:rollback",
    summary="Take the live version back",
    operation_id="versions_rollback",
    dependencies=[AnnounceLive],
    responses=replayed(200)
    | responses(
        NotFoundProblem,
        NotLiveProblem,
        NothingBeforeProblem,
        InvalidProblem,
        IdempotencyKeyReusedProblem,
    ),
)
def rollback_version(
    session: WriteSession, model: ModelName, number: Number, once: AtMostOnce
) -> MoveJson:
    """Point `live` at what it was before this version, which must be the live one."""
    found = service.get_model(session, model)
    return _moved(session, once, lambda: rollback(session, found, number))


def _moved(session: Session, once: Once, move: Callable[[], AliasMove]) -> MoveJson:
    """Move `live`, or return how the same request moved it."""
    before = once.before()
    moved = move() if before is None else session.get_one(AliasMove, int(before))
    once.made(str(moved.id))
    return service.describe_move(moved)
