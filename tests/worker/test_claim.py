"""Claim, lease and fence on real databases, with real threads racing."""

import pytest
from sqlalchemy import select

from app.db import (
    Task,
    TaskState,
    database_now,
    read_session,
    write_session,
)
from tests.worker.bench import CPU
from tests.worker.conftest import LEASE, LOST, lapse
from worker import claim as claims
from worker.claim import Claim, LeaseLostError
from worker.turns import next_task


def test_a_claim_takes_the_row(post, row, do, engine):
    task_id = post()
    claimed = do(claims.claim, task_id, "worker-1", LEASE)
    assert claimed == Claim(task_id, 1)
    task = row(task_id)
    assert (task.state, task.worker, task.tries, task.fence) == ("validating", "worker-1", 1, 1)
    assert task.started_at is not None
    with read_session(engine) as session:
        left = session.scalar(select(Task.lease_until - database_now()).where(Task.id == task_id))
    assert LEASE / 2 < left <= LEASE


def test_a_doubled_wake_up_claims_nothing(post, row, do):
    task_id = post()
    do(claims.claim, task_id, "worker-1", LEASE)
    assert do(claims.claim, task_id, "worker-2", LEASE) is None
    assert do(claims.claim, "unknown", "worker-2", LEASE) is None
    assert row(task_id).worker == "worker-1"


def test_tasks_of_one_model_run_in_the_order_they_came(post, do):
    first, second, third = post(), post(), post()
    assert do(claims.claim, second, "w", LEASE) is None
    claimed = do(claims.claim, first, "w", LEASE)
    assert do(claims.claim, second, "w", LEASE) is None, "the first runs"
    do(claims.end, claimed, TaskState.HELD)
    assert do(claims.claim, third, "w", LEASE) is None, "the second waits before it"
    assert do(claims.claim, second, "w", LEASE) is not None


def test_two_models_run_side_by_side(post, do):
    first, second, other = post("a"), post("a"), post("b")
    assert do(next_task, CPU) == first
    assert do(claims.claim, first, "w", LEASE)
    assert do(next_task, CPU) == other
    assert do(claims.claim, other, "w", LEASE)
    assert do(next_task, CPU) is None
    assert do(claims.claim, second, "w", LEASE) is None


WRITES = [
    lambda session, claimed: claims.renew(session, claimed, LEASE),
    lambda session, claimed: claims.enter(session, claimed, TaskState.TRAINING),
    lambda session, claimed: claims.report(session, claimed, {"epoch": 1}, epoch_end=True),
    lambda session, claimed: claims.warn(session, claimed, "beware"),
    lambda session, claimed: claims.note_checkpoint(session, claimed, "a" * 64),
    claims.hold,
    claims.give_back,
    lambda session, claimed: claims.halve(session, claimed, "less"),
    lambda session, claimed: claims.retry(session, claimed, 3, LOST),
    lambda session, claimed: claims.end(session, claimed, TaskState.LIVE),
]


def written(task):
    return {column.name: getattr(task, column.name) for column in Task.__table__.columns}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("after", ["swept", "claimed again", "ended"])
def test_a_stale_worker_changes_nothing(post, row, do, engine, write, after):
    task_id = post()
    stale = do(claims.claim, task_id, "worker-1", LEASE)
    if after == "ended":
        do(claims.end, stale, TaskState.HELD)
    else:
        lapse(engine, task_id)
        assert do(claims.sweep, task_id, 3, LOST) == TaskState.QUEUED
    if after == "claimed again":
        assert do(claims.claim, task_id, "worker-2", LEASE).fence > stale.fence
    before = written(row(task_id))
    with pytest.raises(LeaseLostError):
        do(write, stale)
    assert written(row(task_id)) == before


def test_a_lease_that_holds_is_not_swept(post, row, do, engine):
    task_id = post()
    claimed = do(claims.claim, task_id, "worker-1", LEASE)
    with read_session(engine) as session:
        assert claims.lapsed(session) == []
    assert do(claims.sweep, task_id, 3, LOST) is None
    lapse(engine, task_id)
    with read_session(engine) as session:
        assert claims.lapsed(session) == [task_id]
    assert do(claims.renew, claimed, LEASE) is False, "late, but nobody took it"
    assert do(claims.sweep, task_id, 3, LOST) is None
    assert row(task_id).state == TaskState.VALIDATING


def test_sweeping_bounds_the_tries(post, row, do, engine):
    task_id = post()
    for _ in range(2):
        do(claims.claim, task_id, "w", LEASE)
        lapse(engine, task_id)
        assert do(claims.sweep, task_id, 3, LOST) == TaskState.QUEUED
    do(claims.claim, task_id, "w", LEASE)
    lapse(engine, task_id)
    assert do(claims.sweep, task_id, 3, LOST) == TaskState.FAILED
    task = row(task_id)
    assert task.error["type"] == "urn:sats:problem:step-lost"
    assert "3 times without getting further" in task.error["detail"]
    assert task.finished_at is not None


def test_a_finished_epoch_sets_the_tries_back_and_a_repeated_one_does_not(post, row, do, engine):
    task_id = post()
    counted = []
    for epoch in (1, 2, 2, 1, 3):
        claimed = do(claims.claim, task_id, "w", LEASE)
        do(claims.report, claimed, {"epoch": epoch}, epoch_end=False)
        do(claims.report, claimed, {"epoch": epoch}, epoch_end=True)
        counted.append(row(task_id).tries)
        lapse(engine, task_id)
        assert do(claims.sweep, task_id, 3, LOST) == TaskState.QUEUED
    assert counted == [0, 0, 1, 2, 0]


@pytest.mark.parametrize("how", ["give_back", "retry", "sweep"])
def test_a_task_to_be_cancelled_does_not_go_back_into_the_queue(post, row, do, engine, how):
    task_id = post()
    claimed = do(claims.claim, task_id, "w", LEASE)
    with write_session(engine) as session:
        session.get_one(Task, task_id).cancel_requested = True
    assert do(claims.renew, claimed, LEASE) is True
    if how == "give_back":
        do(claims.give_back, claimed)
    elif how == "retry":
        do(claims.retry, claimed, 3, LOST)
    else:
        lapse(engine, task_id)
        do(claims.sweep, task_id, 3, LOST)
    assert row(task_id).state == TaskState.CANCELLED


def test_giving_back_costs_no_try_and_keeps_the_place_in_the_queue(post, row, do):
    first, second = post(), post()
    claimed = do(claims.claim, first, "w", LEASE)
    began = row(first).started_at
    do(claims.give_back, claimed)
    task = row(first)
    assert (task.state, task.tries, task.lease_until, task.worker) == ("queued", 0, None, None)
    assert do(claims.claim, second, "w", LEASE) is None
    assert do(claims.claim, first, "w", LEASE).fence == claimed.fence + 2
    assert row(first).started_at == began


def test_a_warning_is_given_once(post, row, do):
    claimed = do(claims.claim, post(), "w", LEASE)
    for message in ("one", "two", "one"):
        do(claims.warn, claimed, message)
    assert row(claimed.task_id).warnings == ["one", "two"]


def test_states_must_be_of_the_right_kind(post, do):
    claimed = do(claims.claim, post(), "w", LEASE)
    with pytest.raises(ValueError, match="not a running state"):
        do(claims.enter, claimed, TaskState.LIVE)
    with pytest.raises(ValueError, match="not an end state"):
        do(claims.end, claimed, TaskState.QUEUED)


def test_a_failed_transaction_claims_nothing(post, row, engine):
    task_id = post()

    def claim_and_die() -> None:
        with write_session(engine) as session:
            claims.claim(session, task_id, "w", LEASE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        claim_and_die()
    assert (row(task_id).state, row(task_id).fence) == ("queued", 0)
