"""Tasks that another version of the service took, run by this one."""

import io
import json

from alembic import command
from sqlalchemy import text

from app.db import Task, TaskState, Version, read_session, write_session
from app.db.migrate import migration_config, upgrade
from tests.worker.bench import drawn


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


def test_a_queued_task_of_names_that_are_refused_by_now_runs_and_is_learned_on(bench):
    """The next step reads the held-out pictures, whose class list has the name too."""
    former = "tac\u202e\u200b"
    task_id = bench.post(["cat"])
    blob = bench.blobs.put(io.BytesIO(drawn((former,), 0)))
    with write_session(bench.engine) as session:
        task = session.get_one(Task, task_id)
        task.dataset = blob.key
        task.spec = task.spec | {"name": "gnp\u202e.pets\u2028\ufeff", "classes": [former]}
    assert bench.supervisor().run(task_id) == TaskState.LIVE
    assert [entry["name"] for entry in bench.versions()[0].classes][1:] == [former]
    assert bench.run(["dog"], seed=1).state == TaskState.LIVE


def test_a_queued_import_of_names_that_are_refused_by_now_runs(bench):
    task_id = bench.post_import(["background", "tac\u202e"])
    with write_session(bench.engine) as session:
        task = session.get_one(Task, task_id)
        task.spec = task.spec | {"name": "gnp\u202e", "source": "gnp\u202e.zip"}
    assert bench.supervisor().run(task_id) == TaskState.LIVE


def test_a_task_queued_while_another_method_was_the_default_keeps_it(bench):
    assert bench.run(["cat"]).state == TaskState.LIVE
    then = bench.post(["dog"], seed=1, method="sats_plus")  # as a spec that named none was stored
    now = bench.post(["cow"], seed=2)
    for task_id in (then, now):
        assert bench.supervisor().run(task_id) == TaskState.LIVE
    taken = [start.job.settings.method for start in bench.control.starts()[1:]]
    told = [version.settings["method"] for version in bench.versions()[1:]]
    assert taken == told == ["sats_plus", "frozen"]


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


SPEC_THEN = {
    "name": "pets",
    "model": "default",
    "classes": None,
    "method": "finetune",
    "backbone": "pvt_v2_b0",
    "size": 64,
    "epochs": 2,
    "batch_size": 4,
    "protocol": "overlapped",  # there is no such key any more
    "gate": {"max_drop": 0.05, "min_iou": 0.3, "promote": True, "patience": 1},
}
SETTINGS_THEN = {"method": "finetune", "backbone": "pvt_v2_b0", "size": 64, "protocol": "disjoint"}
SCORES_THEN = {
    "iou": {"background": 0.9, "cat": 0.8},
    "introduced": {"cat": 0.8},
    "forgetting": {},
    "miou_old": None,
    "miou_new": 0.8,
    "miou_all": 0.85,
    "mean_forgetting": None,
    "pixel_accuracy": 0.9,
    "pictures": 1,
}


def test_rows_of_the_first_tables_are_read_and_learned_on(bench, client):
    """A version and a task that waits, as the first release wrote them, with keys since removed."""
    first, second = bench.run(["cat"]), bench.post(["dog"], seed=1)
    config = migration_config()
    with bench.engine.execution_options(write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        for table, values in (
            ("tasks", {"spec": SPEC_THEN}),
            ("versions", {"settings": SETTINGS_THEN, "scores": SCORES_THEN}),
        ):
            for column, value in values.items():
                connection.execute(
                    text(f"UPDATE {table} SET {column} = :json"),
                    {"json": json.dumps(value)},
                )
    upgrade(bench.engine)
    tasks = client.get("/tasks").json()["items"]
    assert [task["id"] for task in tasks] == [second, first.id]
    assert tasks[0]["spec"].items() >= SPEC_THEN.items()
    assert tasks[0]["spec"]["parent"] is None, "what came later has its default"
    assert client.get("/classes").json()["classes"][1]["name"] == "cat"
    (version,) = client.get("/admin/models/default/versions").json()["items"]
    assert (version["effective_settings"], version["method"]) == (SETTINGS_THEN, "finetune")
    assert version["scores"]["iou"] == SCORES_THEN["iou"]
    assert client.get("/admin/metrics").status_code == 200
    assert client.get("/admin/models/default/versions/1/forgetting").status_code == 404
    assert bench.supervisor().run(second) == TaskState.LIVE
    job = bench.control.starts()[-1].job
    assert (job.settings.method, job.settings.size, job.new_classes) == ("finetune", 64, ("dog",))
    version = client.get("/admin/models/default/versions/2").json()
    assert (version["parent"], version["lineage"], version["new_classes"]) == (1, [1, 2], ["dog"])
