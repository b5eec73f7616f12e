"""Claim, lease and fence on real databases, with real threads racing."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from app.db import (
    END_STATES,
    Model,
    Task,
    TaskState,
    database_now,
    read_session,
    utc_now,
    write_session,
)
from app.models.service import ensure_model
from worker import claim as claims
from worker.claim import Claim, LeaseLostError
from worker.failures import WorkerLostProblem

LEASE = 30.0
LOST = WorkerLostProblem("lost")


@pytest.fixture
def post(engine) -> Callable[..., str]:
    """Queue tasks. Clocks have no say in their order: each is a second before the last one."""
    began = utc_now()
    posted = 0

    def one(model: str = "default") -> str:
        nonlocal posted
        posted += 1
        with write_session(engine) as session:
            task = Task(
                model=ensure_model(session, model),
                spec={},
                dataset="0" * 64,
                dataset_bytes=1,
                request_digest="",
                created_at=began - timedelta(seconds=posted),
            )
            session.add(task)
            session.flush()
            return task.id

    return one


@pytest.fixture
def row(engine) -> Callable[[str], Task]:
    def read(task_id: str) -> Task:
        with read_session(engine) as session:
            return session.get_one(Task, task_id)

    return read


@pytest.fixture
def do(engine) -> Callable:
    """Call a function of the claim module in a transaction of its own."""

    def call(function, *args, **kwargs):
        with write_session(engine) as session:
            return function(session, *args, **kwargs)

    return call


def lapse(engine, task_id: str) -> None:
    with write_session(engine) as session:
        session.execute(update(Task).where(Task.id == task_id).values(lease_until=1.0))


def test_a_claim_takes_the_row(post, row, do, engine):
    task_id = post()
    held = do(claims.claim, task_id, "worker-1", LEASE)
    assert held == Claim(task_id, 1)
    task = row(task_id)
    assert (task.state, task.worker, task.tries, task.fence) == ("validating", "worker-1", 1, 1)
    assert task.started_at is not None
    with read_session(engine) as session:
        left = session.scalar(select(Task.lease_until - database_now()).where(Task.id == task_id))
    assert LEASE - 5 < left <= LEASE


def test_a_doubled_wake_up_claims_nothing(post, row, do):
    task_id = post()
    do(claims.claim, task_id, "worker-1", LEASE)
    assert do(claims.claim, task_id, "worker-2", LEASE) is None
    assert do(claims.claim, "unknown", "worker-2", LEASE) is None
    assert row(task_id).worker == "worker-1"


def test_tasks_of_one_model_run_in_the_order_they_came(post, do):
    first, second, third = post(), post(), post()
    assert do(claims.claim, second, "w", LEASE) is None
    held = do(claims.claim, first, "w", LEASE)
    assert do(claims.claim, second, "w", LEASE) is None, "the first runs"
    do(claims.end, held, TaskState.HELD)
    assert do(claims.claim, third, "w", LEASE) is None, "the second waits before it"
    assert do(claims.claim, second, "w", LEASE) is not None


def test_two_models_run_side_by_side(post, do, engine):
    first, second, other = post("a"), post("a"), post("b")
    with read_session(engine) as session:
        assert claims.claimable(session) == [first, other]
    assert do(claims.claim, first, "w", LEASE)
    assert do(claims.claim, other, "w", LEASE)
    with read_session(engine) as session:
        assert claims.claimable(session) == []
    assert do(claims.claim, second, "w", LEASE) is None


def race(racers: list[Callable[[], object]]) -> list[object]:
    """Call every function in a thread of its own, all at the same moment."""
    start = threading.Barrier(len(racers))
    results: list[object] = [None] * len(racers)

    def run(position: int) -> None:
        start.wait()
        results[position] = racers[position]()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(racers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_of_many_racing_for_one_row_exactly_one_wins(post, row, do):
    for _ in range(10):
        task_id = post()
        results = race(
            [lambda n=n, t=task_id: do(claims.claim, t, f"worker-{n}", LEASE) for n in range(8)]
        )
        won = [held for held in results if held is not None]
        assert won == [Claim(task_id, 1)]
        assert row(task_id).worker == f"worker-{results.index(won[0])}"
        assert row(task_id).tries == 1
        do(claims.end, won[0], TaskState.HELD)


def test_of_many_racing_for_tasks_of_one_model_exactly_one_wins(post, row, do, monkeypatch):
    """Even if neither saw the other: then the database's unique index decides."""
    monkeypatch.setattr(claims, "_next_of_its_model", lambda: Task.id == Task.id)
    for _ in range(5):
        tasks = [post() for _ in range(4)]
        results = race([lambda t=t: do(claims.claim, t, "w", LEASE) for t in tasks])
        won = [held for held in results if held is not None]
        assert len(won) == 1
        assert sum(row(t).state == TaskState.QUEUED for t in tasks) == 3
        do(claims.end, won[0], TaskState.HELD)
        for task_id in tasks:
            if task_id != won[0].task_id:
                do(claims.end, Claim(task_id, 0), TaskState.CANCELLED)


def test_a_claim_racing_with_a_sweep_of_the_same_row_leaves_one_holder(post, row, do, engine):
    for _ in range(10):
        task_id = post()
        old = do(claims.claim, task_id, "worker-1", LEASE)
        lapse(engine, task_id)

        def renew(old=old):
            try:
                return do(claims.renew, old, LEASE)
            except LeaseLostError:
                return "lost"

        renewed, *swept = race(
            [
                renew,
                lambda t=task_id: do(claims.sweep, t, 99),
                lambda t=task_id: do(claims.sweep, t, 99),
            ]
        )
        assert swept.count(TaskState.QUEUED) == (renewed == "lost")
        assert row(task_id).state == ("queued" if renewed == "lost" else "validating")
        do(claims.end, Claim(task_id, row(task_id).fence), TaskState.HELD)


WRITES = [
    lambda session, held: claims.renew(session, held, LEASE),
    lambda session, held: claims.enter(session, held, TaskState.TRAINING),
    lambda session, held: claims.report(session, held, {"epoch": 1}, epoch_end=True),
    lambda session, held: claims.warn(session, held, "beware"),
    claims.hold,
    claims.give_back,
    lambda session, held: claims.halve(session, held, "less"),
    lambda session, held: claims.retry(session, held, 3, LOST),
    lambda session, held: claims.end(session, held, TaskState.LIVE),
]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("after", ["swept", "claimed again", "ended"])
def test_a_stale_worker_changes_nothing(post, row, do, engine, write, after):
    task_id = post()
    stale = do(claims.claim, task_id, "worker-1", LEASE)
    if after == "ended":
        do(claims.end, stale, TaskState.HELD)
    else:
        lapse(engine, task_id)
        assert do(claims.sweep, task_id, 3) == TaskState.QUEUED
    if after == "claimed again":
        assert do(claims.claim, task_id, "worker-2", LEASE).fence > stale.fence
    before = {column.name: getattr(row(task_id), column.name) for column in Task.__table__.columns}
    with pytest.raises(LeaseLostError):
        do(write, stale)
    assert before == {
        column.name: getattr(row(task_id), column.name) for column in Task.__table__.columns
    }


def test_a_lease_that_holds_is_not_swept(post, row, do, engine):
    task_id = post()
    held = do(claims.claim, task_id, "worker-1", LEASE)
    with read_session(engine) as session:
        assert claims.lapsed(session) == []
    assert do(claims.sweep, task_id, 3) is None
    lapse(engine, task_id)
    with read_session(engine) as session:
        assert claims.lapsed(session) == [task_id]
    assert do(claims.renew, held, LEASE) is False, "late, but nobody took it"
    assert do(claims.sweep, task_id, 3) is None
    assert row(task_id).state == TaskState.VALIDATING


def test_sweeping_bounds_the_tries(post, row, do, engine):
    task_id = post()
    for _ in range(2):
        do(claims.claim, task_id, "w", LEASE)
        lapse(engine, task_id)
        assert do(claims.sweep, task_id, 3) == TaskState.QUEUED
    do(claims.claim, task_id, "w", LEASE)
    lapse(engine, task_id)
    assert do(claims.sweep, task_id, 3) == TaskState.FAILED
    task = row(task_id)
    assert task.error["type"] == "urn:sats:problem:step-lost"
    assert "3 times without getting further" in task.error["detail"]
    assert task.finished_at is not None


def test_a_finished_epoch_sets_the_tries_back_and_a_repeated_one_does_not(post, row, do, engine):
    task_id = post()
    counted = []
    for epoch in (1, 2, 2, 1, 3):
        held = do(claims.claim, task_id, "w", LEASE)
        do(claims.report, held, {"epoch": epoch}, epoch_end=False)
        do(claims.report, held, {"epoch": epoch}, epoch_end=True)
        counted.append(row(task_id).tries)
        lapse(engine, task_id)
        assert do(claims.sweep, task_id, 3) == TaskState.QUEUED
    assert counted == [0, 0, 1, 2, 0]


@pytest.mark.parametrize("how", ["give_back", "retry", "sweep"])
def test_a_task_to_be_cancelled_does_not_go_back_into_the_queue(post, row, do, engine, how):
    task_id = post()
    held = do(claims.claim, task_id, "w", LEASE)
    with write_session(engine) as session:
        session.get_one(Task, task_id).cancel_requested = True
    assert do(claims.renew, held, LEASE) is True
    if how == "give_back":
        do(claims.give_back, held)
    elif how == "retry":
        do(claims.retry, held, 3, LOST)
    else:
        lapse(engine, task_id)
        do(claims.sweep, task_id, 3)
    assert row(task_id).state == TaskState.CANCELLED


def test_giving_back_costs_no_try_and_keeps_the_place_in_the_queue(post, row, do):
    first, second = post(), post()
    held = do(claims.claim, first, "w", LEASE)
    began = row(first).started_at
    do(claims.give_back, held)
    task = row(first)
    assert (task.state, task.tries, task.lease_until, task.worker) == ("queued", 0, None, None)
    assert do(claims.claim, second, "w", LEASE) is None
    assert do(claims.claim, first, "w", LEASE).fence == held.fence + 2
    assert row(first).started_at == began


def test_a_warning_is_given_once(post, row, do):
    held = do(claims.claim, post(), "w", LEASE)
    for message in ("one", "two", "one"):
        do(claims.warn, held, message)
    assert row(held.task_id).warnings == ["one", "two"]


def test_states_must_be_of_the_right_kind(post, do):
    held = do(claims.claim, post(), "w", LEASE)
    with pytest.raises(ValueError, match="not a running state"):
        do(claims.enter, held, TaskState.LIVE)
    with pytest.raises(ValueError, match="not an end state"):
        do(claims.end, held, TaskState.QUEUED)


def test_a_failed_transaction_claims_nothing(post, row, engine):
    task_id = post()

    def claim_and_die() -> None:
        with write_session(engine) as session:
            claims.claim(session, task_id, "w", LEASE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        claim_and_die()
    assert (row(task_id).state, row(task_id).fence) == ("queued", 0)


def test_every_task_of_a_crowd_is_done_once_and_in_order(post, do, engine):
    """Twelve tasks of three models, six workers that race for whatever there is."""
    tasks = [post(model) for _ in range(4) for model in "abc"]
    done: list[str] = []

    def work(name: str) -> None:
        while True:
            with read_session(engine) as session:
                waiting = claims.claimable(session)
                left = session.scalar(
                    select(func.count()).select_from(Task).where(Task.state.not_in(END_STATES))
                )
            if not left:
                return
            for task_id in waiting:
                held = do(claims.claim, task_id, name, LEASE)
                if held:
                    do(claims.enter, held, TaskState.TRAINING)
                    done.append(task_id)
                    do(claims.end, held, TaskState.LIVE)

    race([lambda n=n: work(f"w{n}") for n in range(6)])
    assert sorted(done) == sorted(tasks)
    with read_session(engine) as session:
        for model in session.scalars(select(Model)):
            own = {t.id for t in session.scalars(select(Task).where(Task.model_id == model.id))}
            assert [t for t in done if t in own] == [t for t in tasks if t in own]
