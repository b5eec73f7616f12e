"""Where the service is, who asks, and how httpx is set up for it."""

import ipaddress
import os
from collections.abc import Iterable
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypedDict

import httpx

DEFAULT_URL = "http://127.0.0.1:8000"
CONNECT_SECONDS = 10.0
MAX_ANSWER_BYTES = 256 * 2**20
"""Of an answer that is read as a whole: the mask and scores of a picture of 50 megapixels fit."""


class Asked(TypedDict, total=False):
    """What may be asked of `/segment`.

    Attributes:
        model: that answers; the service's default is `default`.
        version: number of its version; by default the live one.
        size: at how many pixels of its longer side the model sees a picture.
        classes: names of the classes to show; what others cover is background.
        min_score: pixels to whose class the model gives a lower probability are background.
        scores: whether the probability of each pixel's class comes along.
    """

    model: str
    version: int
    size: int
    classes: Iterable[str]
    min_score: float
    scores: bool


class Sought(TypedDict, total=False):
    """What narrows a list of tasks, and sorts it.

    Attributes:
        model: only this one's.
        state: queued, running, succeeded, failed or cancelled; several: any of them.
        outcome: live or held.
        submitter: name of the key that posted them; empty: they came without one.
        text: stands in their names.
        created_after: not before this time.
        created_before: before this time.
        sort: `-created_at` (the newest first, as where nothing is asked for), `created_at`,
            `-finished_at` or `finished_at`: by their end those alone are listed that have ended.
    """

    model: str | None
    state: str | Iterable[str] | None
    outcome: str | None
    submitter: str | None
    text: str | None
    created_after: datetime | None
    created_before: datetime | None
    sort: str | None


def http_options(
    url: str | None, api_key: str | None, timeout: float, connections: int
) -> dict[str, Any]:
    """Return what a client of httpx is made with.

    Raises:
        ValueError: the address is none of a service, or the key cannot be one.
    """
    base = _checked(url or os.environ.get("SATS_URL", "").strip() or DEFAULT_URL)
    key = (os.environ.get("SATS_API_KEY", "") if api_key is None else api_key).strip()
    if not (key.isascii() and key.isprintable()):
        raise ValueError("the API key has characters that no key has")
    headers = {"User-Agent": f"sats-client/{_own_version()}"}
    return {
        "base_url": base,
        "headers": headers | ({"Authorization": f"Bearer {key}"} if key else {}),
        # A request waits for a connection as long as it takes: `segment_many` may ask for many.
        "timeout": httpx.Timeout(timeout, connect=CONNECT_SECONDS, pool=None),
        "limits": httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        "mounts": _not_by_proxy(base.host),
    }


def _checked(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"the service's address is no URL: {error}") from error
    if parsed.userinfo:  # it would stand in errors, and be sent in place of the key
        raise ValueError("the service's address holds a name or password; the key goes by itself")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{url} is no address of a service, as {DEFAULT_URL} is")
    return parsed


def _not_by_proxy(host: str) -> dict[str, None]:
    """Return what keeps requests to this machine from a proxy: to that it is another one."""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return {f"all://[{host}]" if ":" in host else f"all://{host}": None} if local else {}


def _own_version() -> str:
    try:
        return version("sats-client")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
