"""`spec` as a file of its own."""

import json
from typing import Any

from app.http.multipart import SPEC_BYTES
from tests.app.tasks.posting import SPEC


def _post(client: Any, pets: Any, spec: bytes) -> Any:
    files = {"dataset": ("data.zip", pets.read_bytes()), "spec": ("spec.json", spec)}
    return client.post("/tasks", files=files)


def test_a_spec_that_is_a_file_is_read(client: Any, pets: Any) -> None:
    assert _post(client, pets, json.dumps(SPEC).encode()).status_code == 202


def test_a_spec_that_is_a_file_is_bounded(client: Any, pets: Any) -> None:
    spec = json.dumps(SPEC).encode()
    longest = spec + b" " * (SPEC_BYTES - len(spec))
    assert _post(client, pets, longest).status_code == 202
    answer = _post(client, pets, longest + b" ")
    assert answer.status_code == 413
    assert answer.json()["errors"][0]["field"] == "spec"
