"""What a service that is being stopped says to whom it still owes an answer."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event, select
from starlette.types import Receive, Scope, Send

from app.errors import StoppingProblem
from app.http.dependencies import Segmenter, WriteSession
from app.http.draining import Draining, until_the_end
from app.inference.exported_graph import Graph
from app.main import create_app
from app.settings import Settings
from app.tasks.events import WantedEvents
from app.tasks.streams import Streams, Watch
from tests.app.segmentation.conftest import Register, register
from tests.app.segmentation.requests import as_body, encoded, left_red_right_green
from tests.fixtures.processes import serving

__all__ = ["register"]

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

WAIT = 60
PICTURE = as_body(encoded(left_red_right_green()))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Whether a run has begun, and what opens the gate before which all of them wait."""
    begun, opened = threading.Event(), threading.Event()
    run = Graph.run

    def wait(self: Graph, views: Sequence[Any], **how: Any) -> Any:
        begun.set()
        assert opened.wait(WAIT)
        return run(self, views, **how)

    monkeypatch.setattr(Graph, "run", wait)
    yield begun, opened
    opened.set()


@contextmanager
def draining(settings: Settings) -> Iterator[tuple[httpx.Client, Callable[[float], None], FastAPI]]:
    """A service with one lane, what tells it that it has so many seconds left, and its app."""
    app = create_app(settings.model_copy(update={"serve_threads": 1}))

    async def begin(seconds: float) -> None:
        app.state.draining.begin(seconds)

    app.add_api_route("/begin", begin, methods=["POST"])
    with serving(app) as url, httpx.Client(base_url=url, timeout=WAIT) as client:
        yield client, lambda left: client.post(f"/begin?seconds={left}").raise_for_status(), app


def test_what_waits_is_refused_while_a_lane_still_works(
    settings: Settings, register: Register, runs: tuple[threading.Event, threading.Event]
) -> None:
    register()
    begun, opened = runs
    with draining(settings) as (client, begin, app), ThreadPoolExecutor() as pool:
        asked = [pool.submit(client.post, "/segment", **PICTURE) for _ in range(3)]
        tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 1, 3], "data": [0, 0, 0]}
        infer = "/v2/models/default/infer"
        asked.append(pool.submit(client.post, infer, json={"inputs": [tensor]}))
        assert begun.wait(WAIT)
        inference = app.state.services.inference
        while inference.load.free > settings.serve_queue - len(asked):
            time.sleep(0.01)
        begin(0.1)
        answers = [one.result(WAIT) for one in asked]
        assert not opened.is_set()
        late = client.post("/segment", **PICTURE)
        assert client.get("/health/ready").status_code == 503
        opened.set()
    # Its lifespan has ended: so has all work.
    (figures,) = inference.measures.read().values()
    assert figures.failed["closed"] == len(asked)
    assert inference.load.free == settings.serve_queue
    for answer in (*answers[:-1], late):
        assert answer.json()["type"].endswith(":stopping")
    for answer in (*answers, late):
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        assert answer.headers["Request-Id"]
        assert "being stopped" in answer.text
    assert list(answers[-1].json()) == ["error"], "as the protocol has it"


def test_what_is_done_in_time_is_answered(
    settings: Settings, register: Register, runs: tuple[threading.Event, threading.Event]
) -> None:
    register()
    begun, opened = runs
    with draining(settings) as (client, begin, _), ThreadPoolExecutor() as pool:
        asked = [pool.submit(client.post, "/segment", **PICTURE) for _ in range(3)]
        assert begun.wait(WAIT)
        begin(600.0)
        assert client.get("/health/ready").status_code == 503
        opened.set()
        assert [one.result(WAIT).status_code for one in asked] == [200] * 3


def test_a_change_is_never_refused_while_it_is_made(settings: Settings) -> None:
    """A thread goes on: its session would be rolled back under it, or committed after a 503."""
    begun, opened, order = threading.Event(), threading.Event(), list[str]()

    def change(_caller: Segmenter, session: WriteSession) -> str:
        event.listen(session, "after_commit", lambda _: order.append("committed"))
        event.listen(session, "after_rollback", lambda _: order.append("rolled back"))
        session.execute(select(1))
        begun.set()
        assert opened.wait(WAIT)
        order.append("done")
        return "changed"

    with draining(settings) as (client, begin, app), ThreadPoolExecutor() as pool:
        app.add_api_route("/change", change, methods=["POST"])
        asked = pool.submit(client.post, "/change")
        assert begun.wait(WAIT)
        begin(0.1)
        while not app.state.draining.over:
            time.sleep(0.01)
        assert client.post("/change").json()["type"].endswith(":stopping")
        opened.set()
        assert asked.result(WAIT).json() == "changed"
    assert order == ["done", "committed"]


@pytest.mark.usefixtures("database_url")
def test_what_reaches_its_pictures_after_the_end_is_refused() -> None:
    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        draining.over = True  # while it was let in
        with pytest.raises(StoppingProblem), until_the_end():
            pass

    draining = Draining()
    asyncio.run(draining.answer(late, {"type": "http"}, None, None))  # type: ignore[arg-type]


def test_streams_of_events_end_and_no_more_are_opened(settings: Settings, engine: Any) -> None:
    async def follow() -> None:
        async def holds() -> None: ...

        streams = Streams(engine, 4)
        watch = Watch("nothing", WantedEvents(), 0, "", holds)
        stream = streams.follow(watch)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        streams.end()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(waiting, WAIT)
        late = streams.follow(watch)
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(anext(late), WAIT)
        with pytest.raises(StoppingProblem), streams.seat(""):
            pass

    asyncio.run(follow())
