"""`/ui/keys`: API keys, as they are made and revoked."""

from collections import Counter
from collections.abc import Sequence

from fastapi import APIRouter, Request, Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.admin.service import list_models
from app.db import ApiKey, Task, utc_now
from app.db.task import END_STATES
from app.http.dependencies import AppServices, ReadSession
from app.http.parameters import Cursor
from app.keys.endpoints import KEYS
from app.keys.schemas import key_json
from app.keys.service import Scope, any_key, some_keys
from app.web.rendering import page
from app.web.visitors import PageRoute, SeesService

A_PAGE = 50

SCOPES = {
    Scope.SEGMENT: "asks what a picture shows",
    Scope.SUBMIT: "posts tasks, sees its own",
    Scope.READ: "sees everything, changes nothing",
    Scope.ADMIN: "everything, keys too",
}
"""What scopes let a key do."""

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/ui/keys")
def keys_page(
    request: Request,
    visitor: SeesService,
    session: ReadSession,
    services: AppServices,
    cursor: Cursor = None,
) -> Response:
    """List keys, revoked and expired ones too, the newest first."""
    found = some_keys(session, A_PAGE + 1, KEYS.read(cursor))
    rows, following = KEYS.cut(found, A_PAGE, lambda key: key.id)
    return page(
        request,
        "keys.html",
        {
            "keys": [key_json(row) for row in rows],
            "ended": {row.id for row in rows if _ended(row)},
            "unended": _unended(session, rows),
            "last_admin": _last_admin(session),
            "mine": visitor.caller.key_id,
            "first": not any_key(session),
            "seconds": services.settings.key_cache_seconds,
            "scopes": SCOPES,
            "models": [one.name for one in list_models(session)],
            "older": following,
            "newest": cursor is not None,
        },
    )


def _ended(key: ApiKey) -> bool:
    return key.expires_at is not None and key.expires_at <= utc_now()


def _unended(session: Session, keys: Sequence[ApiKey]) -> Counter[int]:
    """Return how many tasks of each key wait or run."""
    counted = (
        select(Task.key_id, func.count().label("tasks"))
        .where(Task.key_id.in_([key.id for key in keys]), Task.state.not_in(END_STATES))
        .group_by(Task.key_id)
    )
    return Counter({row.key_id: row.tasks for row in session.execute(counted)})


def _last_admin(session: Session) -> int | None:
    """Return the only key that may still make and revoke keys; None: there are more, or none."""
    standing = session.scalars(select(ApiKey).where(ApiKey.revoked_at.is_(None)))
    admins = [
        key.id
        for key in standing
        if Scope.ADMIN in key.scopes and not key.models and not _ended(key)
    ]
    return admins[0] if len(admins) == 1 else None
