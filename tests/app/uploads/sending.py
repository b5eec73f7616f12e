"""Sending in parts, for the tests: as any client would."""

import hashlib
import json
import random
import time
from typing import Any

import httpx
import pytest

from tests.app.tasks.posting import SPEC

DEADLINE_SECONDS = 60.0
PART = 4096
DATA = random.Random(0).randbytes(2 * PART + 100)
DIRECTORY = pytest.mark.parametrize("kind", ["directory"], indirect=True)
"""Where parts come through the service."""


def post(client: Any, upload: str, **headers: str) -> Any:
    """Make a task of an upload."""
    files = {"upload": (None, upload), "spec": (None, json.dumps(SPEC))}
    return client.post("/tasks", files=files, headers=headers)


def announce(client: Any, data: bytes, sha256: str | None = "", **headers: str) -> Any:
    """Post what is to come; a `sha256` of "" is the data's own, None is none."""
    known = hashlib.sha256(data).hexdigest() if sha256 == "" else sha256
    wish = {"bytes": len(data), "name": "pets.zip"} | ({"sha256": known} if known else {})
    return client.post("/uploads", json=wish, headers=headers)


def look(client: Any, upload: str, **headers: str) -> Any:
    """Ask where an upload stands."""
    answer = client.get(f"/uploads/{upload}/parts", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def put(client: Any, part: Any, body: bytes, **headers: str) -> Any:
    """Send a part where its `url` says."""
    if part["url"].startswith("/"):
        return client.put(part["url"], content=body, headers=part["headers"] | headers)
    return httpx.put(part["url"], content=body, headers=part["headers"], timeout=30)


def put_rightly(client: Any, part: Any, data: bytes, **headers: str) -> None:
    """Send what a part is to have."""
    body = data[part["offset"] : part["offset"] + part["bytes"]]
    answer = put(client, part, body, **headers)
    assert answer.status_code in (200, 204), answer.text


def complete(client: Any, upload: str, **headers: str) -> Any:
    """Have the parts put together, and wait until they are, or will not be."""
    answer = client.post(f"/uploads/{upload}:complete", headers=headers)
    assert answer.status_code == 202, answer.text
    return settled(client, upload, **headers)


def settled(client: Any, upload: str, **headers: str) -> Any:
    """Wait while parts are put together."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (told := look(client, upload, **headers))["state"] == "checking":
        assert time.monotonic() < deadline, "it is checked for ever"
        time.sleep(0.01)
    return told


def sent(client: Any, data: bytes, **headers: str) -> Any:
    """Send all of it."""
    told = announce(client, data, **headers).json()
    for part in told["missing"]:
        put_rightly(client, part, data, **headers)
    return complete(client, told["upload"], **headers)
