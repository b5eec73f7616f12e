"""Browsers that have logged in: a signed cookie stands for the key, which no page sees again.

The cookie holds an end time, a random part, the digest of the key, and an HMAC over them. Nothing
is stored: it ends with its time, with its key, or when the browser forgets it.
"""

import secrets
import time

from starlette.requests import HTTPConnection

from app.errors import ForbiddenProblem
from app.http.keyless import of_another_site
from app.keys.signing import is_signed, sign

COOKIE = "sats_session"
TOKEN_HEADER = "X-CSRF-Token"  # noqa: S105 - the name of a header
SESSION_SECONDS = 12 * 3600

_SESSION, _TOKEN = b"session of a browser", b"token of a page"
_SAFE = ("GET", "HEAD", "OPTIONS")


def make_session(secret: bytes, holder: str) -> str:
    """Return the cookie's value for a key.

    Args:
        secret: under everything that is signed.
        holder: digest of the key.
    """
    said = f"{int(time.time()) + SESSION_SECONDS}.{secrets.token_hex(16)}.{holder}"
    return f"{said}.{sign(secret, _SESSION, said)}"


def read_session(secret: bytes, value: str) -> str | None:
    """Return the digest of the key that a cookie stands for; None: it ended, or is not ours."""
    said, _, signature = value.rpartition(".")
    if not is_signed(secret, _SESSION, said, signature):
        return None
    ends, _, holder = said.split(".")
    return holder if int(ends) >= time.time() else None


def page_token(secret: bytes, session: str) -> str:
    """Return what pages send with whatever changes something; another site cannot know it."""
    return sign(secret, _TOKEN, session)


def session_holder(request: HTTPConnection, secret: bytes) -> str | None:
    """Return the digest of the key whose session a request belongs to; None: it has no session.

    Raises:
        ForbiddenProblem: the request would change something and does not come from our own page.
    """
    value = request.cookies.get(COOKIE)
    holder = None if value is None else read_session(secret, value)
    if value is None or holder is None:
        return None
    if of_another_site(request):
        raise ForbiddenProblem("the request comes from a page of another site (`Sec-Fetch-Site`)")
    if request.scope.get("method") not in _SAFE:
        given = request.headers.get(TOKEN_HEADER, "")
        if not is_signed(secret, _TOKEN, value, given):
            raise ForbiddenProblem(
                f"a browser's session changes nothing without its page's `{TOKEN_HEADER}`: "
                "load the page again"
            )
    return holder
