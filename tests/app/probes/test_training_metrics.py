"""What Prometheus reads of the queue, of what runs and of what has ended."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.db import DeviceKind, Task, TaskEvent, TaskState, Worker, utc_now, write_session
from app.probes.training import ENDS
from app.registry.service import ensure_model
from app.settings import Settings
from app.workers.needs import Resources
from tests.fixtures.clocks import set_ahead
from tests.fixtures.samples import samples
from tests.fixtures.statements import Statements
from worker.claim import claim, enter, report
from worker.device import Device
from worker.presence import Presence

START = datetime(2026, 1, 1, tzinfo=UTC)
PROGRESS: dict[str, Any] = {"phase": "training", "epoch": 3, "epochs": 30, "step": 1, "steps": 9}


def posted(session: Session, model: str = "default", **values: Any) -> Task:
    row = {"spec": {}, "dataset": "0" * 64, "dataset_bytes": 1, "request_digest": ""} | values
    task = Task(model=ensure_model(session, model), **row)
    session.add(task)
    session.flush()
    return task


def ended(
    session: Session, model: str, state: TaskState, states: Sequence[tuple[int, str]]
) -> None:
    """A task that entered these states so many seconds after `START`."""
    finished = START + timedelta(seconds=states[-1][0])
    task = posted(session, model, state=state, started_at=START, finished_at=finished)
    for seconds, entered in states:
        at = START + timedelta(seconds=seconds)
        session.add(TaskEvent(task_id=task.id, kind="state", data={"state": entered}, at=at))
        session.flush()


def test_an_empty_service_tells_that_nothing_waits(client: TestClient) -> None:
    read = samples(client)
    assert read["sats_task_oldest_queued_seconds",] == 0
    assert read["sats_tasks", ("state", "queued")] == 0
    assert read["sats_database_up",] == 1
    assert not [name for name, *_ in read if name == "sats_task_running_seconds"]


def test_since_when_the_oldest_task_waits_is_told(client: TestClient, engine: Engine) -> None:
    with write_session(engine) as session:
        posted(session, created_at=utc_now() - timedelta(hours=3))
        posted(session, created_at=utc_now() - timedelta(hours=1))
    waited = samples(client)["sats_task_oldest_queued_seconds",]
    assert 3 * 3600 - 1 <= waited < 4 * 3600


def test_ages_are_told_by_the_database_s_clock(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, write_session(engine) as session:
        set_ahead(patch, timedelta(days=-2))  # the worker's
        assert claim(session, posted(session, "street").id, "worker-1", 60.0) is not None
        posted(session)
    with monkeypatch.context() as patch:
        set_ahead(patch, timedelta(days=1))  # this one's
        read = samples(client)
    assert read["sats_task_oldest_queued_seconds",] < 600
    assert read["sats_task_running_seconds", ("model", "street"), ("state", "validating")] < 600


def test_a_running_task_is_told_by_its_model(
    client: TestClient, engine: Engine, settings: Settings
) -> None:
    with write_session(engine) as session:
        task = posted(session, "street")
        # Its lease ends a second ago: it was not renewed for that second and a lease before it.
        held = claim(session, task.id, "worker-1", -1.0)
        assert held is not None
        enter(session, held, TaskState.TRAINING)
        report(session, held, PROGRESS, epoch_end=False)
    read = samples(client)
    model = ("model", "street")
    assert read["sats_task_epoch", model] == 3
    assert read["sats_task_epochs", model] == 30
    assert read["sats_task_tries", model] == 1
    assert read["sats_task_running_seconds", model, ("state", "training")] >= 0
    silent = read["sats_task_lease_age_seconds", model]
    assert settings.lease_seconds + 1 <= silent < settings.lease_seconds + 600


def test_who_is_there_and_who_is_missing_is_told(client: TestClient, engine: Engine) -> None:
    read = samples(client)
    assert {read["sats_workers", ("device", one)] for one in DeviceKind} == {0}
    assert {read["sats_tasks_unmet", ("device", one)] for one in ("any", *DeviceKind)} == {0}
    cpu = Device("A processor", 1, Resources(DeviceKind.CPU, 16_000))
    for name in ("host:1-a", "host:2-b"):
        Presence(engine, name, "1.2.3", cpu, 60.0).beat()
    with write_session(engine) as session:
        for device, memory in (("cuda", None), ("cuda", 1), ("any", 20_000), ("cpu", 16_000)):
            posted(session, spec={"device": device, "min_memory_mib": memory})
        posted(session)
        posted(session, "other", spec={"device": "cuda"}, state=TaskState.CANCELLED)
    read = samples(client)
    assert read["sats_workers", ("device", "cpu")] == 2
    assert read["sats_workers", ("device", "cuda")] == 0
    unmet = {one: read["sats_tasks_unmet", ("device", one)] for one in ("any", *DeviceKind)}
    assert unmet == {"any": 1, "cpu": 0, "cuda": 2}
    with write_session(engine) as session:
        session.execute(update(Worker).values(alive_until=1.0))
    read = samples(client)
    assert read["sats_workers", ("device", "cpu")] == 0
    unmet = {one: read["sats_tasks_unmet", ("device", one)] for one in ("any", *DeviceKind)}
    assert unmet == {"any": 2, "cpu": 1, "cuda": 2}, "nobody may take anything"


def test_a_lease_that_is_not_there_is_infinitely_old(client: TestClient, engine: Engine) -> None:
    with write_session(engine) as session:
        posted(session, "street", state=TaskState.TRAINING, lease_until=None)
    assert samples(client)["sats_task_lease_age_seconds", ("model", "street")] == inf


def test_the_phases_of_a_models_last_end_are_told_over_all_its_tries(
    client: TestClient, engine: Engine
) -> None:
    with write_session(engine) as session:
        ended(
            session, "street", TaskState.FAILED, [(0, "queued"), (1, "validating"), (2, "failed")]
        )
        tries = [(10, "queued"), (14, "validating"), (15, "training"), (20, "queued")]
        again = [(21, "validating"), (24, "training"), (54, "evaluating"), (61, "held")]
        ended(session, "street", TaskState.HELD, tries + again)
    read = samples(client)
    phases = {
        labels[1][1]: value
        for (name, *labels), value in read.items()
        if name.endswith("phase_seconds")
    }
    assert phases == {"queued": 5, "validating": 4, "training": 35, "evaluating": 7}
    at = "sats_task_ended_timestamp_seconds"
    model = ("model", "street")
    assert read[at, model, ("state", "failed")] == START.timestamp() + 2
    assert read[at, model, ("state", "held")] == START.timestamp() + 61


def test_a_task_that_is_tried_again_and_one_without_events_are_no_fault(
    client: TestClient, engine: Engine
) -> None:
    with write_session(engine) as session:
        posted(session, "old", state=TaskState.LIVE, finished_at=START)
        states = [
            (0, "queued"),
            (1, "validating"),
            (2, "failed"),
            (50, "queued"),
            (51, "cancelled"),
        ]
        ended(session, "street", TaskState.CANCELLED, states)
    read = samples(client)
    phase = ("phase", "queued")
    assert read["sats_task_phase_seconds", ("model", "street"), phase] == 2
    assert ("sats_task_phase_seconds", ("model", "old"), phase) not in read


def test_however_many_tasks_have_ended_a_scrape_asks_and_tells_the_same(
    client: TestClient, engine: Engine
) -> None:
    def asked() -> int:
        with Statements(client.app.state.services.engine) as sent:  # type: ignore[attr-defined]
            samples(client)
        return len([one for one in sent.seen if one[0].startswith("SELECT")])

    with write_session(engine) as session:
        ended(session, "first", TaskState.LIVE, [(0, "queued"), (1, "live")])
    few = asked()
    with write_session(engine) as session:
        for number in range(3 * ENDS):
            ended(
                session, f"model-{number}", TaskState.LIVE, [(number, "queued"), (number, "live")]
            )
    assert asked() == few <= 9
    told = {key for key in samples(client) if key[0] == "sats_task_ended_timestamp_seconds"}
    assert len(told) == ENDS
    last = ("model", f"model-{3 * ENDS - 1}")
    assert ("sats_task_ended_timestamp_seconds", last, ("state", "live")) in told


@pytest.mark.parametrize("path", ["/health/ready", "/v2/health/ready"])
def test_the_last_look_at_readiness_is_told(
    client: TestClient, settings: Settings, path: str
) -> None:
    assert not [name for name, *_ in samples(client) if name == "sats_ready"]
    client.get(path)
    read = samples(client)
    parts = ("database", "broker", "blobs", "graphs")
    assert [read["sats_ready", ("part", part)] for part in parts] == [1, 1, 1, 1]
    settings.blob_dir.rename(settings.blob_dir.with_name("away"))
    client.get(path)
    assert samples(client)["sats_ready", ("part", "blobs")] == 0


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_without_the_database_the_rest_is_told(client: TestClient, engine: Engine) -> None:
    client.app.state.services.inference.measures.ran("cat", 1, 2)  # type: ignore[attr-defined]
    database = Path(engine.url.database or "")
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()
    database.mkdir()
    # Last: a thread that asks all the time must not open the file again before it is gone.
    client.app.state.services.engine.dispose()  # type: ignore[attr-defined]
    engine.dispose()
    read = samples(client)
    assert read["sats_database_up",] == 0
    assert read["sats_inference_count_total", ("model", "cat"), ("version", "1")] == 2
    assert not [name for name, *_ in read if name in ("sats_tasks", "sats_live_version")]
