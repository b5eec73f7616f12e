"""`Idempotency-Key`: a request that came before is answered again and not done again.

An endpoint asks `once.before(posted)` what the same request made; where that is nothing, it does
what is asked and says `once.made(...)`. `POST /tasks` and imports have keys of their own, which
stay with the task.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from functools import partial
from typing import Annotated

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.db import IdempotentRequest
from app.http.dependencies import WriteSession
from app.http.problems import Responses
from app.idempotency.service import begin
from app.keys.service import Caller
from app.records.patterns import HEADER_TEXT

KEY_HEADER = partial(Header, min_length=1, max_length=200, pattern=HEADER_TEXT)
"""`Idempotency-Key`, whatever it is that is done once."""
IdempotencyKey = Annotated[
    str | None,
    KEY_HEADER(
        description="Any text of the caller's, known for a week. The same key with the same "
        "request does nothing again and is answered with what it made.",
    ),
]


def replayed(status: int) -> Responses:
    """Return how an answer is documented that may be one to a request that came before."""
    header = {
        "description": "`true` where this very request had done it before.",
        "schema": {"type": "string"},
    }
    return {status: {"headers": {"Idempotency-Replayed": header}}}


class Once:
    """One request, and whether it came before."""

    def __init__(
        self, session: Session, response: Response, caller: str, operation: str, key: str | None
    ) -> None:
        self._session = session
        self._response = response
        self._caller = caller
        self._operation = operation
        self._key = key
        self._record: IdempotentRequest | None = None

    def before(self, posted: BaseModel | None = None) -> str | None:
        """Return what the same request made before; None: nothing, or it has no key. Flushes.

        Raises:
            IdempotencyKeyReusedProblem: the key came with another request.
        """
        if self._key is None:
            return None
        said = None if posted is None else posted.model_dump(mode="json", exclude_unset=True)
        self._record, done = begin(self._session, self._caller, self._key, self._operation, said)
        if not done:
            return None
        self._response.headers["Idempotency-Replayed"] = "true"
        return self._record.made

    def made(self, name: str) -> None:
        """Say what the request made, in words that find it again."""
        if self._record is not None:
            self._record.made = name

    def random(self, secret: bytes) -> bytes:
        """Return 256 random bits; the same ones to the same request.

        What they are made of is stored nowhere as a whole: it takes the record, the caller's
        Idempotency-Key and the secret of the service.
        """
        if self._record is None:
            return secrets.token_bytes(32)
        said = f"random of a request {self._record.salt} {self._key}"
        return hmac.new(secret, said.encode(), hashlib.sha256).digest()


Within = Callable[[Session], Once]


def within(request: Request, response: Response, idempotency_key: IdempotencyKey = None) -> Within:
    """Return what makes of a session the request as one that is done once in it.

    Its caller was let through.
    """
    caller: Caller = request.state.caller
    operation = f"{request.method} {request.url.path}"
    return lambda session: Once(session, response, caller.name, operation, idempotency_key)


OnceWithin = Annotated[Within, Depends(within)]
"""For an endpoint that begins its transaction late, when a large body has come."""


def once(begin: OnceWithin, session: WriteSession) -> Once:
    """Return the request as one that is done once."""
    return begin(session)


AtMostOnce = Annotated[Once, Depends(once)]
