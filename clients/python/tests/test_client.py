"""Where the service is, and what it refuses."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from conftest import TASK, Body, problem

import sats_client
from sats_client import (
    AccessDenied,
    AsyncClient,
    BadAnswer,
    Client,
    Conflict,
    NotFound,
    Overloaded,
    Problem,
    Refused,
    SatsError,
)

MOVE = {
    "sequence": 4,
    "version": 3,
    "kind": "promote",
    "moved_at": "2026-11-21T16:51:04Z",
    "by": {"type": "key", "name": "ci"},
}
KINDS = {
    301: Problem,
    400: Refused,
    401: AccessDenied,
    403: AccessDenied,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    413: Refused,
    422: Refused,
    429: Overloaded,
    500: Problem,
    503: Overloaded,
    507: Problem,
}


@pytest.mark.parametrize(("status", "kind"), KINDS.items())
def test_problems_by_what_they_mean(through, status, kind):
    answer = problem(status, "some-slug", request_id="abc", headers={"Retry-After": "3"})
    with pytest.raises(SatsError) as raised:
        through(lambda _: answer, lambda c: c.classes(), tries=1)
    found = raised.value
    assert type(found) is kind
    assert (found.status, found.slug, found.request_id) == (status, "some-slug", "abc")
    assert pickle.loads(pickle.dumps(found)).args == found.args


def test_a_refusal_names_what_is_at_fault(through):
    faults = [
        {"code": "unreadable", "message": "no mask", "file": "masks/1.png"},
        {"code": "missing", "message": "no picture shows it", "class": "sheep"},
        {"message": "said by a later service", "colour": "red"},
    ]
    answer = problem(422, "invalid-dataset", detail="the data set cannot be used", errors=faults)
    with pytest.raises(Refused) as raised:
        through(lambda _: answer, lambda c: c.classes())
    assert [(e.code, e.file, e.class_) for e in raised.value.errors] == [
        ("unreadable", "masks/1.png", None),
        ("missing", None, "sheep"),
        ("invalid", None, None),
    ]
    assert "masks/1.png: no mask" in str(raised.value)
    assert "sheep: no picture shows it" in str(raised.value)


NESTED = "[" * 100_000


@pytest.mark.parametrize("body", ["<html>413</html>", "[1]", "", '{"type": 1}', NESTED])
def test_what_a_proxy_refuses(through, body):
    with pytest.raises(Problem) as raised:
        through(lambda _: httpx.Response(413, text=body), lambda c: c.classes())
    assert (raised.value.status, raised.value.slug) == (413, "")
    assert str(raised.value)


PROGRESS = {"phase": "training", "step": 1, "steps": 2}


@pytest.mark.parametrize(
    "body",
    [
        *("<html>", "[]", "{}", NESTED),
        json.dumps(TASK | {"created_at": 7}),
        json.dumps(TASK | {"state": 7}),
        json.dumps(TASK | {"warnings": "none"}),
        json.dumps(TASK | {"progress": PROGRESS | {"rate": 10**400}}),
    ],
)
def test_what_is_no_answer_of_the_service(through, body):
    with pytest.raises(BadAnswer):
        through(lambda _: httpx.Response(200, text=body), lambda c: c.task("1"))


def test_live_is_moved_only_from_where_it_was_seen(through):
    asked = []

    def alias(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.headers.get("If-Match"), request.content))
        return httpx.Response(200, json=MOVE, headers={"ETag": '"4"'})

    assert through(alias, lambda c: c.live("farm")).etag == '"4"'
    with Client("http://sats", transport=httpx.MockTransport(alias)) as client:
        seen = client.live()
    asked.clear()
    assert through(alias, lambda c: c.promote("farm", 3, seen=seen)).version == 3
    through(alias, lambda c: c.promote("farm", 3))
    assert asked == [("PUT", '"4"', b'{"version":3}'), ("PUT", None, b'{"version":3}')]


def test_a_move_whose_answer_was_lost_is_no_conflict(through):
    before = MOVE | {"sequence": 3, "version": 2}

    def seen_as(move):
        return lambda _: httpx.Response(200, json=move, headers={"ETag": '"3"'})

    class Alias:
        def __init__(self, now):
            self.now, self.puts = now, 0

        def __call__(self, request: httpx.Request) -> httpx.Response:
            if request.method == "GET":
                return httpx.Response(200, json=self.now, headers={"ETag": '"4"'})
            self.puts += 1
            if self.puts == 1:
                raise httpx.ReadError("cut, but it was done")
            return problem(412, "moved-meanwhile")

    with Client("http://sats", transport=httpx.MockTransport(seen_as(before))) as client:
        seen = client.live("farm")
    assert through(Alias(MOVE), lambda c: c.promote("farm", 3, seen=seen)).sequence == 4
    for now in (MOVE | {"version": 9}, MOVE | {"sequence": 7}):
        with pytest.raises(Conflict):
            through(Alias(now), lambda c: c.promote("farm", 3, seen=seen))


def test_the_live_version_is_rolled_back(through):
    asked = []

    def alias(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path))
        return httpx.Response(200, json=MOVE)

    through(alias, lambda c: c.rollback("farm"))
    assert asked == [
        ("GET", "/admin/models/farm/aliases/live"),
        ("POST", "/admin/models/farm/versions/3:rollback"),
    ]


def test_names_do_not_lead_elsewhere(through):
    asked = []

    def look(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path)
        return httpx.Response(200, json=TASK)

    through(look, lambda c: c.task("../admin/keys?x=1"))
    assert asked == [b"/tasks/..%2Fadmin%2Fkeys%3Fx%3D1"]


def test_url_and_key(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def look(request: httpx.Request) -> httpx.Response:
        asked.append((str(request.url), request.headers.get("Authorization")))
        return httpx.Response(200, json=TASK)

    def look_with(*words: str) -> None:
        with Client(*words, transport=httpx.MockTransport(look)) as client:
            client.task("1")
            assert "key" not in repr(client)

    monkeypatch.delenv("SATS_URL", raising=False)
    monkeypatch.delenv("SATS_API_KEY", raising=False)
    look_with()
    monkeypatch.setenv("SATS_URL", "https://sats.example/prefix/")
    monkeypatch.setenv("SATS_API_KEY", " sats_key\n")
    look_with()
    look_with("http://other", "sats_other")
    look_with("http://other", "")
    assert asked == [
        ("http://127.0.0.1:8000/tasks/1", None),
        ("https://sats.example/prefix/tasks/1", "Bearer sats_key"),
        ("http://other/tasks/1", "Bearer sats_other"),
        ("http://other/tasks/1", None),
    ]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:8000", "http://", "http://x:port", "sats"])
def test_what_is_no_address(kind, url):
    with pytest.raises(ValueError, match="is no"):
        kind(url)
    with pytest.raises(ValueError, match="name or password") as refused:
        Client("http://eva:hunter2@sats.example.org")
    assert "hunter2" not in str(refused.value)
    with pytest.raises(ValueError, match="API key"):
        kind("http://sats", "kéy")


def test_a_service_on_this_machine_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    for url in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"):
        with Client(url) as client:
            there = client._http._transport_for_url(httpx.URL(url))
            assert there is client._http._transport


def test_posting_needs_neither_numpy_nor_pillow():
    program = (
        "import sys; sys.modules['numpy'] = sys.modules['PIL'] = None\n"
        "import sats_client\n"
        "client = sats_client.Client('http://127.0.0.1:1', tries=1)\n"
        "try:\n    client.segment(b'')\n"
        "except ImportError as error:\n    print(error)\n"
        "client.close()\n"
    )
    here = str(Path(sats_client.__file__).parents[1])
    said = subprocess.check_output(
        [sys.executable, "-c", program], text=True, env={**os.environ, "PYTHONPATH": here}
    )
    assert "pip install numpy pillow" in said


def test_records_can_be_kept_in_sets(through):
    progress = {"phase": "training", "step": 1, "steps": 2, "losses": {"a": 0.5}}

    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=TASK | {"progress": progress})

    first, second = (through(handler, lambda c: c.task("1")) for _ in range(2))
    assert len({first, second}) == 1
    with pytest.raises(AttributeError):
        first.state = "failed"


@pytest.mark.parametrize("fits", [True, False])
def test_an_answer_has_a_largest_size(through, fits):
    text = json.dumps(TASK).encode()
    read = []

    class Pieces(Body):
        def __iter__(self):
            for chunk in super().__iter__():
                read.append(len(chunk))
                yield chunk

    def task(_request):
        return httpx.Response(200, stream=Pieces(text, *[b" "] * 50))

    most = len(text) + (50 if fits else 3)
    if fits:
        assert through(task, lambda c: c.task(TASK["id"]), max_answer_bytes=most).name == "sheep"
        return
    with pytest.raises(BadAnswer, match=f"more than {most} bytes"):
        through(task, lambda c: c.task(TASK["id"]), max_answer_bytes=most)
    assert len(read) == 5, "no more is read"
