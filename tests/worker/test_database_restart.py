"""A database that restarts in the middle of a step costs no try."""

import os

import pytest

from app.db import TaskState
from tests.fixtures.servers import restart_postgres
from tests.worker.bench import eventually
from tests.worker.test_supervisor import running
from worker import registering

pytestmark = [
    pytest.mark.parametrize("database_url", ["served"], indirect=True),
    pytest.mark.skipif(
        "SATS_TEST_DATABASE_URL" in os.environ, reason="that Postgres is not ours to restart"
    ),
]


def test_while_it_trains(bench, postgres_url):
    bench.control.plan(epochs=1, epoch_seconds=2)
    task_id = bench.post(["cat"])
    with running(bench.supervisor(lease_seconds=60.0), task_id) as left:
        eventually(lambda: bench.state(task_id) == TaskState.TRAINING)
        restart_postgres(postgres_url)
        eventually(lambda: bool(left))
    if left == [TaskState.QUEUED]:  # it was down when the step ended
        bench.supervisor().run(task_id)
    task = bench.task(task_id)
    assert (task.state, len(bench.control.starts())) == (TaskState.LIVE, 1)
    assert task.tries <= 1


def test_while_its_version_is_registered(bench, postgres_url, monkeypatch):
    lock_blobs = registering.lock_blobs

    def restarts_first(*args):
        monkeypatch.setattr(registering, "lock_blobs", lock_blobs)
        args[0].connection()
        restart_postgres(postgres_url)
        lock_blobs(*args)

    monkeypatch.setattr(registering, "lock_blobs", restarts_first)
    bench.control.plan(epochs=0)
    task_id = bench.post(["cat"])
    assert bench.supervisor(lease_seconds=60.0).run(task_id) == TaskState.QUEUED
    assert bench.task(task_id).tries == 0
    assert bench.supervisor().run(task_id) == TaskState.LIVE
    assert len(bench.control.starts()) == 1, "its result was there"
    assert len(bench.versions()) == 1
