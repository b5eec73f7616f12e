"""A service that a test makes up, call by call, and both clients on it."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from sats_client import AsyncClient, Client

TASK = {
    "id": "2ccf943e-3427-467c-a8a9-3dd85cad8432",
    "name": "sheep",
    "model": "default",
    "kind": "step",
    "state": "queued",
    "phase": None,
    "outcome": None,
    "classes": None,
    "method": "frozen",
    "version": None,
    "queue_place": 1,
    "created_at": "2026-11-21T16:51:04.201337Z",
    "started_at": None,
    "finished_at": None,
    "submitted_by": {"type": "keyless", "name": ""},
    "progress": None,
    "warnings": [],
    "error": None,
}
RUNNING = TASK | {"state": "running", "phase": "training", "queue_place": None}
LIVE = TASK | {"state": "succeeded", "outcome": "live", "version": 2, "queue_place": None}

Handler = Callable[[httpx.Request], httpx.Response]


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that comes in pieces, and may be cut off behind them."""

    def __init__(self, *chunks: bytes, cut: bool = False) -> None:
        self._chunks = chunks
        self._cut = cut

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._cut:
            raise httpx.ReadError("cut")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


@pytest.fixture(params=["sync", "async"])
def through(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Call a made-up service through one client and the other.

    `through(handler, step, ...)` gives the client to the first step, what that returns to the
    second, and so on; returns what the last one returned.
    """

    def run_sync(handler: Handler, *steps: Callable[[Any], Any], **options: Any) -> Any:
        transport = httpx.MockTransport(handler)
        with Client("http://sats", "sats_key", transport=transport, **options) as client:
            value: Any = client
            for step in steps:
                value = step(value)
                if inspect.isgenerator(value):
                    value = list(value)
            return value

    async def run_async(handler: Handler, *steps: Callable[[Any], Any], **options: Any) -> Any:
        transport = httpx.MockTransport(handler)
        async with AsyncClient("http://sats", "sats_key", transport=transport, **options) as client:
            value: Any = client
            for step in steps:
                value = step(value)
                if inspect.isasyncgen(value):
                    value = [one async for one in value]
                elif inspect.isawaitable(value):
                    value = await value
            return value

    if request.param == "sync":
        return run_sync
    return lambda *steps, **options: asyncio.run(run_async(*steps, **options))


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the clients have waited; they do not."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("sats_client._sync.time", SimpleNamespace(sleep=waits.append))
    known = SimpleNamespace(sleep=sleep, to_thread=asyncio.to_thread)
    monkeypatch.setattr("sats_client._async.asyncio", known)
    return waits


def problem(status: int, slug: str = "overloaded", **more: Any) -> httpx.Response:
    """A refusal as the service writes it."""
    headers = more.pop("headers", {})
    said = {
        "type": f"urn:sats:problem:{slug}",
        "title": "Too much at once",
        "status": status,
        "detail": "come back later",
        "errors": [],
    }
    return httpx.Response(status, json=said | more, headers=headers)
