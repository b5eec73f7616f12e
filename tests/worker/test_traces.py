"""Traces of tasks, as a real receiver gets them."""

import pytest

from app.db import Task, TaskState, write_session
from app.telemetry import tracing
from tests.fixtures.collector import collecting, spans
from tests.worker.bench import Bench, eventually
from worker.tracing import trace_task

TRACE, POSTED = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CONSUMER = 5


def posted_by(bench: Bench, task_id: str, traceparent: str) -> None:
    with write_session(bench.engine) as session:
        session.get_one(Task, task_id).traceparent = traceparent


def test_a_task_is_a_trace_of_its_phases(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting(monkeypatch, OTEL_BSP_SCHEDULE_DELAY="100") as receiver:
        task_id = bench.post(["cat"], model="pets")
        posted_by(bench, task_id, f"00-{TRACE}-{POSTED}-01")
        with bench.worker():
            bench.wake(task_id)
            # It is the last one: it ends when its phases have.
            eventually(lambda: "task" in [span.name for span in spans(receiver)])
        found = spans(receiver)
    task = next(span for span in found if span.name == "task")
    assert (task.service, task.kind, task.parent, task.failed) == (
        "sats-worker",
        CONSUMER,
        "",
        False,
    )
    assert task.links == [(TRACE, POSTED)]
    assert task.trace != TRACE
    assert task.attributes == {
        "sats.task.id": task_id,
        "sats.task.kind": "step",
        "sats.task.state": "live",
        "sats.model": "pets",
    }
    phases = [span for span in found if span.name != "task"]
    assert [span.name for span in phases] == ["queued", "validating", "training", "evaluating"]
    assert {(span.trace, span.parent) for span in phases} == {(task.trace, task.id)}
    assert (phases[0].began, phases[-1].ended) == (task.began, task.ended)


def test_a_task_that_failed_is_an_error_and_a_damaged_link_is_none(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.control.plan(fail="the data set has no pictures")
    with collecting(monkeypatch) as receiver:
        tracing.start("test")
        task_id = bench.post(["cat"])
        posted_by(bench, task_id, "nonsense")
        assert bench.supervisor().run(task_id) == TaskState.FAILED
        tracing.stop()
        (task,) = [span for span in spans(receiver) if span.name == "task"]
    assert task.failed
    assert task.links == []


def test_a_receiver_that_is_away_fails_no_task(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    tracing.start("test")
    try:
        assert bench.run(["cat"]).state == TaskState.LIVE
    finally:
        tracing.stop()


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_a_database_that_fails_costs_the_trace_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = bench.run(["cat"])
    with collecting(monkeypatch) as receiver:
        tracing.start("test")
        with bench.engine.execution_options(write=True).begin() as connection:
            connection.exec_driver_sql("ALTER TABLE task_events RENAME TO away")
        trace_task(bench.engine, task.id)
        tracing.stop()
        assert receiver.came == []
