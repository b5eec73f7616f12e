"""What goes when a task has ended, and what must stay."""

import io
import json
import threading
import time

from app.db import TaskState, write_session
from tests.worker.bench import drawn
from worker.claim import claim
from worker.tidying import tidy


def test_an_upload_that_another_task_needs_stays(bench):
    first, second = bench.post(["cat"]), bench.post(["cat"], model="b")
    assert bench.task(first).dataset == bench.task(second).dataset
    supervisor = bench.supervisor()
    supervisor.run(first)
    assert bench.has_blob(bench.task(first).dataset)
    assert supervisor.run(second) == TaskState.LIVE
    bench.assert_clean(first, second)


def test_an_upload_that_is_posted_again_while_it_is_removed_stays(bench, client, monkeypatch):
    bench.control.plan(fail="not this time")
    ended = bench.run(["cat"])
    bench.blobs.put(io.BytesIO(drawn(("cat",), 0)))
    delete = bench.blobs.delete
    removing = threading.Event()

    def slowly(key):
        removing.set()
        time.sleep(0.5)
        delete(key)

    monkeypatch.setattr(bench.blobs, "delete", slowly)
    thread = threading.Thread(
        target=tidy, args=(bench.engine, bench.blobs, bench.settings.work_dir, ended.id)
    )
    thread.start()
    removing.wait()
    answer = client.post(
        "/tasks",
        files={"dataset": ("a.zip", drawn(("cat",), 0))},
        data={"spec": json.dumps({"name": "again"})},
    )
    thread.join()
    assert answer.status_code == 202, answer.text
    assert bench.task(answer.json()["id"]).dataset == ended.dataset
    assert bench.has_blob(ended.dataset)


def test_a_running_task_is_never_tidied(bench):
    task_id = bench.post(["cat"])
    with write_session(bench.engine) as session:
        claim(session, task_id, "somebody", 30)
    tidy(bench.engine, bench.blobs, bench.settings.work_dir, task_id)
    assert bench.has_blob(bench.task(task_id).dataset)
