"""Deletion beside what begins to need the version: one waits for the other, and sees it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from app.db import Place, TaskState, write_session
from app.deletion.service import delete_version
from app.errors import ConflictProblem
from app.registry.moves import promote
from app.registry.service import find_model
from app.tasks.service import retry
from tests.fixtures.blocked import blocked
from tests.worker.bench import eventually
from worker.claim import claim

pytestmark = pytest.mark.parametrize("database_url", ["served"], indirect=True)


def drop(session):
    delete_version(session, list(Place), find_model(session, "default"), 2)


@pytest.fixture
def failed(bench):
    """A failed task that started from version 2, which is not live."""
    bench.run(["cat"])
    bench.run(["dog"], seed=1, gate={"promote": False})
    bench.control.plan(fail="not this time")
    task = bench.run(["cow"], seed=2, parent=2)
    assert task.state == TaskState.FAILED
    return task.id


def in_turn(engine, first, second):
    """Begin the second while the first is not committed; give the second's future."""

    def run():
        with write_session(engine) as session:
            second(session)

    with (
        ThreadPoolExecutor(1) as pool,
        blocked(engine) as waiting,
    ):
        with write_session(engine) as session:
            first(session)
            session.flush()
            begun = pool.submit(run)
            eventually(lambda: begun.done() or waiting() == 1)
        return begun


@pytest.mark.parametrize("first", ["retry", "deletion"])
def test_a_retry_and_a_deletion_see_each_other(bench, failed, first):
    def again(session):
        retry(session, bench.blobs, failed)

    acts = (again, drop) if first == "retry" else (drop, again)
    refused = in_turn(bench.engine, *acts)
    with pytest.raises(ConflictProblem, match=r"starts from it|was deleted"):
        refused.result()


def test_what_a_claim_starts_from_is_not_deleted_beside_it(bench):
    bench.run(["cat"])
    bench.run(["dog"], seed=1)
    task_id = bench.post(["cow"], seed=2)

    def replace_and_drop(session):
        promote(session, find_model(session, "default"), 1)
        drop(session)

    refused = in_turn(
        bench.engine, lambda session: claim(session, task_id, "w", 30), replace_and_drop
    )
    with pytest.raises(ConflictProblem, match=f"task {task_id}"):
        refused.result()
