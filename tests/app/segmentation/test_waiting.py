"""Who has left is not worked for, and nobody waits for ever."""

import asyncio
import json
import socket
import threading
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from app.inference.engine import Inference
from app.inference.exported_graph import Graph
from app.inference.works import LeftError, Work
from app.main import create_app
from app.segmentation import upload, waiting
from app.segmentation.json_pictures import read_json
from app.segmentation.waiting import LateProblem
from app.settings import Settings
from tests.app.inference.colour_graph import GREEN
from tests.app.segmentation.conftest import Register
from tests.app.segmentation.requests import as_body, as_files, encoded, eventually
from tests.fixtures.processes import serving

WAIT = 30
PICTURE = encoded(Image.new("RGB", (64, 64), GREEN.colour))


@contextmanager
def started(settings: Settings, **changes: float) -> Iterator[tuple[Inference, httpx.Client]]:
    app: FastAPI = create_app(settings.model_copy(update=changes))
    with serving(app) as url, httpx.Client(base_url=url, timeout=WAIT) as client:
        yield app.state.services.inference, client


def ready(client: httpx.Client) -> httpx.Client:
    """Wait until the live versions are loaded: that is not a matter of a request's deadline."""
    deadline = time.monotonic() + 2 * WAIT
    while not (answer := client.get("/health/ready")).is_success:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)
    return client


class Occupying(Work[int, int, int]):
    """Keeps a lane busy until it is told to end."""

    most = 1

    def __init__(self) -> None:
        super().__init__(self)
        self.begun, self.over = threading.Event(), threading.Event()

    def prepare(self) -> int:
        self.begun.set()
        self.over.wait(2 * WAIT)
        raise LeftError

    def run(self, ready: Sequence[int], **_: object) -> Sequence[int]:
        return ready

    def finish(self, raw: int) -> int:
        return raw


@contextmanager
def busy(inference: Inference) -> Iterator[None]:
    """Keep every lane busy."""
    works = [Occupying() for _ in range(len(inference.lanes))]
    for work in works:
        inference.lanes.submit(work)
        assert work.begun.wait(WAIT)
    try:
        yield
    finally:
        for work in works:
            work.over.set()


@pytest.mark.parametrize("request_of", [as_body, lambda p: as_files(p, p, p)])
def test_what_waits_goes_with_its_client(
    settings: Settings, register: Register, request_of: object
) -> None:
    register()
    with started(settings) as (inference, client):
        assert client.post("/segment", **as_body(PICTURE)).status_code == 200

        def hang_up(_: int) -> None:
            with pytest.raises(httpx.TimeoutException):
                httpx.post(f"{client.base_url}/segment", **request_of(PICTURE), timeout=2)

        with busy(inference):
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(hang_up, range(8)))
            assert eventually(settings.serve_queue, inference)
        assert client.post("/segment", **as_body(PICTURE)).status_code == 200
        assert inference.load.items == 2  # of those who left, nothing was run


def test_beyond_its_deadline_a_request_is_given_up(settings: Settings, register: Register) -> None:
    register()
    with started(settings, serve_deadline_seconds=3.0) as (inference, client):
        assert ready(client).post("/segment", **as_body(PICTURE)).status_code == 200
        with busy(inference):
            answer = client.post("/segment", **as_body(PICTURE))
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) >= 1
            assert answer.json()["type"].endswith("deadline-exceeded")
            assert eventually(settings.serve_queue, inference)
        assert client.post("/segment", **as_body(PICTURE)).status_code == 200


def test_a_body_that_does_not_come_gives_its_room_back(
    settings: Settings, register: Register
) -> None:
    register()
    lines = ["POST /segment HTTP/1.1", "Host: 127.0.0.1", "Content-Type: image/png"]
    with started(settings, serve_deadline_seconds=1.0) as (inference, client):
        address = (client.base_url.host, client.base_url.port or 80)
        with socket.create_connection(address) as raw:
            raw.settimeout(WAIT)
            raw.sendall("\r\n".join([*lines, "Content-Length: 100", "", ""]).encode())
            assert raw.recv(4096).startswith(b"HTTP/1.1 503")
        assert eventually(settings.serve_queue, inference)


@contextmanager
def posted(client: httpx.Client, kind: str, body: bytes) -> Iterator[None]:
    """Have a client wait for its answer; it leaves when the block ends."""
    lines = ["POST /segment HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {kind}"]
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as raw:
        raw.sendall("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)
        yield


def test_room_is_held_until_what_was_begun_has_ended(
    settings: Settings, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client leaves: that cancels it, and does not end its run."""
    register()
    opened, entered, left = threading.Event(), threading.Event(), threading.Event()
    run, leave = Graph.run, Work.leave

    def wait(self: Graph, *given: Any, **how: Any) -> Any:
        entered.set()
        assert opened.wait(2 * WAIT)
        return run(self, *given, **how)

    def hear(self: Work[Any, Any, Any]) -> None:
        leave(self)
        left.set()

    monkeypatch.setattr(Work, "leave", hear)
    with started(settings) as (inference, client):
        ready(client)
        monkeypatch.setattr(Graph, "run", wait)
        with posted(client, "image/png", PICTURE):
            assert entered.wait(WAIT)
        assert left.wait(WAIT)
        client.get("/health/live")  # the event loop has had its turn
        assert inference.load.free == settings.serve_queue - 1
        assert inference.memory.free < inference.memory.total
        opened.set()
        assert eventually(settings.serve_queue, inference)
        assert inference.memory.free == inference.memory.total


def test_room_is_held_until_json_is_read(
    settings: Settings, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its deadline is over while a thread reads it."""
    register()
    opened, entered, over = threading.Event(), threading.Event(), threading.Event()

    def wait(body: bytes, most: int) -> dict[str, bytes]:
        entered.set()
        assert opened.wait(2 * WAIT)
        return read_json(body, most)

    @asynccontextmanager
    async def until_entered(_: float) -> AsyncIterator[None]:
        task = asyncio.current_task()
        assert task is not None

        async def cancel() -> None:
            await asyncio.to_thread(entered.wait, WAIT)
            task.cancel()
            over.set()

        cancelling = asyncio.create_task(cancel())
        try:
            yield
        except asyncio.CancelledError as error:
            task.uncancel()
            raise LateProblem("late") from error
        finally:
            cancelling.cancel()

    monkeypatch.setattr(upload, "read_json", wait)
    monkeypatch.setattr(waiting, "until", until_entered)
    body = json.dumps({"image": b64encode(PICTURE).decode()}).encode()
    with started(settings) as (inference, client):
        ready(client)
        with posted(client, "application/json", body):
            assert over.wait(WAIT)
            for _ in range(3):
                client.get("/health/live")  # the event loop has had its turn
            assert inference.memory.free < inference.memory.total
            opened.set()
            assert eventually(settings.serve_queue, inference)
        assert inference.memory.free == inference.memory.total
