"""Workers that claim at the same moment: no task is taken twice, and owners still take turns."""

import threading
from collections import Counter

import pytest
from sqlalchemy import select

from app.db import Task, TaskState, read_session, write_session
from tests.worker.conftest import LEASE
from tests.worker.test_claim_races import race
from tests.worker.test_turns import CPU, add, add_keys, take
from worker import claim as claims
from worker.turns import next_task, note_turn, whose_turn

WORKERS, EACH = 6, 10
OWNERS = (1, 2, 3)

pytestmark = pytest.mark.races


@pytest.fixture
def queue(engine):
    """Much of one owner, and then as much of two others; every task of a model of its own."""
    with write_session(engine) as session:
        add_keys(session)
        return {
            add(session, f"m{owner}-{number}", owner): owner
            for owner in OWNERS
            for number in range(EACH)
        }


def test_workers_that_race_take_every_task_once_and_owners_in_turns(queue, engine):
    taken: list[str] = []
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock, read_session(engine) as session:
                if next_task(session, CPU) is None:
                    return
            with write_session(engine) as session:
                claimed = take(session, CPU)
            if claimed is None:
                continue  # another one was faster
            with lock:
                taken.append(claimed.task_id)
            with write_session(engine) as session:
                claims.end(session, claimed, TaskState.HELD)

    race([work] * WORKERS)
    assert Counter(taken) == Counter(dict.fromkeys(queue, 1))
    with read_session(engine) as session:
        assert set(session.scalars(select(Task.fence))) == {2}, "claimed once, ended once"
    # Claims that are under way at the same moment may not see each other's turns.
    for served in range(3, len(taken), 3):
        shares = Counter(queue[task] for task in taken[:served])
        assert max(shares.values()) - min(shares[one] for one in OWNERS) <= WORKERS, taken[:served]


def test_of_two_that_pick_the_same_task_the_later_one_gets_another(queue, engine):
    """The one that waits for the other's commit sees that it came too late, and picks anew."""
    with write_session(engine) as session:
        first = next_task(session, CPU)
    assert first is not None
    results = race([lambda: _take(engine) for _ in range(2)])
    won = [one for one in results if one is not None]
    assert first in {one.task_id for one in won}
    again = _take(engine)
    assert again is not None
    assert again.task_id not in {one.task_id for one in won}


def _take(engine):
    with write_session(engine) as session:
        claimed = claims.claim(session, whose_turn(CPU), "w", LEASE)
        if claimed is not None:
            note_turn(session, claimed.task_id, CPU)
        return claimed
