"""Cancels and claims of one task that meet: each takes its turn, in the order they came in."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from app.db import Task, TaskState, make_engine, read_session, write_session
from tests.app.db.test_limits import calling
from tests.app.tasks.posting import post
from tests.fixtures.blocked import blocked
from tests.worker.bench import eventually
from worker.claim import claim

PATIENT = {"database_lock_seconds": 60.0}

pytestmark = pytest.mark.parametrize("database_url", ["served"], indirect=True)


@pytest.fixture
def meet(settings, pets):
    """Have acts on one task wait for its row, one behind the other; gives what came of them."""
    limits = settings.model_copy(update=PATIENT).database_limits
    engine = make_engine(settings.resolved_database_url, limits)

    def act(name, client, task_id):
        if name == "cancel":
            return client.post(f"/tasks/{task_id}:cancel").status_code
        with write_session(engine) as session:
            return claim(session, task_id, "w", 30) is not None

    def acts(*names):
        with (
            calling(settings, **PATIENT) as client,
            ThreadPoolExecutor(len(names)) as pool,
            blocked(engine) as waiting,
        ):
            task_id = post(client, pets).json()["id"]
            begun = []
            with engine.begin() as holding:
                holding.execute(select(Task.id).where(Task.id == task_id).with_for_update())
                for place, name in enumerate(names, start=1):
                    begun.append(pool.submit(act, name, client, task_id))
                    eventually(lambda place=place: waiting() == place)
            answered = [one.result() for one in begun]
        with read_session(engine) as session:
            return answered, session.get_one(Task, task_id)

    yield acts
    engine.dispose()


def test_what_is_cancelled_before_a_claim_is_not_claimed(meet):
    answered, task = meet("cancel", "claim")
    assert answered == [202, False]
    assert (task.state, task.cancel_requested, task.fence) == (TaskState.CANCELLED, True, 0)


def test_what_is_claimed_before_a_cancel_is_asked_to_stop(meet):
    answered, task = meet("claim", "cancel")
    assert answered == [True, 202]
    assert (task.state, task.cancel_requested, task.fence) == (TaskState.VALIDATING, True, 1)


def test_of_many_who_cancel_at_once_one_does(meet):
    answered, task = meet(*["cancel"] * 4)
    assert answered == [202, 409, 409, 409]
    assert task.state == TaskState.CANCELLED
