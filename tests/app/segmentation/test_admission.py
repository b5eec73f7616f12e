"""Room in pictures and bytes: taken before a body is read, given back when its answer is out."""

import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from app.inference.engine import Inference
from app.main import create_app
from app.segmentation.admission import PIXEL_BYTES
from app.segmentation.negotiation import Representation
from app.settings import MIB, Settings
from tests.app.inference.colour_graph import GREEN
from tests.app.segmentation.conftest import Register
from tests.app.segmentation.requests import as_body, as_files, encoded, eventually
from tests.fixtures.processes import serving

SERVE_BYTES = 16 * MIB
WAIT = 20


@pytest.fixture
def small(settings: Settings) -> Iterator[tuple[FastAPI, httpx.Client]]:
    """A service with room for 16 MiB, and its client."""
    app = create_app(settings.model_copy(update={"serve_bytes": SERVE_BYTES, "serve_queue": 4}))
    with serving(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield app, client


def inference_of(app: FastAPI) -> Inference:
    inference: Inference = app.state.services.inference
    return inference


def green(width: int, height: int) -> bytes:
    return encoded(Image.new("RGB", (width, height), GREEN.colour))


def test_pixels_are_counted(small: tuple[FastAPI, httpx.Client], register: Register) -> None:
    app, client = small
    register()
    large = green(1400, 1000)
    assert client.post("/segment", **as_body(large)).status_code == 200
    too_large = client.post("/segment", **as_files(large, large))
    assert too_large.status_code == 413  # few bytes, but never room for so many pixels
    assert "memory" in too_large.json()["detail"]
    with inference_of(app).memory.hold(
        SERVE_BYTES - PIXEL_BYTES[Representation.JSON] * 1400 * 1000
    ):
        busy = client.post("/segment", **as_body(large))
        assert busy.status_code == 503
        assert int(busy.headers["Retry-After"]) >= 1
        assert client.post("/segment", **as_body(green(64, 64))).status_code == 200
    assert eventually(4, inference_of(app))
    assert inference_of(app).memory.free == SERVE_BYTES


def test_an_overlay_s_pixels_take_more(
    small: tuple[FastAPI, httpx.Client], register: Register
) -> None:
    _, client = small
    register()
    picture = as_body(green(1400, 1000))
    for accept, status in (
        ("application/json", 200),
        ("image/png; profile=overlay", 200),
        ("image/webp; profile=overlay", 413),
    ):
        headers = picture["headers"] | {"Accept": accept}
        answer = client.post("/segment", content=picture["content"], headers=headers)
        assert answer.status_code == status, answer.text


@pytest.mark.parametrize("taken", ["places", "bytes"])
def test_nothing_is_read_without_room(
    small: tuple[FastAPI, httpx.Client], register: Register, taken: str
) -> None:
    app, client = small
    register()
    inference = inference_of(app)
    room = inference.reserve(4) if taken == "places" else inference.memory.hold(12 * MIB)
    lines = [
        "POST /segment HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: image/png",
        f"Content-Length: {5 * MIB}",
    ]
    with room, socket.create_connection((client.base_url.host, client.base_url.port or 80)) as raw:
        raw.settimeout(20)
        raw.sendall("\r\n".join([*lines, "", ""]).encode())  # and no byte of the body
        assert raw.recv(4096).startswith(b"HTTP/1.1 503")


def test_while_a_body_comes_its_room_is_held(
    small: tuple[FastAPI, httpx.Client], register: Register
) -> None:
    app, client = small
    register()
    seen = []

    def body() -> Iterator[bytes]:
        picture = green(64, 64)
        yield picture[:50]
        deadline = time.monotonic() + WAIT
        while inference_of(app).load.free == 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        seen.append((inference_of(app).load.free, inference_of(app).memory.free))
        yield picture[50:]

    length = {"Content-Type": "image/png", "Content-Length": str(len(green(64, 64)))}
    assert client.post("/segment", content=body(), headers=length).status_code == 200
    assert seen == [(3, SERVE_BYTES - len(green(64, 64)))]


def test_a_body_without_length_takes_what_it_may_have(
    small: tuple[FastAPI, httpx.Client], register: Register
) -> None:
    _, client = small
    register()
    answer = client.post(
        "/segment", content=iter([green(64, 64)]), headers={"Content-Type": "image/png"}
    )
    assert answer.status_code == 413  # 32 MiB are more than this service has
