"""Predictions that nobody waits for any more, and services that are busy or end."""

import socket
import threading
from typing import Any

import httpx
from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.app.integrations.label_studio.asking import BASE, body
from tests.app.segmentation.conftest import Register
from tests.app.segmentation.requests import encoded, eventually, left_red_right_green
from tests.fixtures.label_studio import FakeLabelStudio

PICTURE = encoded(left_red_right_green())


def test_a_client_that_leaves_is_worked_for_no_longer(
    service: FastAPI, served: httpx.Client, fake: FakeLabelStudio, register: Register
) -> None:
    register()
    fake.files["/data/a.png"] = PICTURE
    fake.hold = threading.Event()
    inference = service.state.services.inference
    free = inference.load.free
    request = served.build_request("POST", f"{BASE}/predict", json=body(["/data/a.png"] * 50))
    answer = served.send(request, stream=True)
    pieces = answer.iter_raw()  # kept: without it the connection is closed
    assert next(pieces).startswith(b'{"model_version":"default@1"')
    assert not eventually_not(free, inference)
    answer.close()
    assert eventually(free, inference)
    fake.hold.set()
    assert inference.memory.free == inference.memory.total
    assert len(fake.paths) < 50


def eventually_not(free: int, inference: Any) -> bool:
    """Wait until places are taken; returns whether all are free all the same."""
    for _ in range(1000):
        if inference.load.free != free:
            return False
        threading.Event().wait(0.02)
    return True


def test_a_full_house_is_waited_for(
    client: TestClient, fake: FakeLabelStudio, register: Register
) -> None:
    register()
    fake.files["/data/a.png"] = PICTURE
    inference = client.app.state.services.inference  # type: ignore[attr-defined]
    with inference.reserve(inference.load.free):
        timer = threading.Timer(0.5, lambda: None)
        held = inference.memory.hold(inference.memory.free)
        held.__enter__()
        timer.start()
        answers: list[Any] = []
        asking = threading.Thread(
            target=lambda: answers.append(
                client.post(f"{BASE}/predict", json=body(["/data/a.png"])).json()
            )
        )
        asking.start()
        timer.join()
        assert not answers
        held.__exit__(None, None, None)
    asking.join(60)
    assert answers[0]["results"][0]["result"]


def test_what_has_not_begun_when_the_service_ends_is_for_the_next_time(
    client: TestClient, fake: FakeLabelStudio, register: Register
) -> None:
    register()
    fake.files["/data/a.png"] = PICTURE
    client.app.state.draining.begun = True  # type: ignore[attr-defined]
    answer = client.post(f"{BASE}/predict", json=body(["/data/a.png"] * 3)).json()
    assert answer["results"] == [[], [], []]


def test_a_body_that_breaks_off_is_no_request(
    service: FastAPI, served: httpx.Client, register: Register
) -> None:
    register()
    port = served.base_url.port
    head = f"POST {BASE}/predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 5000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode() + b'{"tasks": [')
    assert served.post(f"{BASE}/predict", json=body([])).status_code == 200
    assert not list(service.state.services.settings.incoming_dir.iterdir())
