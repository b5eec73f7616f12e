"""`/segment` behind a real server, with many clients at once."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from app.inference.engine import Inference
from app.main import create_app
from app.settings import Settings
from tests.app.inference.colour_graph import BACKGROUND, CLASSES, GREEN, RED
from tests.app.segmentation.conftest import Register
from tests.app.segmentation.requests import eventually
from tests.fixtures.processes import serving

CLIENTS = 8
WAIT = 30
MASK = {"Accept": "image/png", "Content-Type": "image/png"}


def png(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def mask_of(answer: httpx.Response) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.array(Image.open(BytesIO(answer.content)))


def test_no_answer_is_of_another_version_than_it_says(
    served: httpx.Client, register: Register
) -> None:
    red = png(Image.new("RGB", (64, 48), RED.colour))
    last = 6
    stop = threading.Event()
    seen: Counter[int] = Counter()
    wrong: list[str] = []

    def register_next(number: int) -> None:
        # Red has another index, and another channel than in the version before: a mask tells
        # which graph made it.
        others = (BACKGROUND, GREEN)[: 1 + number % 2]
        assert register((*others, replace(RED, index=10 * number))) == number

    def ask_on() -> None:
        while not stop.is_set():
            answer = served.post("/segment", content=red, headers=MASK)
            if answer.status_code != 200:
                wrong.append(answer.text)
                continue
            version = int(answer.headers["X-Sats-Version"])
            seen[version] += 1
            if not (mask_of(answer) == 10 * version).all():
                wrong.append(f"{version}: {np.unique(mask_of(answer))}")

    register_next(1)
    with ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(ask_on) for _ in range(CLIENTS)]
        try:
            for number in range(1, last + 1):
                if number > 1:
                    register_next(number)
                deadline = time.monotonic() + WAIT
                while not seen[number] and time.monotonic() < deadline:
                    time.sleep(0.02)
        finally:
            stop.set()
        for client in asking:
            client.result()  # what it raised, it raises here
    assert not wrong
    assert set(seen) == set(range(1, last + 1)), seen
    answer = served.post("/segment", content=red, headers=MASK)
    assert answer.headers["X-Sats-Version"] == str(last)


def test_many_clients_get_the_masks_of_their_own_pictures(
    served: httpx.Client, register: Register
) -> None:
    register()
    rng = np.random.default_rng(0)
    shapes = [(64, 64), (40, 64), (64, 20), (10, 10), (200, 150)]
    colours = np.array([c.colour for c in CLASSES], dtype=np.uint8)
    pictures = []
    for i in range(20):
        height, width = shapes[i % len(shapes)]
        coarse = colours[rng.integers(0, len(colours), (2, 2))]
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST)
        pictures.append(png(image))

    def ask(data: bytes) -> bytes:
        answer = served.post("/segment", content=data, headers=MASK)
        assert answer.status_code == 200, answer.text
        return answer.content

    alone = [ask(data) for data in pictures]
    assert len(set(alone)) > 10
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, pictures * 5)) == alone * 5


@pytest.fixture
def small(settings: Settings) -> Iterator[tuple[FastAPI, httpx.Client]]:
    """A service with room for two pictures, and its client."""
    app = create_app(settings.model_copy(update={"serve_queue": 2}))
    with serving(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield app, client


def test_beyond_its_places_the_service_says_come_back(
    small: tuple[FastAPI, httpx.Client], register: Register
) -> None:
    app, client = small
    register()
    data = png(Image.new("RGB", (64, 64), GREEN.colour))
    inference: Inference = app.state.services.inference
    with inference.reserve(1):
        assert client.post("/segment", content=data, headers=MASK).status_code == 200
        two = client.post("/segment", files=[("pictures", ("a.png", data))] * 2)
        assert two.status_code == 503
    with inference.reserve(2):
        answer = client.post("/segment", content=data, headers=MASK)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.json()["type"].endswith("overloaded")
        unread = client.post("/segment", content=b"", headers={"Content-Type": "text/plain"})
        assert unread.status_code == 503
        assert client.get("/health/live").status_code == 200
    assert client.post("/segment", files=[("pictures", ("a.png", data))] * 2).status_code == 200
    three = client.post("/segment", files=[("pictures", ("a.png", data))] * 3)
    assert three.status_code == 413  # it would never fit


def test_overload_is_refused_and_passes(
    small: tuple[FastAPI, httpx.Client], register: Register
) -> None:
    app, client = small
    register()
    data = png(Image.new("RGB", (1500, 1500), GREEN.colour))
    broken = data[: len(data) // 2]

    def ask(number: int) -> int:
        body = broken if number % 5 == 0 else data
        answer = client.post("/segment", content=body, headers=MASK)
        if answer.status_code == 200:
            assert (mask_of(answer) == GREEN.index).all()
        return answer.status_code

    with ThreadPoolExecutor(16) as pool:
        codes = Counter(pool.map(ask, range(80)))
    assert set(codes) <= {200, 422, 503}
    assert codes[200]
    assert codes[503]
    # Refused, broken and answered requests alike give their places back, once their answer is out.
    assert eventually(2, app.state.services.inference)
    assert client.post("/segment", content=data, headers=MASK).status_code == 200
