"""The service is ready once its live versions are loaded."""

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.db import Version, write_session
from app.inference import loaded_graphs
from app.inference.exported_graph import Graph
from app.inference.loaded_graphs import Exported
from app.main import create_app
from app.registry.live import LiveVersions
from app.settings import Settings
from tests.app.segmentation.conftest import Register, register

__all__ = ["register"]

WAIT = 30


def started(settings: Settings, **changes: float) -> TestClient:
    app = create_app(settings.model_copy(update=changes))
    return TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000))


def ready(client: TestClient) -> httpx.Response:
    return client.get("/health/ready")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """No version is loaded before it opens."""
    made = threading.Event()

    class GatedGraph(Graph):
        def __init__(self, *given: Any) -> None:
            assert made.wait(WAIT)
            super().__init__(*given)

    monkeypatch.setattr(loaded_graphs, "Graph", GatedGraph)
    yield made
    made.set()


def test_what_is_loading_is_named(
    settings: Settings, register: Register, gate: threading.Event
) -> None:
    register()
    register(model="street")
    register(model="street", live=False)
    with started(settings) as client:
        answer = ready(client)
        assert answer.status_code == 503
        (error,) = answer.json()["errors"]
        assert (error["field"], error["message"]) == ("graphs", "loading default 1, street 1")
        gate.set()
        for _ in range(WAIT):  # a look takes a second while something is loading
            if ready(client).status_code == 200:
                break
        assert ready(client).json()["status"] == "ok"


def test_it_is_waited_for_a_bounded_time(
    settings: Settings, register: Register, gate: threading.Event
) -> None:
    register()
    with started(settings, serve_warm_up_seconds=0.0) as client:
        assert ready(client).status_code == 200
        gate.set()


def test_a_version_that_cannot_be_loaded_does_not_keep_the_others(
    settings: Settings, register: Register
) -> None:
    register()
    for blob in settings.blob_dir.rglob("*"):
        if blob.is_file():
            blob.unlink()
    register(model="street")
    with started(settings) as client:
        for _ in range(WAIT):
            if ready(client).status_code == 200:
                break
        assert ready(client).status_code == 200


def test_a_version_whose_record_names_no_graph_is_told(
    settings: Settings, register: Register, engine: Engine
) -> None:
    register()
    with write_session(engine) as session:
        version = session.scalars(select(Version)).one()
        version.files = {"config.json": version.files["config.json"]}
    with started(settings) as client:
        answer = ready(client)
        assert answer.status_code == 503
        (error,) = answer.json()["errors"]
        assert error["message"] == "default 1 cannot be served: it has no file model.onnx"
        register()
        client.app.state.services.live.refresh()
        assert ready(client).status_code == 200


def test_a_version_that_was_replaced_is_freed(
    settings: Settings, register: Register, engine: Engine
) -> None:
    def live() -> Exported:
        known = LiveVersions(engine, seconds=1)
        return Exported.of(known.find("default"))

    register()
    with started(settings, serve_graph_bytes=0) as client:
        assert ready(client).status_code == 200
        app = client.app
        assert isinstance(app, FastAPI)
        loaded = app.state.services.inference.graphs
        replaced = weakref.ref(loaded.live(live()).load.result(WAIT).graph)
        register()
        loaded.live(live()).load.result(WAIT)
        loaded.live(live())  # from here on nobody is answered by the first one
        loaded.pinned(live())  # whoever asks next has what finds no room forgotten
        gc.collect()
        assert replaced() is None
