"""Traces as a real receiver of OTLP over HTTP gets them."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.db import Task, read_session
from app.inference.measures import Measures, Stages
from app.main import create_app
from app.settings import Settings
from app.telemetry import tracing
from tests.app.tasks.posting import drawn, post
from tests.fixtures.collector import collecting, spans
from tests.fixtures.receivers import Receiver

ROOT = Path(__file__).parents[3]
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
SERVER, CONSUMER = 2, 5
STAGES = Stages(queue=0.2, input=0.1, infer=0.3, output=0.4)
UNREACHABLE = "http://127.0.0.1:9"

embedded = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with collecting(monkeypatch) as made:
        yield made


def started(settings: Settings) -> TestClient:
    app = create_app(settings)
    return TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000))


@embedded
def test_a_request_is_a_span_under_its_callers(settings: Settings, receiver: Receiver) -> None:
    with started(settings) as client:
        client.get("/tasks/7", headers=TRACEPARENT | {"Request-Id": "r-1"})
        client.get("/tasks")
        for quiet in ("/metrics", "/health/live", "/health/ready", "/v2/health/live"):
            client.get(quiet)
    under, alone = spans(receiver)
    assert (under.name, under.kind, under.service) == ("GET /tasks/{task_id}", SERVER, "sats-api")
    assert (under.trace, under.parent) == (TRACE, CALLER)
    assert under.attributes["http.response.status_code"] in (404, 422)
    assert under.attributes["http.route"] == "/tasks/{task_id}"
    assert under.attributes["url.path"] == "/tasks/7"
    assert under.attributes["sats.request.id"] == "r-1"
    assert (alone.name, alone.parent) == ("GET /tasks", "")
    assert alone.trace != TRACE
    assert alone.began < alone.ended


@embedded
@pytest.mark.parametrize("given", ["", "nonsense", f"00-{'0' * 32}-{CALLER}-01", "ff-1-2-3"])
def test_a_caller_that_names_no_trace_gets_a_new_one(
    settings: Settings, receiver: Receiver, given: str
) -> None:
    with started(settings) as client:
        assert client.get("/tasks", headers={"traceparent": given}).status_code == 200
    (span,) = spans(receiver)
    assert span.parent == ""


@embedded
def test_a_caller_may_ask_not_to_be_traced(settings: Settings, receiver: Receiver) -> None:
    with started(settings) as client:
        client.get("/tasks", headers={"traceparent": f"00-{TRACE}-{CALLER}-00"})
    assert spans(receiver) == []


@embedded
def test_what_is_the_services_fault_is_an_error(
    settings: Settings, receiver: Receiver, engine: Engine
) -> None:
    database = Path(engine.url.database or "")
    with started(settings) as client:
        assert client.post("/segment").status_code == 404  # nothing is live
        client.app.state.services.engine.dispose()  # type: ignore[attr-defined]
        engine.dispose()
        for file in database.parent.glob(f"{database.name}*"):
            file.unlink()
        database.mkdir()
        assert client.get("/tasks").status_code == 503
    theirs, ours = spans(receiver)
    assert (theirs.failed, ours.failed) == (False, True)
    assert ours.attributes["http.response.status_code"] == 503


@embedded
def test_the_stages_of_an_answer_are_spans_in_its_request(
    settings: Settings, receiver: Receiver
) -> None:
    measures = Measures()
    with started(settings):
        measures.answered("cat", 3, STAGES)  # of no request
        on = tracing.current()
        assert on is not None
        with on.request({}, {"http.request.method": "POST"}):
            measures.answered("cat", 3, STAGES, pictures=2)
    found = spans(receiver)
    request = next(span for span in found if span.kind == SERVER)
    stages = [span for span in found if span.kind != SERVER]
    assert [span.name for span in stages] == ["queue", "input", "infer", "output"]
    assert {span.parent for span in stages} == {request.id}
    assert stages[0].attributes == {"sats.model": "cat", "sats.version": 3, "sats.pictures": 2}
    seconds = [round((span.ended - span.began) / 1e9, 3) for span in stages]
    assert seconds == [0.2, 0.1, 0.3, 0.4]  # it waits before it is read
    assert [span.began for span in stages[1:]] == [span.ended for span in stages[:-1]]


@embedded
def test_variables_name_the_service(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting(monkeypatch, OTEL_SERVICE_NAME="masks") as receiver:
        with started(settings) as client:
            client.get("/tasks")
        assert [span.service for span in spans(receiver)] == ["masks"]


def test_a_posted_task_knows_the_request_that_posted_it(
    settings: Settings, receiver: Receiver, engine: Engine, tmp_path: Path
) -> None:
    with started(settings) as client:
        assert post(client, drawn(tmp_path, "cat"), **TRACEPARENT).status_code == 202
    (span,) = spans(receiver)
    with read_session(engine) as session:
        assert session.scalars(select(Task.traceparent)).all() == [f"00-{TRACE}-{span.id}-01"]


@embedded
def test_a_receiver_that_is_away_fails_no_request(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", UNREACHABLE)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    with started(settings) as client:
        assert {client.get("/tasks").status_code for _ in range(30)} == {200}


@embedded
def test_a_receiver_that_never_answers_is_waited_for_by_nobody(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only our own bound can end the wait: the exporter would take an hour.
    patient = {"OTEL_EXPORTER_OTLP_TIMEOUT": "3600", "OTEL_BSP_SCHEDULE_DELAY": "10"}
    with collecting(monkeypatch, **patient) as receiver:
        receiver.hold = threading.Event()
        with started(settings) as client:
            client.get("/tasks")
            assert receiver.arrived.acquire(timeout=60)
            assert {client.get("/tasks").status_code for _ in range(20)} == {200}
        assert tracing.current() is None


@embedded
@pytest.mark.parametrize(
    "off",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_what_switches_it_off(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, off: dict[str, str]
) -> None:
    with collecting(monkeypatch, **off) as receiver:
        with started(settings) as client:
            assert tracing.current() is None
            assert client.get("/tasks", headers=TRACEPARENT).status_code == 200
        assert receiver.came == []


def ran(code: str, **variables: str) -> str:
    """Run code in a process of its own; return what it prints and logs."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")} | variables
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_without_the_variables_nothing_is_imported() -> None:
    code = (
        "import sys, app.main, worker.factory; from app.telemetry import tracing;"
        "tracing.start('x');"
        # Others use its API.
        "ours = ('opentelemetry.sdk', 'opentelemetry.exporter', 'app.telemetry.otel');"
        "print([name for name in sys.modules if name.startswith(ours)])"
    )
    assert ran(code).strip() == "[]"


def test_without_the_packages_the_log_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None; from app.telemetry import tracing;"
        "tracing.start('x'); print(tracing.current())"
    )
    said = ran(code, OTEL_EXPORTER_OTLP_ENDPOINT=UNREACHABLE)
    assert "None" in said
    assert "opentelemetry is missing" in said
    assert "pip install -e '.[otel]'" in said
