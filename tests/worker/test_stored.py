"""Tasks that another version of the service took, run by this one."""

from app.db import Task, TaskState, Version, read_session, write_session


def test_a_queued_task_with_unknown_keys_runs(bench):
    task_id = bench.post(["cat"])
    with write_session(bench.engine) as session:
        task = session.get_one(Task, task_id)
        task.spec = task.spec | {"warmth": 3, "gate": task.spec["gate"] | {"mood": 1}}
    assert bench.supervisor().run(task_id) == TaskState.LIVE
    with write_session(bench.engine) as session:
        version = session.get_one(Version, 1)
        version.scores = version.scores | {"mood": 1}
    assert bench.run(["dog"], seed=1).state == TaskState.LIVE


def test_a_queued_task_that_asks_for_what_is_gone_fails_and_names_it(bench):
    task_id = bench.post(["cat"])
    with write_session(bench.engine) as session:
        task = session.get_one(Task, task_id)
        task.spec = task.spec | {"size": 31}
    assert bench.supervisor().run(task_id) == TaskState.FAILED
    with read_session(bench.engine) as session:
        error = session.get_one(Task, task_id).error
    assert error["type"] == "urn:sats:problem:invalid"
    assert "since an upgrade" in error["detail"]
    assert [fault["field"] for fault in error["errors"]] == ["spec.size"]
