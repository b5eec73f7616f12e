from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.db import write_session
from app.models.service import find_model, promote, rollback
from app.settings import Settings
from app.storage import BlobStore
from tests.app.inference.colour_graph import CLASSES
from tests.app.segmentation.conftest import Register
from tests.app.segmentation.requests import as_files, encoded, left_red_right_green


def test_without_a_version(client: TestClient, register: Register) -> None:
    picture = as_files(encoded(left_red_right_green()))
    answer = client.post("/segment", **picture)
    assert answer.status_code == 404
    assert "POST /tasks" in answer.json()["detail"]
    register(live=False)
    answer = client.post("/segment", **picture)
    assert answer.status_code == 409
    assert answer.json()["type"].endswith("no-live-version")


def test_a_version_by_its_number_held_or_not(client: TestClient, register: Register) -> None:
    register(CLASSES[:2])
    register(live=False)
    picture = as_files(encoded(left_red_right_green()))
    live = client.post("/segment", **picture)
    assert live.headers["X-Sats-Version"] == "1"
    assert "green" not in live.text
    held = client.post("/segment", params={"version": 2}, **picture)
    assert held.headers["X-Sats-Version"] == "2"
    assert "green" in held.text
    assert client.post("/segment", params={"version": 3}, **picture).status_code == 404


@pytest.mark.parametrize(
    "params",
    [{"version": 0}, {"version": 2**31}, {"version": "x"}, {"model": "NO"}, {"model": "a\0b"}],
)
def test_wrong_parameters(params: dict[str, Any], client: TestClient, register: Register) -> None:
    register()
    answer = client.post("/segment", params=params, **as_files(encoded(left_red_right_green())))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"]


def test_models_are_told_apart(client: TestClient, register: Register) -> None:
    register(CLASSES[:2])
    register(model="other")
    picture = as_files(encoded(left_red_right_green()))
    answer = client.post("/segment", params={"model": "other"}, **picture)
    assert answer.headers["X-Sats-Model"] == answer.json()["model"] == "other"
    assert "green" in answer.text
    assert "green" not in client.post("/segment", **picture).text


def test_who_asks_after_a_move_gets_the_new_version(
    client: TestClient, register: Register, engine: Engine
) -> None:
    picture = as_files(encoded(left_red_right_green()))
    register()
    assert client.post("/segment", **picture).json()["version"] == 1
    register()
    assert client.post("/segment", **picture).json()["version"] == 2
    for move, expected in ((rollback, 2), (promote, 2)):
        with write_session(engine) as session:
            model = find_model(session, "default")
            assert model is not None
            move(session, model, expected, "test")
        wanted = 1 if move is rollback else 2
        assert client.post("/segment", **picture).json()["version"] == wanted


def test_a_damaged_version_is_not_served(
    client: TestClient, register: Register, blobs: BlobStore, settings: Settings
) -> None:
    picture = as_files(encoded(left_red_right_green()))
    register()
    for path in settings.blob_dir.glob("??/*"):
        path.write_bytes(b"damaged")
    answer = client.post("/segment", **picture)
    assert answer.status_code == 503
    assert answer.json()["type"].endswith("not-ready")


def test_a_damaged_new_version_leaves_the_old_one_answering(
    client: TestClient, register: Register, settings: Settings
) -> None:
    picture = as_files(encoded(left_red_right_green()))
    register(CLASSES[:3])
    assert client.post("/segment", **picture).json()["version"] == 1
    before = set(settings.blob_dir.glob("??/*"))
    register()
    for path in set(settings.blob_dir.glob("??/*")) - before:
        path.write_bytes(b"damaged")
    for _ in range(3):
        assert client.post("/segment", **picture).json()["version"] == 1
    assert client.post("/segment", params={"version": 2}, **picture).status_code == 503
