"""Deliveries: taken once at a time, tried again, at least once whatever is lost."""

import json
import threading
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.db import (
    DeliveryState,
    TaskState,
    WebhookDelivery,
    database_now,
    read_session,
    utc_now,
    write_session,
)
from app.keys.secret import read_secret
from app.webhooks.outbox import WebhookEvent, enqueue
from app.webhooks.schemas import WebhookSpec
from app.webhooks.sending import Answer
from app.webhooks.service import create_webhook
from tests.fixtures.clocks import set_ahead
from tests.fixtures.receivers import receiving
from tests.worker.bench import eventually
from worker import courier
from worker.courier import Courier, record, take, wait_after

WAITING, DELIVERED, FAILED = DeliveryState


@pytest.fixture
def receiver():
    with receiving() as running:
        yield running


def hook(engine, url):
    with write_session(engine) as session:
        spec = WebhookSpec(url=url, events=list(WebhookEvent))
        return create_webhook(session, spec, private=True).id


def tell(engine, count=1):
    with write_session(engine) as session:
        for number in range(count):
            enqueue(session, WebhookEvent.TASK_ENDED, "default", {"number": number})


def rows(engine):
    with read_session(engine) as session:
        return list(session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.created_at)))


def change(engine, **values):
    with write_session(engine) as session:
        session.execute(update(WebhookDelivery).values(values))


def a_courier(bench):
    return Courier(bench.engine, read_secret(bench.settings), private=True)


def test_what_is_not_answered_with_2xx_is_sent_again_later(bench, receiver):
    hook(bench.engine, receiver.url)
    tell(bench.engine)
    receiver.answers += [500, 302]
    made = a_courier(bench)
    for attempt, status in ((1, 500), (2, 302)):
        made.deliver(made.next())
        (row,) = rows(bench.engine)
        assert (row.state, row.attempts, row.status) == (WAITING, attempt, status)
        assert made.next() is None, "not yet"
        change(bench.engine, due_at=0.0)
    made.deliver(made.next())
    (row,) = rows(bench.engine)
    assert (row.state, row.status, row.error) == (DELIVERED, 204, None)
    assert row.ended_at is not None
    assert made.next() is None
    assert {headers["webhook-id"] for _, headers, _ in receiver.came} == {row.id}
    assert len(receiver.came) == 3


@pytest.mark.parametrize(
    ("stored", "sent"),
    [
        (
            {"event": "task.ended", "task": "t", "state": "held", "version": 3},
            {"type": "task.ended", "task": "t"}
            | {
                "data": {"state": "succeeded", "phase": None, "outcome": "held"}
                | {"version": 3, "error": None}
            },
        ),
        (
            {"event": "version.held", "task": "t", "version": 3},
            {"type": "version.held", "task": "t", "data": {"version": 3}},
        ),
        (
            {"event": "version.rolled_back", "version": 3, "live": 2, "by": "eva"},
            {"type": "version.rolled_back", "task": None}
            | {"data": {"version": 3, "live": 2, "by": {"type": "key", "name": "eva"}}},
        ),
        (
            {"event": "version.promoted", "version": 3, "by": "gate"},
            {"type": "version.promoted", "task": None}
            | {"data": {"version": 3, "by": {"type": "worker", "name": ""}}},
        ),
    ],
)
def test_what_an_older_version_left_to_deliver_is_sent_in_the_envelope(
    bench, receiver, stored, sent
):
    hook(bench.engine, receiver.url)
    tell(bench.engine)
    said = {"id": rows(bench.engine)[0].id, "at": "2026-11-22T06:04:23.197428Z", "model": "m"}
    change(bench.engine, payload=said | stored)
    made = a_courier(bench)
    made.deliver(made.next())
    ((_, _, body),) = receiver.came
    assert json.loads(body) == said | sent


def test_waits_grow_and_have_an_end(bench, receiver):
    waits = [wait_after(attempt) for attempt in range(1, courier.MOST_ATTEMPTS)]
    assert waits[:4] == [5, 10, 20, 40]
    assert waits[-1] == max(waits) == 3600
    hook(bench.engine, receiver.url)
    tell(bench.engine)
    receiver.answers += [500]
    change(bench.engine, attempts=courier.MOST_ATTEMPTS - 1)
    made = a_courier(bench)
    made.deliver(made.next())
    (row,) = rows(bench.engine)
    assert (row.state, row.attempts) == (FAILED, courier.MOST_ATTEMPTS)
    assert made.next() is None


@pytest.mark.parametrize("ahead", ["due_at", "lease_until"])
def test_what_was_put_off_before_the_clock_was_set_back_is_sent(bench, receiver, ahead):
    hook(bench.engine, receiver.url)
    tell(bench.engine)
    made = a_courier(bench)
    soon = database_now() + courier.LONGEST_WAIT_SECONDS * (ahead == "due_at") + 50
    change(bench.engine, **{ahead: soon})
    assert made.next() is None
    change(bench.engine, **{ahead: database_now() + 365 * 86400})
    assert made.next() is not None


def test_two_workers_never_hold_the_same_delivery(bench, receiver):
    for _ in range(6):
        hook(bench.engine, receiver.url)
    tell(bench.engine)
    start, taken = threading.Barrier(3), []

    def work() -> None:
        made = a_courier(bench)
        start.wait(30)
        while (parcel := made.next()) is not None:
            taken.append(parcel.id)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(taken) == sorted(row.id for row in rows(bench.engine))


def test_a_row_that_another_worker_is_about_to_take_is_passed_over(bench, receiver):
    """On Postgres, where two can be at it at once: neither waits for the other."""
    if bench.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    for _ in range(2):
        hook(bench.engine, receiver.url)
    tell(bench.engine)
    with Session(bench.engine) as first, Session(bench.engine) as second:
        one, other = take(first), take(second)
        assert one is not None
        assert other is not None
        assert one.id != other.id
        with Session(bench.engine) as third:
            assert take(third) is None


def test_one_webhook_has_one_attempt_at_a_time(bench, receiver):
    hook(bench.engine, receiver.url)
    tell(bench.engine, 2)
    made = a_courier(bench)
    first = made.next()
    assert made.next() is None
    made.deliver(first)
    assert made.next().id != first.id


def test_a_delivery_whose_worker_was_lost_is_made_again_and_the_late_one_writes_nothing(
    bench, receiver
):
    hook(bench.engine, receiver.url)
    tell(bench.engine)
    made = a_courier(bench)
    lost = made.next()
    assert made.next() is None, "it is leased"
    change(bench.engine, lease_until=0.0)
    again = made.next()
    assert (again.id, again.attempt) == (lost.id, 2)
    with write_session(bench.engine) as session:
        assert not record(session, lost, Answer(500, "late"))
    made.deliver(again)
    (row,) = rows(bench.engine)
    assert (row.state, row.error) == (DELIVERED, None)


def test_a_webhook_that_is_deleted_while_it_is_delivered_to(bench, receiver):
    from app.webhooks.service import delete_webhook

    made_id = hook(bench.engine, receiver.url)
    tell(bench.engine)
    made = a_courier(bench)
    parcel = made.next()
    with write_session(bench.engine) as session:
        delete_webhook(session, made_id)
    made.deliver(parcel)
    assert rows(bench.engine) == []


def test_a_receiver_that_hangs_does_not_keep_others_waiting(bench, receiver):
    with receiving() as slow:
        slow.hold = threading.Event()
        hook(bench.engine, slow.url)
        hook(bench.engine, receiver.url)
        tell(bench.engine, 3)
        made = a_courier(bench)
        made.start()
        try:
            for _ in range(3):
                assert receiver.arrived.acquire(timeout=60)
            assert slow.came, "it was tried, and hangs"
        finally:
            slow.hold.set()
            made.stop()


def test_deliveries_that_ended_long_ago_are_forgotten(bench, receiver):
    hook(bench.engine, receiver.url)
    tell(bench.engine, 2)
    old, new = rows(bench.engine)
    with write_session(bench.engine) as session:
        session.get_one(WebhookDelivery, old.id).ended_at = utc_now().replace(year=2020)
        session.get_one(WebhookDelivery, new.id).ended_at = utc_now()
    with write_session(bench.engine) as session:
        courier.forget(session)
    assert [row.id for row in rows(bench.engine)] == [new.id]


@pytest.mark.parametrize("status", [204, 500])
def test_a_delivery_that_a_host_whose_clock_is_behind_ended_is_remembered(
    bench, receiver, monkeypatch, status
):
    hook(bench.engine, receiver.url)
    tell(bench.engine)
    (waiting,) = rows(bench.engine)
    change(bench.engine, attempts=courier.MOST_ATTEMPTS - 1)
    receiver.answers += [status]
    made = a_courier(bench)
    with monkeypatch.context() as patch:
        set_ahead(patch, timedelta(days=-2 * courier.KEPT_DAYS))
        made.deliver(made.next())
    with write_session(bench.engine) as session:
        courier.forget(session)
    assert [row.id for row in rows(bench.engine)] == [waiting.id]


def test_a_real_worker_tells_of_tasks_and_of_what_waited_while_it_was_killed(bench, receiver):
    bench.settings = bench.settings.model_copy(update={"webhook_private": True})
    hook(bench.engine, receiver.url)
    bench.control.plan()
    task_id = bench.post(["cat"])
    held = bench.post(["dog"], seed=1, gate={"promote": False})
    receiver.hold = threading.Event()
    with bench.worker() as worker:
        bench.ends(task_id, TaskState.LIVE)
        bench.ends(held, TaskState.HELD)
        assert receiver.arrived.acquire(timeout=60)
        worker.kill()
    receiver.hold.set()
    assert all(row.state == WAITING for row in rows(bench.engine))
    change(bench.engine, lease_until=0.0, due_at=0.0)
    with bench.worker():
        eventually(lambda: all(row.state == DELIVERED for row in rows(bench.engine)))
    said = {row.id: row.payload for row in rows(bench.engine)}
    told = {
        (one["type"], one["task"], one["data"].get("outcome"), one["data"]["version"])
        for one in said.values()
    }
    assert told == {
        ("version.promoted", task_id, None, 1),
        ("task.ended", task_id, "live", 1),
        ("task.ended", held, "held", 2),
        ("version.held", held, None, 2),
    }
    came = [json.loads(body) for _, _, body in receiver.came]
    assert len(came) > 4, "the one that was being delivered came twice, under one id"
    assert {one["id"] for one in came} == set(said)
