"""What was asked for under an Idempotency-Key: found again, begun, forgotten. Web-free."""

import hashlib
import json
import secrets
from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import IdempotentRequest, present
from app.db.base import JsonObject
from app.errors import ErrorDetail, IdempotencyKeyReusedProblem
from app.errors.codes import Code

KEPT_DAYS = 7
"""How long a request is known again."""


def begin(
    session: Session, caller: str, key: str, operation: str, posted: JsonObject | None
) -> tuple[IdempotentRequest, bool]:
    """Return the record of a request, and whether it was done before. Flushes.

    Of the same request that comes twice at once, the second waits for the first here.

    Args:
        session: the transaction in which it is done: where that fails, nothing is recorded.
        caller: name of the caller's key; "" for none.
        key: the Idempotency-Key.
        operation: method and path.
        posted: what was posted, without defaults: they may change.

    Raises:
        IdempotencyKeyReusedProblem: the key came with another request before.
    """
    number, asked = _digest(caller, key), _digest(operation, posted)
    found = session.get(IdempotentRequest, number)
    if found is None:
        record = IdempotentRequest(id=number, digest=asked, salt=secrets.token_hex(32))
        try:
            with session.begin_nested():
                session.add(record)
        except IntegrityError:
            found = session.get(IdempotentRequest, number)
            if found is None:
                raise
        else:
            return record, False
    if found.digest != asked:
        raise reused("this key came with another request before")
    return found, True


def reused(why: str) -> IdempotencyKeyReusedProblem:
    """Return the refusal of an Idempotency-Key."""
    fault = ErrorDetail("used before", field="Idempotency-Key", code=Code.EXISTS)
    return IdempotencyKeyReusedProblem(why, [fault])


def forget_requests(session: Session) -> None:
    """Remove records of requests that were done long ago."""
    before = present(session) - timedelta(days=KEPT_DAYS)
    session.execute(delete(IdempotentRequest).where(IdempotentRequest.at < before))


def _digest(*said: object) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
