"""What goes when a task has ended, and what must stay."""

import io
import json
import shutil
import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import update

from app.db import Task, TaskState, utc_now, write_session
from app.errors import ConflictProblem
from tests.worker.bench import drawn, eventually
from worker.claim import claim
from worker.tidying import tidy, tidy_all


def test_an_upload_that_another_task_needs_stays(bench):
    first, second = bench.post(["cat"]), bench.post(["cat"], model="b")
    assert bench.task(first).dataset == bench.task(second).dataset
    supervisor = bench.supervisor()
    supervisor.run(first)
    assert bench.has_blob(bench.task(first).dataset)
    assert supervisor.run(second) == TaskState.LIVE
    bench.assert_clean(first, second)


@pytest.mark.races
def test_an_upload_that_is_posted_again_while_it_is_removed_stays(bench, client, monkeypatch):
    bench.control.plan(fail="not this time")
    ended = bench.run(["cat"])
    bench.blobs.put(io.BytesIO(drawn(("cat",), 0)))
    delete = bench.blobs.delete
    removing = threading.Event()

    def slowly(key):
        removing.set()
        # Its bytes are there, and it is about to ask whether they stay.
        eventually(lambda: any(bench.blobs.unfinished()))
        time.sleep(0.5)
        delete(key)

    monkeypatch.setattr(bench.blobs, "delete", slowly)
    at_once = bench.settings.model_copy(update={"keep_failed_hours": 0.0})
    thread = threading.Thread(target=tidy, args=(bench.engine, bench.blobs, at_once, ended.id))
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
    tidy(bench.engine, bench.blobs, bench.settings, task_id)
    assert bench.has_blob(bench.task(task_id).dataset)


def fail(bench, **posted):
    bench.control.plan(fail="not this time")
    return bench.run(["cat"], **posted)


def age(bench, task, hours):
    with write_session(bench.engine) as session:
        ended = utc_now() - timedelta(hours=hours)
        session.execute(update(Task).where(Task.id == task.id).values(finished_at=ended))


def test_what_a_failed_task_needs_stays_for_a_while(bench):
    task = fail(bench)
    folder = bench.settings.work_dir / task.id
    folder.joinpath("checkpoints", "pictures.raw").touch()
    age(bench, task, 71)
    tidy_all(bench.engine, bench.blobs, bench.settings)
    bench.assert_kept(task.id)
    assert not folder.joinpath("checkpoints", "pictures.raw").exists(), "it is made anew"
    age(bench, task, 73)
    tidy_all(bench.engine, bench.blobs, bench.settings)
    assert not folder.exists()
    assert not bench.has_blob(task.dataset)
    with pytest.raises(ConflictProblem, match="files were removed"):
        bench.retry(task.id)


def test_a_folder_that_was_shrunk_once_is_left_alone(bench):
    task = fail(bench)
    lock = bench.settings.work_dir / task.id / "lock"
    lock.write_text("untouched")
    for _ in range(2):
        tidy_all(bench.engine, bench.blobs, bench.settings)
    assert lock.read_text() == "untouched", "nobody takes it to find nothing"
    bench.assert_kept(task.id)


def test_the_upload_of_a_failed_task_outlives_another_task_s_end(bench):
    failed = fail(bench)
    bench.control.plan()
    assert bench.run(["cat"], model="b").state == TaskState.LIVE
    bench.assert_kept(failed.id)
    age(bench, failed, 73)
    tidy_all(bench.engine, bench.blobs, bench.settings)
    assert not bench.has_blob(failed.dataset)


def test_a_failed_task_without_a_folder_is_tidied_too(bench):
    """It failed before it had one, or its folder is another machine's."""
    task = fail(bench)
    folder = bench.settings.work_dir / task.id
    shutil.rmtree(folder)
    tidy(bench.engine, bench.blobs, bench.settings, task.id)
    age(bench, task, 71)
    tidy_all(bench.engine, bench.blobs, bench.settings)
    assert not folder.exists()
    assert bench.has_blob(task.dataset)
    assert bench.task(task.id).tidied_at is None
    age(bench, task, 73)
    tidy_all(bench.engine, bench.blobs, bench.settings)
    assert not bench.has_blob(task.dataset)
    assert bench.task(task.id).tidied_at is not None


def test_the_folder_of_a_task_that_another_machine_tidied_goes(bench, tmp_path):
    task = fail(bench)
    age(bench, task, 73)
    elsewhere = bench.settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    tidy_all(bench.engine, bench.blobs, elsewhere)
    assert not bench.has_blob(task.dataset)
    assert (bench.settings.work_dir / task.id).exists()
    tidy_all(bench.engine, bench.blobs, bench.settings)
    assert not (bench.settings.work_dir / task.id).exists()


def test_only_a_failed_task_whose_files_are_there_is_tried_again(bench):
    waiting = bench.post(["cow"], seed=1)
    with pytest.raises(ConflictProblem, match="this one is queued"):
        bench.retry(waiting)
    bench.cancel(waiting)
    with pytest.raises(ConflictProblem, match="this one is cancelled"):
        bench.retry(waiting)
    failed = fail(bench)
    bench.blobs.delete(failed.dataset)
    with pytest.raises(ConflictProblem, match="are gone"):
        bench.retry(failed.id)
