"""How many requests with pictures a key may have under way: at every door, however they end."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.db import write_session
from app.keys.problems import ConcurrencyLimitProblem
from app.keys.secret import read_secret
from app.keys.service import Caller, KeyLimits, Scope, create_key
from app.keys.underway import Underway
from app.main import create_app
from app.settings import Settings
from tests.app.integrations.label_studio.asking import BASE, body
from tests.app.integrations.label_studio.conftest import fake
from tests.app.integrations.protocols.test_room import CALLS
from tests.app.segmentation.conftest import Register, register
from tests.app.segmentation.requests import encoded, left_red_right_green
from tests.app.segmentation.test_waiting import PICTURE, WAIT, busy, ready
from tests.fixtures.label_studio import FakeLabelStudio
from tests.fixtures.processes import serving

__all__ = ["fake", "register"]

Make = Callable[..., dict[str, str]]
LIMITED = KeyLimits(concurrent_requests=1)
IMAGE = {"Content-Type": "image/png"}
SLUG = "urn:sats:problem:limit-concurrent-requests"
ONE_DATABASE = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)


@pytest.fixture
def make(engine: Engine, settings: Settings) -> Make:
    """Make a key that may segment, and return its header."""

    def make_one(name: str = "app", limits: KeyLimits = LIMITED) -> dict[str, str]:
        with write_session(engine) as session:
            key = create_key(session, read_secret(settings), name, [Scope.SEGMENT], limits=limits)
        return {"Authorization": f"Bearer {key}"}

    return make_one


def limited(most: int, key_id: int = 1) -> Caller:
    limits = KeyLimits(concurrent_requests=most)
    return Caller("app", frozenset(Scope), key_id=key_id, limits=limits)


def test_so_many_at_a_time_and_no_more() -> None:
    underway = Underway()
    with underway.one(limited(2)), underway.one(limited(2)):
        with pytest.raises(ConcurrencyLimitProblem, match="'app' may have 2 requests") as refused:
            underway.one(limited(2)).__enter__()
        with underway.one(limited(2, key_id=2)):
            assert (underway.of(1), underway.of(2)) == (2, 1)
    assert refused.value.headers == {
        "Retry-After": "1",
        "RateLimit-Policy": '"concurrent-requests";q=2',
        "RateLimit": '"concurrent-requests";r=0;t=1',
    }
    assert (underway.of(1), underway.of(2)) == (0, 0)


def test_one_at_a_time_is_told_as_one() -> None:
    underway = Underway()
    with (
        underway.one(limited(1)),
        pytest.raises(ConcurrencyLimitProblem, match="may have 1 request with"),
    ):
        underway.one(limited(1)).__enter__()


def test_one_that_fails_counts_no_more() -> None:
    underway = Underway()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), underway.one(limited(1)):
            raise ZeroDivisionError
    assert underway.of(1) == 0


def test_nobody_else_is_counted() -> None:
    underway = Underway()
    free = Caller("b", frozenset(Scope), key_id=2)
    with ExitStack() as held:
        for _ in range(100):
            held.enter_context(underway.one(free))
            held.enter_context(underway.one(Caller("", frozenset(Scope))))
        assert underway.of(2) == 0


@contextmanager
def started(settings: Settings, **changes: float) -> Iterator[tuple[FastAPI, httpx.Client]]:
    app: FastAPI = create_app(settings.model_copy(update=changes))
    with serving(app) as url, httpx.Client(base_url=url, timeout=2 * WAIT) as client:
        ready(client)
        yield app, client


def eventually(wanted: int, underway: Underway) -> bool:
    """Wait until so many requests of the first key are under way."""
    deadline = time.monotonic() + WAIT
    while underway.of(1) != wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    return underway.of(1) == wanted


DOORS = {"/segment": (IMAGE, PICTURE), **CALLS}


@ONE_DATABASE
@pytest.mark.parametrize("door", sorted(DOORS))
def test_a_client_that_hangs_up_gives_its_place_back(
    settings: Settings, register: Register, make: Make, door: str
) -> None:
    register()
    headers, content = DOORS[door]
    key, other = make(), make("other", KeyLimits(concurrent_requests=2))
    with started(settings) as (app, client):
        services = app.state.services

        def ask(who: dict[str, str]) -> httpx.Response:
            return client.post(door, headers=headers | who, content=content)

        with busy(services.inference):
            with hanging(client, door, headers | key, content):
                assert eventually(1, services.underway)
                refused = ask(key)
                assert refused.status_code == 429, refused.text
                assert refused.headers["retry-after"] == "1"
                assert refused.headers["ratelimit-policy"] == '"concurrent-requests";q=1'
                assert refused.headers["ratelimit"] == '"concurrent-requests";r=0;t=1'
                if not door.startswith("/v2"):
                    assert refused.json()["type"] == SLUG
            assert eventually(0, services.underway)
        assert ask(key).status_code == 200
        assert ask(other).status_code == 200
        assert eventually(0, services.underway)


@contextmanager
def hanging(
    client: httpx.Client, path: str, headers: dict[str, str], content: bytes
) -> Iterator[None]:
    """Have a request wait for its answer; its client leaves when the block ends."""
    said = {"Host": "127.0.0.1", "Content-Length": str(len(content)), **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items())]
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as raw:
        raw.sendall("\r\n".join([*lines, "", ""]).encode() + content)
        yield


@ONE_DATABASE
def test_however_a_request_ends_its_place_comes_back(
    settings: Settings, register: Register, make: Make
) -> None:
    register()
    key = make()
    with started(settings) as (app, client):
        services = app.state.services

        def ask(content: bytes, **params: str) -> int:
            answer = client.post("/segment", headers=IMAGE | key, content=content, params=params)
            assert eventually(0, services.underway)
            return answer.status_code

        assert ask(b"no picture") in (415, 422)
        assert ask(PICTURE[:60]) == 422
        assert ask(PICTURE, model="none") == 404
        assert ask(PICTURE, classes="none") == 422
        with services.inference.reserve(services.inference.load.free):
            assert ask(PICTURE) == 503
        assert ask(PICTURE) == 200


@ONE_DATABASE
def test_who_is_given_up_at_the_deadline_is_under_way_no_more(
    settings: Settings, register: Register, make: Make
) -> None:
    register()
    key = make()
    said = ["POST /segment HTTP/1.1", "Host: a", "Content-Type: image/png", "Content-Length: 100"]
    said.append(f"Authorization: {key['Authorization']}")
    with started(settings, serve_deadline_seconds=1.0) as (app, client):
        services = app.state.services
        with busy(services.inference):
            late = client.post("/segment", headers=IMAGE | key, content=PICTURE)
            assert (late.status_code, late.json()["type"][-17:]) == (503, "deadline-exceeded")
            assert eventually(0, services.underway)
        with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as raw:
            raw.settimeout(WAIT)  # its body never comes
            raw.sendall("\r\n".join([*said, "", ""]).encode())
            assert raw.recv(4096).startswith(b"HTTP/1.1 503")
        assert eventually(0, services.underway)


@ONE_DATABASE
def test_what_is_refused_is_no_picture_of_the_minute(
    client: TestClient, service: FastAPI, register: Register, make: Make
) -> None:
    register()
    key = make(limits=KeyLimits(pictures_per_minute=1, concurrent_requests=1))
    underway, inference = service.state.services.underway, service.state.services.inference
    with underway.one(limited(1)):
        for _ in range(5):
            refused = client.post("/segment", headers=IMAGE | key, content=PICTURE)
            assert refused.json()["type"] == SLUG
    with inference.reserve(inference.load.free):
        for _ in range(5):
            busy = client.post("/segment", headers=IMAGE | key, content=PICTURE)
            assert (busy.status_code, "retry-after" in busy.headers) == (503, True)
    assert inference.load.free == service.state.services.settings.serve_queue
    assert client.post("/segment", headers=IMAGE | key, content=PICTURE).status_code == 200
    assert client.post("/segment", headers=IMAGE | key, content=PICTURE).status_code == 429
    assert inference.load.free == service.state.services.settings.serve_queue


@ONE_DATABASE
def test_predictions_for_label_studio_count_until_their_stream_ends(
    settings: Settings, fake: FakeLabelStudio, register: Register, make: Make
) -> None:
    register()
    fake.files["/data/a.png"] = encoded(left_red_right_green())
    fake.hold = threading.Event()
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    key, asked = make(), body(["/data/a.png"] * 3)
    with started(Settings(**given | fake.settings())) as (app, client):
        underway = app.state.services.underway
        with client.stream("POST", f"{BASE}/predict", json=asked, headers=key) as answer:
            pieces = answer.iter_raw()  # kept: without it the connection is closed
            assert next(pieces).startswith(b'{"model_version"')
            assert underway.of(1) == 1
            refused = client.post(f"{BASE}/predict", json=asked, headers=key)
            assert (refused.status_code, refused.json()["type"]) == (429, SLUG)
        assert eventually(0, underway)  # its client has left in the middle
        fake.hold.set()
        assert client.post(f"{BASE}/predict", json=asked, headers=key).status_code == 200
        assert client.post(f"{BASE}/predict", content=b"{", headers=key).status_code == 400
        assert eventually(0, underway)
