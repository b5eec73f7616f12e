"""What is counted of real requests, as `/metrics` tells it."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.inference.exported_graph import Graph
from app.inference.measures import REASONS, STAGES
from app.main import create_app
from app.settings import Settings
from tests.app.segmentation.conftest import Register, register
from tests.app.segmentation.requests import as_files, encoded, left_red_right_green
from tests.fixtures.collector import collecting, spans
from tests.fixtures.samples import Samples, samples

__all__ = ["register"]

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

WAIT = 30
PICTURE = encoded(left_red_right_green())


@contextmanager
def started(settings: Settings, **changes: Any) -> Iterator[TestClient]:
    app = create_app(settings.model_copy(update=changes))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        yield client


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """No run ends before it opens."""
    opened = threading.Event()
    run = Graph.run

    def wait(self: Graph, views: Sequence[Any], **how: Any) -> Any:
        assert opened.wait(WAIT)
        return run(self, views, **how)

    monkeypatch.setattr(Graph, "run", wait)
    yield opened
    opened.set()


def of(read: Samples, name: str, version: int = 1, **labels: str) -> float:
    named = {"model": "default", "version": str(version)} | labels
    return read[f"sats_inference_{name}", *sorted(named.items())]


def failures(read: Samples) -> dict[str, float]:
    """What was not answered by the first version, by reason."""
    counted = {reason: of(read, "request_failure_total", reason=reason) for reason in REASONS}
    return {reason: value for reason, value in counted.items() if value}


def versions(read: Samples) -> set[str]:
    """Versions that anything is told of."""
    return {
        dict(labels)["version"]
        for name, *labels in read
        if name == "sats_inference_request_success_total"
    }


def test_what_is_answered_is_counted_with_the_seconds_of_its_stages(
    settings: Settings, register: Register
) -> None:
    register()
    with started(settings) as client:
        assert client.post("/segment", **as_files(*[PICTURE] * 3)).status_code == 200
        read = samples(client)
    assert of(read, "request_success_total") == of(read, "count_total") == 3
    assert 1 <= of(read, "exec_count_total") <= 3
    assert failures(read) == {}
    for stage in STAGES:
        assert of(read, f"{stage}_seconds_count") == 3
        assert of(read, f"{stage}_seconds_sum") > 0
    assert read["sats_inference_pending_pictures",] == 0


def test_how_its_graph_is_run_is_told(settings: Settings, register: Register) -> None:
    register()
    with started(settings, serve_threads=3, serve_lone_threads=2, serve_batch=4) as client:
        client.post("/segment", **as_files(PICTURE))
        read = samples(client)
    assert read["sats_inference_lanes",] == 3
    assert (of(read, "plan_lone_threads"), of(read, "plan_batch")) == (2, 4)


def test_a_version_that_is_named_is_counted_for_itself(
    settings: Settings, register: Register
) -> None:
    register()
    register(live=False)
    with started(settings) as client:
        client.post("/segment", **as_files(PICTURE))
        client.post("/segment?version=2", **as_files(PICTURE, PICTURE))
        read = samples(client)
    assert [of(read, "request_success_total", version) for version in (1, 2)] == [1, 2]


def test_what_a_client_makes_up_is_told_of_nowhere(settings: Settings, register: Register) -> None:
    register()
    with started(settings) as client:
        for query in ("version=7", "model=nobody", "version=999999", "model=nobody&version=1"):
            assert client.post(f"/segment?{query}", **as_files(PICTURE)).status_code == 404
        assert client.post("/segment", **as_files(PICTURE)).status_code == 200
        read = samples(client)
    assert versions(read) == {"1"}
    assert failures(read) == {}


def test_a_picture_that_cannot_be_used_is_a_failure(settings: Settings, register: Register) -> None:
    register()
    with started(settings) as client:
        assert client.post("/segment", **as_files(PICTURE[:60])).status_code == 422
        assert failures(samples(client)) == {"picture": 1}


def test_a_request_that_finds_no_room_is_a_failure(settings: Settings, register: Register) -> None:
    register()
    with started(settings, serve_queue=1) as client:
        inference = client.app.state.services.inference  # type: ignore[attr-defined]
        with inference.reserve(1):
            assert client.post("/segment", **as_files(PICTURE)).status_code == 503
        assert failures(samples(client)) == {"overloaded": 1}


def test_a_request_that_takes_too_long_is_a_failure(
    settings: Settings, register: Register, gate: threading.Event
) -> None:
    register()
    with started(settings, serve_deadline_seconds=0.2, serve_warm_up_seconds=0.0) as client:
        # The answer waits for what has begun on a lane: its memory is in use until then.
        threading.Timer(1.0, gate.set).start()
        assert client.post("/segment", **as_files(PICTURE)).status_code == 503
        assert failures(samples(client)) == {"deadline": 1}


def test_a_version_that_cannot_be_loaded_is_a_failure(
    settings: Settings, register: Register
) -> None:
    register()
    for blob in settings.blob_dir.rglob("*"):
        if blob.is_file():
            blob.unlink()
    with started(settings) as client:
        assert client.post("/segment", **as_files(PICTURE)).status_code == 503
        assert failures(samples(client)) == {"graph": 1}


def test_a_version_that_is_no_longer_loaded_is_told_of_once(
    settings: Settings, register: Register
) -> None:
    register()
    register(live=False)
    with started(settings, serve_graph_bytes=0) as client:
        assert client.post("/segment?version=2", **as_files(PICTURE)).status_code == 200
        # Whoever asks next has it forgotten.
        assert client.post("/segment", **as_files(PICTURE)).status_code == 200
        assert [versions(samples(client)) for _ in range(2)] == [{"1", "2"}, {"1"}]


def test_a_version_that_is_loaded_is_told_of_before_it_is_asked(
    settings: Settings, register: Register
) -> None:
    register()
    with started(settings) as client:
        while client.get("/health/ready").status_code != 200:  # it waits until it is loaded
            pass
        assert of(samples(client), "request_success_total") == 0


def test_the_stages_of_a_request_lie_below_its_span(
    settings: Settings, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    with collecting(monkeypatch) as receiver:
        with started(settings) as client:
            assert client.post("/segment", **as_files(PICTURE, PICTURE)).status_code == 200
        found = spans(receiver)
    (request,) = [span for span in found if span.name == "POST /segment"]
    stages = [span for span in found if span is not request]
    assert sorted(span.name for span in stages) == sorted([*STAGES, *STAGES])
    assert {(span.trace, span.parent) for span in stages} == {(request.trace, request.id)}
    assert all(span.attributes["sats.version"] == 1 for span in stages)
