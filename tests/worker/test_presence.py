"""A worker's row: there while it is, whatever becomes of the database in between."""

import os
import socket
from datetime import timedelta

import pytest
from sqlalchemy import delete, select, update

from app.db import (
    DeviceKind,
    TaskState,
    Worker,
    database_now,
    read_session,
    utc_now,
    write_session,
)
from app.workers.needs import Resources
from app.workers.service import KEPT_SECONDS, forget_lost, list_workers, living
from tests.worker.bench import eventually, rename
from worker.device import Device
from worker.presence import Presence, name_of_this_process

GPU = Device("NVIDIA X", 2, Resources(DeviceKind.CUDA, 24_000))


@pytest.fixture
def presence(engine):
    return Presence(engine, "gpu-1:4711", "1.2.3", GPU, 5.0)


@pytest.fixture
def rows(engine):
    def read():
        with read_session(engine) as session:
            return session.scalars(select(Worker).order_by(Worker.id)).all()

    return read


def left(engine):
    with read_session(engine) as session:
        return session.scalar(select(Worker.alive_until - database_now()))


def silence(engine, seconds=1.0):
    with write_session(engine) as session:
        session.execute(update(Worker).values(alive_until=database_now() - seconds))


def test_a_worker_says_what_it_has_and_goes(presence, rows, engine):
    presence.beat()
    (row,) = rows()
    assert (row.name, row.host, row.pid, row.version) == ("gpu-1:4711", "gpu-1", 4711, "1.2.3")
    assert (row.device, row.device_name, row.devices) == ("cuda", "NVIDIA X", 2)
    assert row.memory_mib == 24_000
    assert 10 < left(engine) <= 15
    presence.leave()
    assert rows() == []


def test_a_beat_renews_the_row_and_changes_nothing_else(presence, rows, engine):
    presence.beat()
    (first,) = rows()
    silence(engine)
    with read_session(engine) as session:
        assert living(session) == frozenset()
    presence.beat()
    (second,) = rows()
    assert (second.id, second.started_at) == (first.id, first.started_at)
    assert second.seen_at >= first.seen_at
    with read_session(engine) as session:
        assert living(session) == {GPU.has}


def test_a_row_that_was_deleted_comes_back(presence, rows, engine):
    presence.beat()
    with write_session(engine) as session:
        session.execute(delete(Worker))
    presence.beat()
    (row,) = rows()
    presence.beat()
    assert [one.id for one in rows()] == [row.id]


def test_who_gets_the_host_and_process_id_of_a_lost_one_takes_its_place(presence, rows, engine):
    presence.beat()
    silence(engine)
    after = Presence(engine, "gpu-1:4711-b", "1.2.4", GPU, 5.0)
    after.beat()
    assert [row.version for row in rows()] == ["1.2.4"]


def test_two_that_live_with_one_host_and_process_id_keep_their_rows(presence, rows, engine):
    """As containers of one name have them, whose first process is 1."""
    after = Presence(engine, "gpu-1:4711-b", "1.2.4", GPU, 5.0)
    for one in (presence, after, presence, after):
        one.beat()
    assert [row.version for row in rows()] == ["1.2.3", "1.2.4"]
    assert {(row.host, row.pid) for row in rows()} == {("gpu-1", 4711)}
    after.leave()
    assert [row.version for row in rows()] == ["1.2.3"]


def test_no_process_is_called_as_one_before_it_was():
    names = {name_of_this_process() for _ in range(2)}
    assert len(names) == 2
    assert all(name.startswith(f"{socket.gethostname()}:{os.getpid()}-") for name in names)


@pytest.mark.parametrize("name", ["fe80::1:17", "fe80::1:17-0af3"])
def test_a_host_may_have_colons(engine, rows, name):
    Presence(engine, name, "1", GPU, 5.0).beat()
    assert [(row.host, row.pid) for row in rows()] == [("fe80::1", 17)]


def test_those_lost_long_ago_are_forgotten(presence, rows, engine):
    presence.beat()
    silence(engine, KEPT_SECONDS - 60)
    with write_session(engine) as session:
        forget_lost(session)
    assert len(rows()) == 1
    silence(engine, KEPT_SECONDS + 60)
    with write_session(engine) as session:
        forget_lost(session)
    assert rows() == []


def test_one_that_was_lost_before_the_clock_was_set_back_is_forgotten(presence, rows, engine):
    presence.beat()
    for days, there in ((0.5, 1), (365, 0)):
        ahead = utc_now() + timedelta(days=days)
        with write_session(engine) as session:
            session.execute(update(Worker).values(seen_at=ahead, alive_until=ahead.timestamp()))
            forget_lost(session)
        assert len(rows()) == there
    presence.beat()
    assert len(rows()) == 1, "who lives is there again"


def test_a_worker_ends_where_the_database_does_not_answer(presence, bench):
    presence.beat()
    rename(bench, "workers", "elsewhere")
    presence.leave()
    rename(bench, "elsewhere", "workers")


def seen(bench):
    with read_session(bench.engine) as session:
        return list_workers(session, 10)


def test_a_real_worker_is_seen_with_what_it_does_until_it_ends(bench):
    bench.control.plan(epoch_seconds=60)
    task_id = bench.post(["cat"])
    with bench.worker() as worker:
        eventually(lambda: [one.alive for one in seen(bench)] == [True])
        bench.wake(task_id)
        eventually(lambda: bench.state(task_id) == TaskState.TRAINING)
        (one,) = seen(bench)
        assert one.worker.pid == worker.process.pid
        assert one.worker.name == bench.task(task_id).worker
        assert (one.task.id, one.task.model) == (task_id, "default")
        bench.cancel(task_id)
        bench.ends(task_id, TaskState.CANCELLED)
        assert worker.terminate() == 0
    assert seen(bench) == []


def test_a_worker_that_is_killed_is_lost_and_not_gone(bench):
    bench.settings = bench.settings.model_copy(update={"presence_seconds": 0.5})
    with bench.worker() as worker:
        eventually(lambda: [one.alive for one in seen(bench)] == [True])
        worker.kill()
        eventually(lambda: [one.alive for one in seen(bench)] == [False])
