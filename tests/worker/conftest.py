"""What tests of the worker share."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import update

from app.db import Task, read_session, utc_now, write_session
from app.registry.service import ensure_model
from tests.worker.bench import Bench
from tests.worker.scripted_child import Control
from worker.failures import WorkerLostProblem

LEASE = 30.0
LOST = WorkerLostProblem("lost")


@pytest.fixture
def bench(settings, engine, blobs, control: Control) -> Bench:
    """A worker's surroundings, on SQLite with files and on Postgres with Redis in turn."""
    control.plan()
    return Bench(settings, engine, blobs, control)


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
