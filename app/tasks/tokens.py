"""Tokens that let a browser follow one task: its `EventSource` cannot send a key.

A token is an end time, the digest of the key that asked for it, and an HMAC over both and the task.
Nothing is stored; it is good for minutes, and no longer than the key.
"""

import time

from app.errors import UnauthorizedProblem
from app.keys.signing import is_signed, sign

TOKEN_SECONDS = 300
_PURPOSE = b"token of a task's events"


def make_token(secret: bytes, task_id: str, holder: str) -> tuple[str, int]:
    """Return a token for the events of one task, and when it ends, in seconds since 1970.

    Args:
        secret: under everything that is signed.
        task_id: whose events it opens.
        holder: digest of the key that asks for it; "" for none.
    """
    ends = int(time.time()) + TOKEN_SECONDS
    return f"{ends}.{holder}.{sign(secret, _PURPOSE, _said(task_id, holder, ends))}", ends


def check_token(secret: bytes, task_id: str, token: str) -> str:
    """Check a token; return the digest of the key that asked for it.

    Raises:
        UnauthorizedProblem: it is for another task, has ended, or was never given out.
    """
    ends, _, rest = token.partition(".")
    holder, _, signature = rest.partition(".")
    if not (ends.isascii() and ends.isdigit() and len(ends) < 20):
        raise UnauthorizedProblem(_REFUSED)
    good = is_signed(secret, _PURPOSE, _said(task_id, holder, int(ends)), signature)
    if not good or int(ends) < time.time():
        raise UnauthorizedProblem(_REFUSED)
    return holder


_REFUSED = (
    "the token is not for this task's events, or has ended: "
    "POST /tasks/{id}/events/token gives a new one"
)


def _said(task_id: str, holder: str, ends: int) -> str:
    return f"{task_id} {ends} {holder}"
