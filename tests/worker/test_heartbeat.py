"""A lease that is not renewed any more is said to be lost, whatever the reason."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from app.db import TaskState, write_session
from tests.worker.bench import eventually, is_gone, rename, running
from worker.claim import claim
from worker.heartbeat import Heartbeat


@contextmanager
def beating(bench, lease=1.5):
    task_id = bench.post(["cat"])
    with write_session(bench.engine) as session:
        claimed = claim(session, task_id, "worker-1", lease)
    with Heartbeat(bench.engine, claimed, lease, 0.2) as pulse:
        yield pulse


def test_an_error_of_the_database_that_passes_costs_nothing(bench):
    with beating(bench, lease=60) as pulse, capture_logs() as logs:
        rename(bench, "tasks", "elsewhere")
        eventually(lambda: "lease_not_renewed" in [log["event"] for log in logs])
        rename(bench, "elsewhere", "tasks")
        pulse.renew()
        assert not pulse.lost.is_set()


def test_a_lease_lasts_from_its_last_renewal(bench, monkeypatch):
    """By a clock of our own, and no beats but those that are asked for."""
    now = 1000.0
    monkeypatch.setattr("worker.heartbeat.time", SimpleNamespace(monotonic=lambda: now))
    task_id = bench.post(["cat"])
    with write_session(bench.engine) as session:
        held = claim(session, task_id, "worker-1", 20)
    pulse = Heartbeat(bench.engine, held, 20, 1)
    now += 15
    pulse.renew()
    rename(bench, "tasks", "elsewhere")
    now += 15
    pulse.renew()
    assert not pulse.lost.is_set(), "it was renewed 15 seconds ago"
    now += 5
    pulse.renew()
    assert pulse.lost.is_set()


def test_an_error_of_the_database_that_stays_is_a_lost_lease(bench):
    """Of whatever kind: no such table is another one than a server that does not answer."""
    with beating(bench) as pulse:
        rename(bench, "tasks", "elsewhere")
        eventually(pulse.lost.is_set)


@pytest.mark.parametrize("database_url", ["served"], indirect=True)
def test_a_database_that_became_read_only_is_a_lost_lease(bench):
    with beating(bench) as pulse:
        name = bench.engine.url.database
        with bench.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(
                text(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            )
        bench.engine.dispose()  # as a fail-over does: the next connections are read-only
        eventually(pulse.lost.is_set)


def test_a_thread_that_dies_says_so_and_the_step_is_stopped(bench, monkeypatch):
    bench.control.plan(epoch_seconds=60)
    task_id = bench.post(["cat"])
    with running(bench.supervisor(), task_id) as left:
        eventually(lambda: bench.state(task_id) == TaskState.TRAINING)
        monkeypatch.setattr("worker.heartbeat.renew", lambda *_: 1 / 0)
        eventually(lambda: left == [None])
    assert is_gone(bench.child_pid(1))
    assert bench.state(task_id) == TaskState.TRAINING, "for the sweep of whoever can write"


def test_at_its_regular_end_nothing_is_lost(bench):
    with beating(bench) as pulse:
        pass
    assert not pulse.lost.is_set()
