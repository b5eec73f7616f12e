from typing import Any

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.db import Version, write_session
from app.keys import cache
from app.main import create_app
from app.registry.moves import promote, rollback
from app.registry.service import find_model
from app.settings import Settings
from app.storage import BlobStore
from tests.app.inference.colour_graph import CLASSES
from tests.app.segmentation.conftest import Register
from tests.app.segmentation.requests import (
    as_files,
    encoded,
    left_red_right_green,
    until_version,
)
from tests.fixtures.statements import Statements


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


def test_what_another_process_moves_is_seen(
    client: TestClient, register: Register, engine: Engine
) -> None:
    for number in (1, 2):
        register()
        until_version(client, number)
    for move, wanted in ((rollback, 1), (promote, 2)):
        with write_session(engine) as session:
            model = find_model(session, "default")
            assert model is not None
            move(session, model, 2)
        until_version(client, wanted)


def test_who_asks_after_a_move_through_this_process_gets_the_new_version(
    settings: Settings, register: Register
) -> None:
    picture = as_files(encoded(left_red_right_green()))
    register()
    register()
    app = create_app(settings.model_copy(update={"live_poll_seconds": 60.0}))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        assert client.post("/segment", **picture).json()["version"] == 2
        for move, wanted in (("rollback", 1), ("promote", 2)):
            moved = client.post(f"/admin/models/default/versions/2:{move}")
            assert moved.status_code == 200
            assert client.post("/segment", **picture).json()["version"] == wanted
            assert client.get("/classes").json()["version"] == wanted


def test_a_lone_request_asks_the_database_nothing(
    settings: Settings, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "KEYLESS_SECONDS", 60.0)
    picture = as_files(encoded(left_red_right_green()))
    register()
    patient = {"live_poll_seconds": 60.0, "key_cache_seconds": 60.0}
    app = create_app(settings.model_copy(update=patient))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        for params in ({}, {"version": 1}):
            assert client.post("/segment", params=params, **picture).status_code == 200
            with Statements(app.state.services.engine) as sent:
                assert client.post("/segment", params=params, **picture).status_code == 200
            assert not sent.seen


def test_a_version_whose_record_names_no_graph_is_not_served(
    client: TestClient, register: Register, engine: Engine
) -> None:
    picture = as_files(encoded(left_red_right_green()))
    register()
    with write_session(engine) as session:
        version = session.scalars(select(Version)).one()
        version.files = {"config.json": version.files["config.json"]}
    answer = client.post("/segment", **picture)
    assert answer.status_code == 503
    assert "model.onnx" in answer.json()["detail"]


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
    client.app.state.services.live.refresh()
    for _ in range(3):
        assert client.post("/segment", **picture).json()["version"] == 1
    assert client.post("/segment", params={"version": 2}, **picture).status_code == 503
