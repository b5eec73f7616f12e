"""Who may call without a key: while none was ever made, callers on this machine alone."""

from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from app.errors import ForbiddenProblem
from app.http.loopback import is_loopback
from app.keys.service import Caller, Scope

FORWARDING = ("forwarded", "via", "x-real-ip")
FORWARDING_PREFIX = "x-forwarded-"
"""What proxies write into a request; a caller on this machine has no reason to."""

OWN_SITES = ("none", "same-origin")


def of_another_site(request: HTTPConnection) -> bool:
    """Whether a page of another site sent a request, as far as the browser says.

    A link that somebody follows here is none: nothing is changed by it, and the other page sees
    nothing of what comes.
    """
    headers = request.headers
    followed = (
        request.scope.get("method") in ("GET", "HEAD")
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )
    return not followed and headers.get("sec-fetch-site", "none") not in OWN_SITES


class LocalCallersOnlyProblem(ForbiddenProblem):
    """No key was ever made, and the request does not come from this machine alone."""

    slug = "local-callers-only"
    title = "Without API keys the service answers callers on its own machine only"


LOCAL_CALLER = Caller("", frozenset(Scope))
"""Who calls without a key: may do everything; only while no key was ever made."""


def check_local(request: HTTPConnection) -> None:
    """Check that a call without a key comes from this machine.

    Raises:
        LocalCallersOnlyProblem: it is not certain that the caller is on this machine.
    """
    why = _doubt(request)
    if why is not None:
        raise LocalCallersOnlyProblem(
            f"{why}: make a key with `sats keys create NAME --scope admin` and send it as "
            "`Authorization: Bearer sats_...`"
        )


def _doubt(request: HTTPConnection) -> str | None:
    """Return why the caller may not be on this machine, or may not act for its user.

    A proxy on this machine has its address, whoever stands behind it. A web page in a browser on
    this machine must not call on its user's behalf, and may have its own name point here (DNS
    rebinding); hence the name that was asked for has to be a loopback one.
    """
    if request.client is None or not is_loopback(request.client.host):
        return "the request comes from another machine"
    for name in request.headers:
        if name in FORWARDING or name.startswith(FORWARDING_PREFIX):
            return f"the request came through a proxy (`{name}`)"
    if request.scope.get("http_version") == "1.0":
        # All that nginx, as it is set up by default, tells of itself.
        return "the request came in HTTP/1.0, which proxies speak"
    host = request.headers.get("host", "")
    if not is_loopback(_hostname(host)):
        return f"the request asks for {host!r}, which is no name of this machine"
    origin = request.headers.get("origin")
    if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
        return f"the request comes from a page of another site ({origin!r})"
    if of_another_site(request):
        return "the request comes from a page of another site (`Sec-Fetch-Site`)"
    return None


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:  # brackets that hold no address
        return ""
