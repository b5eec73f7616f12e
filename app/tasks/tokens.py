"""Tokens that let a browser follow one task: its `EventSource` cannot send a key.

A token is an end time and an HMAC over it and the task. Nothing is stored; it cannot be taken back
and so is good for minutes only.
"""

import hashlib
import hmac
import time

from app.errors import UnauthorizedProblem

TOKEN_SECONDS = 300
_PURPOSE = b"token of a task's events"


def make_token(secret: bytes, task_id: str) -> tuple[str, int]:
    """Return a token for the events of one task, and when it ends, in seconds since 1970."""
    ends = int(time.time()) + TOKEN_SECONDS
    return f"{ends}.{_sign(secret, task_id, ends)}", ends


def check_token(secret: bytes, task_id: str, token: str) -> None:
    """Check a token.

    Raises:
        UnauthorizedProblem: it is for another task, has ended, or was never given out.
    """
    ends, _, signature = token.partition(".")
    if not (ends.isascii() and ends.isdigit() and len(ends) < 20):
        raise UnauthorizedProblem(_REFUSED)
    signed = _sign(secret, task_id, int(ends)).encode()
    good = hmac.compare_digest(signed, signature.encode("utf-8", "surrogatepass"))
    if not good or int(ends) < time.time():
        raise UnauthorizedProblem(_REFUSED)


_REFUSED = (
    "the token is not for this task's events, or has ended: "
    "POST /tasks/{id}/events/token gives a new one"
)


def _sign(secret: bytes, task_id: str, ends: int) -> str:
    # A key of its own, so that what is signed here can be taken for no digest of an API key.
    own = hmac.new(secret, _PURPOSE, hashlib.sha256).digest()
    return hmac.new(own, f"{task_id} {ends}".encode(), hashlib.sha256).hexdigest()
