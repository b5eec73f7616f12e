"""Room, deadline and clients that leave: for every contract as for `/segment`."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from PIL import Image

from app.settings import MIB, Settings
from tests.app.inference.colour_graph import GREEN
from tests.app.segmentation.conftest import Register
from tests.app.segmentation.requests import encoded
from tests.app.segmentation.test_waiting import WAIT, busy, eventually, ready, started

SIDE = 64
GREY = bytes(3 * SIDE * SIDE)


def tensor(pixels: bytes, *shape: int) -> tuple[dict[str, str], bytes]:
    """Headers and body of a request for a mask."""
    image = {"name": "image", "datatype": "UINT8", "shape": shape}
    image["parameters"] = {"binary_data_size": len(pixels)}
    text = json.dumps({"inputs": [image]}).encode()
    return {"Inference-Header-Content-Length": str(len(text))}, text + pixels


CALLS = {
    "/v2/models/default/infer": tensor(GREY, 1, SIDE, SIDE, 3),
    "/hf/default": ({}, encoded(Image.new("RGB", (SIDE, SIDE), GREEN.colour))),
}


@pytest.fixture(params=sorted(CALLS))
def call(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, str], bytes]]:
    """Path, headers and body of a request that is right."""
    return (request.param, *CALLS[request.param])


Call = tuple[str, dict[str, str], bytes]


def status(client: httpx.Client, call: Call) -> int:
    path, headers, body = call
    return client.post(path, headers=headers, content=body).status_code


def test_beyond_its_places_the_service_says_come_back(
    settings: Settings, register: Register, call: Call
) -> None:
    register()
    with started(settings, serve_queue=2) as (inference, client):
        with inference.reserve(1):
            assert status(client, call) == 200
        with inference.reserve(2):
            path, headers, body = call
            refused = client.post(path, headers=headers, content=body)
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) >= 1
        two = tensor(2 * GREY, 2, SIDE, SIDE, 3)
        assert status(client, ("/v2/models/default/infer", *two)) == 200
        with inference.reserve(1):
            assert status(client, ("/v2/models/default/infer", *two)) == 503
        assert inference.load.free == 2


def test_nothing_is_read_without_room(settings: Settings, register: Register, call: Call) -> None:
    register()
    lines = [f"POST {call[0]} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {5 * MIB}"]
    with started(settings, serve_bytes=16 * MIB) as (inference, client):
        address = (client.base_url.host, client.base_url.port or 80)
        with inference.memory.hold(12 * MIB), socket.create_connection(address) as raw:
            raw.settimeout(WAIT)
            raw.sendall("\r\n".join([*lines, "", ""]).encode())  # and no byte of the body
            assert raw.recv(4096).startswith(b"HTTP/1.1 503")
        assert inference.memory.free == 16 * MIB


def test_pixels_are_counted(settings: Settings, register: Register) -> None:
    register()
    large = Image.new("RGB", (1400, 1000), GREEN.colour)
    calls = [
        ("/hf/default", {}, encoded(large)),
        ("/v2/models/default/infer", *tensor(large.tobytes(), 1000, 1400, 3)),
    ]
    with started(settings, serve_bytes=64 * MIB) as (_, client):
        assert [status(client, one) for one in calls] == [200, 200]
    with started(settings, serve_bytes=10 * MIB) as (inference, client):
        assert [status(client, one) for one in calls] == [413, 413]
        assert inference.memory.free == 10 * MIB
    with started(settings, max_pixels=1_399_999) as (_, client):
        assert [status(client, one) for one in calls] == [413, 413]
    with started(settings, max_picture_bytes=2048) as (_, client):
        assert status(client, calls[1]) == 413


def test_beyond_its_deadline_a_request_is_given_up(
    settings: Settings, register: Register, call: Call
) -> None:
    register()
    with started(settings, serve_deadline_seconds=3.0) as (inference, client):
        assert status(ready(client), call) == 200
        with busy(inference):
            assert status(client, call) == 503
            assert eventually(settings.serve_queue, inference)
        assert status(client, call) == 200


def test_what_waits_goes_with_its_client(
    settings: Settings, register: Register, call: Call
) -> None:
    register()
    path, headers, body = call
    with started(settings) as (inference, client):
        assert status(client, call) == 200
        before = inference.load.items

        def hang_up(_: int) -> None:
            with pytest.raises(httpx.TimeoutException):
                httpx.post(f"{client.base_url}{path}", headers=headers, content=body, timeout=2)

        with busy(inference):
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(hang_up, range(4)))
            assert eventually(settings.serve_queue, inference)
        assert status(client, call) == 200
        assert inference.load.items == before + 1  # of those who left, nothing was run
