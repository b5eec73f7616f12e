"""What a model sees already where an upload is labelled as what is new to it."""

import asyncio
import html
import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from app.db import write_session
from app.inference.engine import SMALL_WORKS
from app.keys.secret import read_secret
from app.keys.service import Caller, KeyLimits, Scope, create_key
from app.main import create_app
from app.settings import Settings
from app.web import seen as asking
from app.web.seen import Called, called_already
from sats_core.classes import Catalogue
from sats_core.data.readers import EncodedPicture, Reader, write_voc_zip
from tests.app.inference.colour_graph import BACKGROUND, CLASSES, GREEN, RED
from tests.app.segmentation.conftest import Register
from tests.app.segmentation.requests import as_files, encoded, left_red_right_green
from tests.app.web.test_login import log_in
from tests.fixtures.processes import serving

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)


@pytest.mark.usefixtures("database_url")
def test_of_new_classes_those_are_told_that_are_seen_as_known_ones() -> None:
    pairs = np.zeros((256, 256), np.int64)
    pairs[1, [GREEN.index, BACKGROUND.index]] = 80, 20
    pairs[2, [RED.index, BACKGROUND.index]] = 30, 70
    pairs[3, BACKGROUND.index] = 100
    pairs[4, RED.index] = 100
    found = called_already(pairs, ["lime", "brick", "new", "red", "absent"], Catalogue(CLASSES))
    assert found == [Called("lime", "green", 0.8, True), Called("brick", "red", 0.3, False)]


def looked_into(client: httpx.Client, zipped: Path, model: str = "default") -> str:
    files = {"dataset": ("data.zip", zipped.read_bytes())}
    upload = client.post("/uploads", files=files).json()["upload"]
    return client.get(f"/ui/uploads/{upload}", params={"model": model}).text


def asked(told: str) -> str:
    return html.unescape(re.findall(r'hx-get="([^"]*/seen[^"]*)"', told)[0])


@pytest.fixture
def cherries(tmp_path: Path) -> Path:
    """Pictures whose left half is red, and labelled as something new."""
    label = np.zeros((32, 64), np.uint8)
    label[:, :32] = 1
    label[0] = 255
    picture = encoded(left_red_right_green())
    items = [EncodedPicture(f"p{number}", ".png", picture, label) for number in range(5)]
    write_voc_zip(tmp_path / "cherries.zip", items, ["cherry"])
    return tmp_path / "cherries.zip"


def test_a_known_class_under_another_name_is_told_before_anything_is_queued(
    client: TestClient, register: Register, cherries: Path
) -> None:
    register([BACKGROUND, RED, GREEN])
    seen = client.get(asked(looked_into(client, cherries)))
    assert seen.status_code == 200
    said = "Version 1 already sees 100.0 % of the pixels labelled cherry as red"
    assert said in seen.text
    assert "5 pictures" in seen.text
    # A model that is not there learns all of it: there is nobody to ask.
    assert "/seen" not in looked_into(client, cherries, "another")


def test_who_cannot_say_it_says_why(client: TestClient, register: Register, cherries: Path) -> None:
    register([BACKGROUND, RED])
    address = asked(looked_into(client, cherries))
    gone = client.get(re.sub(r"uploads/[^/]+/", "uploads/nothing/", address))
    assert "cannot be told" in gone.text
    nobody = client.get(address.replace("model=default", "model=nobody"))
    assert "cannot be told" in nobody.text
    wrong = client.get(address.replace("pictures=", "pictures=-"))
    assert wrong.status_code == 422
    assert "positions of pictures" in wrong.text
    assert not re.search(r"\\d|\^", wrong.text), "no regular expression"
    none = client.get(re.sub(r"pictures=[^&]+", "pictures=999,1000", address))
    assert "none of the sheet's pictures" in html.unescape(none.text)
    again = client.get(re.sub(r"pictures=[^&]+", "pictures=0,0,0", address))
    assert "asked about 1 picture," in again.text


def test_who_has_left_is_worked_for_no_longer(
    settings: Settings, register: Register, cherries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register([BACKGROUND, RED, GREEN])
    begun, ended = threading.Event(), threading.Event()

    async def without_end(*_asked: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(asking, "_pairs", without_end)
    patient = settings.model_copy(update={"serve_deadline_seconds": 600.0})
    with serving(create_app(patient)) as url:
        with httpx.Client(base_url=url, timeout=30) as client:
            address = asked(looked_into(client, cherries))
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"GET {address} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert begun.wait(30)
            assert not ended.is_set()
        assert ended.wait(30)


@pytest.mark.parametrize("stage", ["opening", "reading"])
def test_who_waits_for_a_bucket_holds_up_nobody_who_segments(
    settings: Settings,
    register: Register,
    cherries: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
) -> None:
    register([BACKGROUND, RED, GREEN])
    waiting, over, opened = threading.Semaphore(0), threading.Event(), asking.opened_upload

    class Silent:
        def __init__(self, reader: Reader) -> None:
            self.ids, self.classes, self.source = reader.ids, reader.classes, reader.source
            self._reader = reader

        def encoded(self, picture_id: str) -> EncodedPicture:
            wait("reading")
            return self._reader.encoded(picture_id)

    def wait(here: str) -> None:
        if here == stage:
            waiting.release()
            assert over.wait(60)

    @contextmanager
    def slow(*args: Any) -> Iterator[Silent]:
        wait("opening")
        with opened(*args) as reader:
            yield Silent(reader)

    monkeypatch.setattr(asking, "opened_upload", slow)
    with (
        serving(create_app(settings)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
        ThreadPoolExecutor(SMALL_WORKS) as visitors,
    ):
        address = asked(looked_into(client, cherries))
        try:
            seen = [visitors.submit(client.get, address) for _ in range(SMALL_WORKS)]
            for _ in seen:
                assert waiting.acquire(timeout=30)
            two = as_files(*[encoded(left_red_right_green())] * 2)  # in a thread they are counted
            assert client.post("/segment", **two).status_code == 200
        finally:
            over.set()
        assert all("already sees" in one.result(60).text for one in seen)


Enter = Callable[..., None]


@pytest.fixture
def enter(client: TestClient, engine: Engine, settings: Settings) -> Enter:
    """Make a key with these scopes and rules, and log in with it."""

    def entered(name: str, *scopes: Scope, **rules: Any) -> None:
        with write_session(engine) as session:
            key = create_key(session, read_secret(settings), name, scopes, **rules)
        log_in(client, key)
        client.headers["Authorization"] = f"Bearer {key}"

    return entered


def test_who_may_not_segment_is_not_told_what_is_seen(
    client: TestClient, register: Register, cherries: Path, enter: Enter
) -> None:
    register([BACKGROUND, RED, GREEN])
    enter("both", Scope.SUBMIT, Scope.SEGMENT)
    address = asked(looked_into(client, cherries))
    enter("submits", Scope.SUBMIT)
    told = looked_into(client, cherries)
    assert "What is in it" in told
    assert "/seen" not in told
    assert client.get(address).status_code == 403


def test_pictures_that_are_looked_at_count_for_the_key(
    client: TestClient, register: Register, cherries: Path, enter: Enter
) -> None:
    register([BACKGROUND, RED, GREEN])
    limits = KeyLimits(pictures_per_minute=8)
    enter("few", Scope.SUBMIT, Scope.SEGMENT, limits=limits)
    address = asked(looked_into(client, cherries))
    assert "already sees" in client.get(address).text
    refused = client.get(address).text
    assert "cannot be told" in refused
    assert "may send 8 pictures a minute" in refused


def test_a_key_has_one_such_look_under_way_where_it_may_have_one_request(
    client: TestClient, register: Register, cherries: Path, enter: Enter
) -> None:
    register([BACKGROUND, RED, GREEN])
    limits = KeyLimits(concurrent_requests=1, pictures_per_minute=8)
    enter("one", Scope.SUBMIT, Scope.SEGMENT, limits=limits)
    address = asked(looked_into(client, cherries))
    underway = client.app.state.services.underway  # type: ignore[attr-defined]
    with underway.one(Caller("one", frozenset(Scope), key_id=1, limits=limits)):
        refused = client.get(address).text
        assert "cannot be told" in refused
        assert "may have 1 request with pictures under way" in refused
    assert "already sees" in client.get(address).text, "what is refused is no picture"
    assert underway.of(1) == 0
