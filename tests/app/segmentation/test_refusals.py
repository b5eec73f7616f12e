import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from app.settings import Settings
from tests.app.segmentation.conftest import Register
from tests.app.segmentation.requests import (
    as_body,
    as_files,
    encoded,
    left_red_right_green,
)


def bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def test_a_picture_that_cannot_be_read_is_named(client: TestClient, register: Register) -> None:
    register()
    good = encoded(left_red_right_green())
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    truncated = encoded(Image.fromarray(noise), "JPEG")[:-500]
    answer = client.post("/segment", **as_files(good, b"not a picture", good, truncated, b""))
    assert answer.status_code == 422
    problem = answer.json()
    assert [error["file"] for error in problem["errors"]] == ["1.png", "3.png", "4.png"]
    assert "1.png" in problem["detail"]
    for data in (b"", b"hello", b"GIF89a" + good, truncated):
        assert client.post("/segment", **as_body(data)).status_code == 422


def test_too_many_pixels_bytes_and_pictures(
    client: TestClient, register: Register, settings: Settings
) -> None:
    register()
    answer = client.post("/segment", **as_files(bomb(50_000, 50_000)))
    assert answer.status_code == 413
    assert answer.json()["errors"][0]["file"] == "0.png"
    many = as_files(*[encoded(Image.new("RGB", (1, 1)))] * (settings.max_pictures + 1))
    answer = client.post("/segment", **many)
    assert answer.status_code == 413
    assert str(settings.max_pictures) in answer.json()["detail"]
    large = bytes(settings.max_picture_bytes + 1)
    assert client.post("/segment", **as_body(large)).status_code == 413
    assert client.post("/segment", **as_files(large)).status_code == 413
    assert client.post("/segment", **as_files(large[:-9], large[:-9])).status_code == 413


def test_a_body_that_does_not_say_its_length_is_cut_off(
    client: TestClient, register: Register, settings: Settings
) -> None:
    """By the application itself: a client would read a body whole before it sends any of it."""
    register()
    chunk = bytes(1024 * 1024)
    taken = 0
    answered: list[Any] = []

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += len(chunk)
        more = taken < 4 * settings.max_picture_bytes
        return {"type": "http.request", "body": chunk, "more_body": more}

    async def send(message: Any) -> None:
        answered.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/segment",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"image/png")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "http_version": "1.1",
    }
    assert client.portal is not None
    client.portal.call(client.app, scope, receive, send)
    assert answered[0]["status"] == 413
    assert taken <= settings.max_picture_bytes + 2 * len(chunk)


@pytest.mark.parametrize(
    ("request_", "status", "field"),
    [
        ({"json": {"pictures": []}}, 422, "pictures"),
        ({"content": b"x", "headers": {"Content-Type": "application/octet-stream"}}, 415, None),
        ({}, 415, None),
        ({"files": {"other": ("a.png", b"x")}}, 422, "other"),
        ({"files": {"pictures": (None, "text")}}, 422, "pictures"),
        ({"files": {"pictures": ("a.png", b"x"), "b\0d\n": (None, "y")}}, 422, None),
        (
            {
                "content": b"--x--\r\n",
                "headers": {"Content-Type": "multipart/form-data; boundary=x"},
            },
            422,
            "pictures",
        ),
        ({"content": b"junk", "headers": {"Content-Type": "multipart/form-data"}}, 400, None),
    ],
)
def test_bodies_that_hold_no_pictures(
    request_: dict[str, Any],
    status: int,
    field: str | None,
    client: TestClient,
    register: Register,
) -> None:
    register()
    answer = client.post("/segment", **request_)
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    if field:
        assert answer.json()["errors"][0]["field"] == field


def test_hostile_file_names_are_only_text(client: TestClient, register: Register) -> None:
    register()
    data = encoded(left_red_right_green())
    for name in ("../../etc/passwd", "a" * 1000, "<script>.png", "\u202e\u0000é.png"):
        answer = client.post("/segment", files=[("pictures", (name, data))])
        assert answer.status_code == 200, name
        assert len(answer.json()["pictures"][0]["name"]) <= 200
