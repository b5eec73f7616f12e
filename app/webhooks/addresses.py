"""Which addresses webhooks may be delivered to."""

import asyncio
import ipaddress
import re
import socket
import threading
from concurrent.futures import Future

from app.errors import ErrorDetail, InvalidProblem
from app.errors.codes import Code

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")
"""All that is given out of IPv6; whatever lies elsewhere is special."""
_DOCUMENTATION = ipaddress.ip_network("3fff::/20")
"""The newer one, which not every Python knows."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class RefusedAddressError(Exception):
    """A webhook's name leads to no address that may be connected to."""


def check_url(url: str, private: bool) -> None:
    """Check what can be known of a webhook's URL before its name is looked up.

    Args:
        url: http or https.
        private: whether addresses that are not public are allowed.

    Raises:
        InvalidProblem: it is not an URL that can be delivered to.
    """
    import httpx  # what sends, and most services send nothing

    try:
        parsed = httpx.URL(url)
        name = parsed.host  # decodes it
    except (httpx.InvalidURL, ValueError) as error:
        raise _refusal("not a URL") from error
    if parsed.scheme not in ("http", "https") or not name:
        raise _refusal("an absolute http:// or https:// URL is needed")
    host = parsed.raw_host.decode("ascii", "replace")
    if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+", host) or (parsed.port or 1) > 65535:
        raise _refusal("its host or port cannot be")
    if parsed.userinfo or parsed.fragment:
        raise _refusal("a URL with a password or a fragment is not delivered to")
    try:
        literal = ipaddress.ip_address(name)
    except ValueError:
        return
    if not (private or is_public(literal)):
        raise _refusal("a private address; SATS_WEBHOOK_PRIVATE allows them")


def is_public(address: Address) -> bool:
    """Return whether an address belongs to the public Internet, whatever it is wrapped in."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address not in _UNICAST or address in _DOCUMENTATION or address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast


async def resolve(host: str, port: int, private: bool) -> list[str]:
    """Look a name up, once; return the addresses that may be connected to.

    Whoever connects takes these very addresses and looks nothing up again: a name that answers
    otherwise the second time gains nothing.

    Raises:
        RefusedAddressError: there is none.
        OSError: the name is not known.
    """
    addresses = await _look_up(host, port)
    allowed = [one for one in addresses if private or is_public(ipaddress.ip_address(one))]
    if not allowed:
        raise RefusedAddressError(f"{host} is no public address; SATS_WEBHOOK_PRIVATE allows them")
    return allowed


async def _look_up(host: str, port: int) -> list[str]:
    """Ask the system, in a thread that nobody waits for once the attempt's time is over.

    The loop's own threads are waited for when the loop is closed.
    """
    found: Future[list[str]] = Future()

    def ask() -> None:
        found.set_running_or_notify_cancel()
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as error:
            found.set_exception(error)
        else:
            found.set_result(list(dict.fromkeys(str(one[4][0]) for one in answers)))

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    return await asyncio.wrap_future(found)


def _refusal(message: str) -> InvalidProblem:
    return InvalidProblem(
        "not valid: url", [ErrorDetail(message, field="url", code=Code.FORBIDDEN)]
    )
