"""Pictures and requests for `/segment`."""

import time
from io import BytesIO
from typing import Any

import httpx
import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from app.inference.engine import Inference
from tests.app.inference.colour_graph import GREEN, RED

WAIT = 30
MASK = {"Accept": "image/png"}
OVERLAY = {"Accept": "image/png; profile=overlay"}


def eventually(free: int, inference: Inference) -> bool:
    """Wait until so many places are free: they come back once an answer is out."""
    deadline = time.monotonic() + WAIT
    while inference.load.free != free and time.monotonic() < deadline:
        time.sleep(0.02)
    return inference.load.free == free


def left_red_right_green(width: int = 64, height: int = 32) -> Image.Image:
    image = Image.new("RGB", (width, height), RED.colour)
    image.paste(GREEN.colour, (width // 2, 0, width, height))
    return image


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def mask_of(
    client: TestClient | httpx.Client, data: bytes, kind: str = "image/png"
) -> np.ndarray[Any, Any]:
    answer = client.post("/segment", content=data, headers=MASK | {"Content-Type": kind})
    assert answer.status_code == 200, answer.text
    return np.array(Image.open(BytesIO(answer.content)))


def until_version(client: TestClient | httpx.Client, number: int) -> None:
    """Wait until a version that another process has made live answers."""
    deadline = time.monotonic() + WAIT
    while True:
        answer = client.post("/segment", **as_body(encoded(left_red_right_green())))
        if answer.headers.get("X-Sats-Version") == str(number):
            return
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.02)


def as_body(data: bytes) -> dict[str, Any]:
    return {"content": data, "headers": {"Content-Type": "image/png"}}


def as_files(*pictures: bytes) -> dict[str, Any]:
    return {"files": [("pictures", (f"{i}.png", data)) for i, data in enumerate(pictures)]}
