"""Of threads that race for a task one gets it, on real databases."""

import threading
from collections.abc import Callable

from sqlalchemy import func, select

from app.db import (
    END_STATES,
    Model,
    Task,
    TaskState,
    read_session,
)
from tests.worker.bench import CPU
from tests.worker.conftest import LEASE, LOST, lapse
from worker import claim as claims
from worker.claim import Claim, LeaseLostError
from worker.turns import whose_turn


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
        won = [claimed for claimed in results if claimed is not None]
        assert won == [Claim(task_id, 1)]
        assert row(task_id).worker == f"worker-{results.index(won[0])}"
        assert row(task_id).tries == 1
        do(claims.end, won[0], TaskState.HELD)


def test_of_many_racing_for_tasks_of_one_model_exactly_one_wins(post, row, do, monkeypatch):
    """Even if neither saw the other: then the database's unique index decides."""
    monkeypatch.setattr(claims, "next_of_its_model", lambda task: task.id == task.id)
    for _ in range(5):
        tasks = [post() for _ in range(4)]
        results = race([lambda t=t: do(claims.claim, t, "w", LEASE) for t in tasks])
        won = [claimed for claimed in results if claimed is not None]
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
                lambda t=task_id: do(claims.sweep, t, 99, LOST),
                lambda t=task_id: do(claims.sweep, t, 99, LOST),
            ]
        )
        assert swept.count(TaskState.QUEUED) == (renewed == "lost")
        assert row(task_id).state == ("queued" if renewed == "lost" else "validating")
        do(claims.end, Claim(task_id, row(task_id).fence), TaskState.HELD)


def test_every_task_of_a_crowd_is_done_once_and_in_order(post, do, engine):
    """Twelve tasks of three models, six workers that race for whatever there is."""
    tasks = [post(model) for _ in range(4) for model in "abc"]
    done: list[str] = []

    def work(name: str) -> None:
        while True:
            with read_session(engine) as session:
                left = session.scalar(
                    select(func.count()).select_from(Task).where(Task.state.not_in(END_STATES))
                )
            if not left:
                return
            claimed = do(claims.claim, whose_turn(CPU), name, LEASE)
            if claimed:
                do(claims.enter, claimed, TaskState.TRAINING)
                done.append(claimed.task_id)
                do(claims.end, claimed, TaskState.LIVE)

    race([lambda n=n: work(f"w{n}") for n in range(6)])
    assert sorted(done) == sorted(tasks)
    with read_session(engine) as session:
        for model in session.scalars(select(Model)):
            own = {t.id for t in session.scalars(select(Task).where(Task.model_id == model.id))}
            assert [t for t in done if t in own] == [t for t in tasks if t in own]
