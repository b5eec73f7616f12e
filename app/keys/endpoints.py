"""`/admin/keys`: keys made, listed and revoked over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from app.errors import (
    BadRequestProblem,
    IdempotencyKeyReusedProblem,
    InvalidProblem,
    NotFoundProblem,
    TooLargeProblem,
    UnavailableProblem,
)
from app.errors.fields import invalid_fields
from app.http.bodies import bounded
from app.http.dependencies import (
    AppServices,
    EverywhereOperator,
    ReadSession,
    RenewCallers,
    WriteSession,
    require_everywhere,
)
from app.http.parameters import Age, Cursor
from app.http.problems import responses
from app.idempotency.once import AtMostOnce, replayed
from app.keys.problems import KEY_PROBLEMS, KeyNameTakenProblem
from app.keys.schemas import WISH_EXAMPLE, KeyJson, KeyPage, KeyWish, NewKeyJson, key_json
from app.keys.service import create_key, find_key, get_key, revoke_key, some_keys
from app.keys.text import make_key
from app.records.paging import NEWEST, Listing
from app.registry.schemas import MAX_NUMBER

MAX_BODY = 128 * 1024
KEYS = Listing("keys", int)

router = APIRouter(
    prefix="/admin/keys",
    tags=["admin"],
    dependencies=[Depends(require_everywhere)],
    responses=responses(*KEY_PROBLEMS, InvalidProblem, UnavailableProblem),
)

_SCHEMA = KeyWish.model_json_schema(ref_template="#/components/schemas/{model}")
_SCHEMA.pop("$defs")  # what they define is described with the answers
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _SCHEMA, "example": WISH_EXAMPLE}},
    }
}


async def read_wish(request: Request, _caller: EverywhereOperator) -> KeyWish:
    """Read the body after the caller is known; FastAPI would read it before."""
    problem = TooLargeProblem(f"the body has more than {MAX_BODY} bytes")
    try:
        body = await bounded(request, MAX_BODY, problem).body()
    except ClientDisconnect as error:
        raise BadRequestProblem("the connection was closed before the body was whole") from error
    try:
        return KeyWish.model_validate_json(body)
    except ValidationError as error:
        raise invalid_fields(error.errors()) from error


@router.get("", summary="List keys", operation_id="keys_list")
def list_all_keys(
    session: ReadSession,
    sort: Age = NEWEST,
    limit: Annotated[int, Query(ge=1, le=200, description="Most keys of a page.")] = 50,
    cursor: Cursor = None,
) -> KeyPage:
    """Return keys, revoked and expired ones too; never their texts."""
    listing = KEYS.by(sort)
    found = some_keys(session, limit + 1, listing.read(cursor), sort)
    page, following = listing.cut(found, limit, lambda key: key.id)
    return KeyPage(items=[key_json(key) for key in page], next_cursor=following)


@router.post(
    "",
    status_code=201,
    summary="Make a key",
    operation_id="keys_create",
    openapi_extra=_BODY,
    dependencies=[RenewCallers],
    responses=replayed(201)
    | responses(
        BadRequestProblem,
        KeyNameTakenProblem,
        TooLargeProblem,
        InvalidProblem,
        IdempotencyKeyReusedProblem,
    ),
)
def create(
    services: AppServices,
    session: WriteSession,
    wish: Annotated[KeyWish, Depends(read_wish)],
    once: AtMostOnce,
    response: Response,
) -> NewKeyJson:
    """Make a key and return its text: this is the only time it can be seen, but for the same
    request with the same Idempotency-Key.

    The first key that is made ends the time in which calls from the same machine need none; make
    one with scope `admin` first, or more of them with `sats keys create`.
    """
    before = once.before(wish)
    random = once.random(services.secret)
    if before is None:
        create_key(
            session,
            services.secret,
            wish.name,
            wish.scopes,
            models=wish.models,
            expires_at=wish.expires_at,
            limits=wish.limits,
            random=random,
        )
        once.made(wish.name)
    response.headers["Cache-Control"] = "no-store"
    made = key_json(find_key(session, wish.name))
    return NewKeyJson(**made.model_dump(), key=make_key(random))


@router.delete(
    "/{key_id}",
    summary="Revoke a key",
    operation_id="keys_revoke",
    dependencies=[RenewCallers],
    responses=responses(NotFoundProblem),
)
def revoke(
    session: WriteSession,
    key_id: Annotated[int, Path(ge=1, le=MAX_NUMBER, description="The key's number.")],
) -> KeyJson:
    """Stop a key from working, at once; its record stays. Revoking twice is no error."""
    return key_json(revoke_key(session, get_key(session, key_id).name))
