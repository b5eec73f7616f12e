"""What ends a step through no fault of the input is named, and memory is tried with less."""

import errno
import os
import signal
import threading
from pathlib import Path

import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.db import Task, TaskState, write_session
from app.storage import BlobStoreDownError
from tests.worker.bench import PATIENCE, eventually, running
from worker import registering
from worker.supervisor import STORE_AWAITED

PREFIX = "urn:sats:problem:"


def runs(bench, task_id, most=10):
    """Run a task until it has ended; returns the pictures computed at once of every start."""
    supervisor = bench.supervisor()
    for _ in range(most):
        if supervisor.run(task_id) != TaskState.QUEUED:
            break
    return [start.job.at_once for start in bench.control.starts()]


@pytest.fixture
def vmstat(tmp_path, monkeypatch):
    path = tmp_path / "vmstat"
    path.write_text("oom_kill 7\n")
    monkeypatch.setattr("worker.process.VMSTAT", path)
    return path


@pytest.mark.parametrize("killed", [False, True])
def test_where_memory_runs_out_half_as_many_pictures_are_computed_at_once(bench, vmstat, killed):
    bench.control.plan(needs_halvings=2, vmstat=str(vmstat) if killed else None)
    task_id = bench.post(["cat"], batch_size=16)
    sizes = []
    for _ in range(3):
        vmstat.write_text("oom_kill 7\n")
        sizes = runs(bench, task_id, most=1)
    task = bench.task(task_id)
    assert sizes == [16, 8, 4]
    assert (task.state, task.halvings, task.tries) == (TaskState.LIVE, 2, 0)
    first, second = task.warnings
    assert "memory ran out" in first
    assert "8 instead of 16" in first
    assert "4 instead of 8" in second
    assert "the batch and the learning rate stay" in second
    assert {start.job.settings.batch_size for start in bench.control.starts()} == {16}
    assert [e.data["message"] for e in bench.events(task_id, "warning")] == task.warnings


def test_memory_that_is_never_enough_fails_with_what_to_do(bench):
    bench.control.plan(needs_halvings=9)
    task_id = bench.post(["cat"], batch_size=4)
    assert runs(bench, task_id) == [4, 2, 2, 2]
    task = bench.task(task_id)
    assert task.error["type"] == PREFIX + "out-of-memory"
    assert "`batch_size`" in task.error["detail"]
    assert ":retry" in task.error["detail"]
    bench.assert_kept(task_id)


def test_a_step_that_solves_rows_is_told_what_of_it_takes_memory(bench):
    bench.control.plan()
    runs(bench, bench.post(["cat"]))
    bench.control.plan(needs_halvings=9)
    task_id = bench.post(["dog"], batch_size=2)
    runs(bench, task_id)
    task = bench.task(task_id)
    assert task.error["type"] == PREFIX + "out-of-memory"
    assert "fewer `pixels` or `units`" in task.error["detail"]


def test_memory_that_runs_out_after_training_is_not_the_batch_s_fault(bench):
    bench.control.plan(affords_to_evaluate=False)
    task_id = bench.post(["cat"], batch_size=8)
    assert set(runs(bench, task_id)) == {8}
    assert bench.task(task_id).error["type"] == PREFIX + "out-of-memory"


def test_an_import_has_no_batch(bench):
    bench.control.plan(affords_to_evaluate=False, epochs=0)
    task_id = bench.post_import(("background", "cat"))
    for _ in range(3):
        bench.supervisor().run(task_id)
    assert bench.task(task_id).error["type"] == PREFIX + "out-of-memory"


@pytest.mark.parametrize(
    ("cause", "slug", "advice"),
    [("disk", "disk-full", "SATS_DATA_DIR"), ("export", "export-failed", "Its training is kept")],
)
def test_a_full_disk_and_a_failing_export_are_named_at_once(bench, cause, slug, advice):
    bench.control.plan(fail="what it said", fail_cause=cause)
    task = bench.run(["cat"])
    assert (task.state, task.error["type"]) == (TaskState.FAILED, PREFIX + slug)
    assert task.error["detail"].startswith("what it said. ")
    assert advice in task.error["detail"]
    bench.assert_kept(task.id)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_when_the_version_is_stored_is_named(bench, monkeypatch, number):
    def full(*_args):
        raise OSError(number, "no room")

    task_id = bench.post(["cat"])
    monkeypatch.setattr(bench.blobs, "stage", full)
    assert bench.supervisor().run(task_id) == TaskState.FAILED
    assert bench.task(task_id).error["type"] == PREFIX + "disk-full"
    monkeypatch.undo()
    bench.retry(task_id)
    assert bench.supervisor().run(task_id) == TaskState.LIVE
    assert len(bench.control.starts()) == 1, "its result was kept"


def test_a_process_that_somebody_else_asked_to_stop_was_killed(bench):
    bench.control.plan(epochs=1, epoch_seconds=60)
    task_id = bench.post(["cat"])
    with running(bench.supervisor(max_tries=1), task_id) as left:
        os.kill(bench.child_pid(1), signal.SIGTERM)
        eventually(lambda: bool(left))
    error = bench.task(task_id).error
    assert error["type"] == PREFIX + "process-killed"
    assert "SIGTERM" in error["detail"]


def test_a_task_that_is_tried_again_computes_its_batch_at_once(bench):
    bench.control.plan(needs_halvings=9)
    task_id = bench.post(["cat"], batch_size=4)
    runs(bench, task_id)
    assert bench.task(task_id).halvings == 1
    bench.retry(task_id)
    assert bench.task(task_id).halvings == 0
    bench.control.plan()
    assert runs(bench, task_id)[-1] == 4


def test_the_log_is_read_by_task_over_all_its_tries(bench, client):
    bench.control.plan(stderr="first try\n", crash_epoch=1)
    task_id = bench.post(["cat"])
    assert client.get(f"/tasks/{task_id}/log").text == ""
    bench.supervisor().run(task_id)
    bench.control.plan(stderr="second try\n")
    bench.supervisor().run(task_id)
    answer = client.get(f"/tasks/{task_id}/log")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == "first try\nsecond try\n"
    bench.assert_clean(task_id)


def test_the_log_is_written_while_the_step_runs(bench, monkeypatch, client):
    monkeypatch.setattr("worker.recorder.LOG_SECONDS", 0.1)
    bench.control.plan(stderr="at work\n", epoch_seconds=60)
    task_id = bench.post(["cat"])
    with running(bench.supervisor(), task_id):
        eventually(lambda: client.get(f"/tasks/{task_id}/log").text == "at work\n")


def test_a_database_without_time_costs_no_try(bench, monkeypatch):
    lock_blobs = registering.lock_blobs

    def busy(*_args):
        monkeypatch.setattr(registering, "lock_blobs", lock_blobs)
        raise PoolTimeoutError("all connections are taken")

    monkeypatch.setattr(registering, "lock_blobs", busy)
    bench.control.plan(epochs=0)
    task_id = bench.post(["cat"])
    assert bench.supervisor().run(task_id) == TaskState.QUEUED
    assert bench.task(task_id).tries == 0
    assert bench.supervisor().run(task_id) == TaskState.LIVE


@pytest.fixture
def soon(monkeypatch):
    """Ask a store that is down again at once."""
    monkeypatch.setattr("worker.store_probe.PAUSE_SECONDS", 0.1)


@pytest.mark.parametrize("trains", [False, True])
def test_a_store_that_is_away_is_waited_for_at_no_cost(bench, soon, monkeypatch, tmp_path, trains):
    """A worker that cannot read it, and a child that is lost meanwhile."""
    looked, answers = threading.Event(), bench.blobs.answers
    blobs, away = bench.settings.blob_dir, tmp_path / "away"

    def said() -> bool:
        up = answers()
        looked.set()
        return up

    monkeypatch.setattr(bench.blobs, "answers", said)
    bench.control.plan(epoch_seconds=60)
    task_id = bench.post(["cat"])
    if not trains:
        leave(blobs, away)
    with running(bench.supervisor(max_tries=1), task_id) as left:
        if trains:
            child = bench.child_pid(1)
            leave(blobs, away)
            os.kill(child, signal.SIGKILL)
        assert looked.wait(PATIENCE)
        assert left == []
        blobs.unlink()
        away.rename(blobs)
        eventually(lambda: bool(left))
    task = bench.task(task_id)
    assert (left, task.state, task.tries) == ([TaskState.QUEUED], TaskState.QUEUED, 0)
    bench.control.plan()
    assert bench.supervisor().run(task_id) == TaskState.LIVE


def test_a_task_that_waits_for_the_store_can_be_cancelled(bench, tmp_path):
    task_id = bench.post(["cat"])
    leave(bench.settings.blob_dir, tmp_path / "away")
    with running(bench.supervisor(), task_id):
        eventually(lambda: bench.state(task_id) == TaskState.VALIDATING)
        bench.cancel(task_id)
        bench.ends(task_id, TaskState.CANCELLED)


def leave(blobs: Path, away: Path) -> None:
    """Put a file where the store was."""
    blobs.rename(away)
    blobs.touch()


def test_a_store_that_stays_away_holds_a_worker_for_a_while(
    bench, soon, monkeypatch, tmp_path, client
):
    monkeypatch.setattr("worker.store_probe.MOST_SECONDS", 1.0)
    task_id = bench.post(["cat"])
    leave(bench.settings.blob_dir, tmp_path / "away")
    supervisor = bench.supervisor(max_tries=1)
    assert [supervisor.run(task_id) for _ in range(2)] == [TaskState.QUEUED] * 2
    assert bench.task(task_id).tries == 0
    assert client.get(f"/tasks/{task_id}").json()["warnings"] == [STORE_AWAITED]
    assert len(bench.events(task_id, "warning")) == 1


@pytest.mark.parametrize("ends", ["cancel", "stop", "steal"])
def test_a_store_that_hangs_keeps_a_worker_from_nothing(bench, soon, monkeypatch, tmp_path, ends):
    hung, over = threading.Event(), threading.Event()

    def hangs() -> bool:
        hung.set()
        return over.wait(PATIENCE)

    monkeypatch.setattr(bench.blobs, "answers", hangs)
    task_id = bench.post(["cat"])
    leave(bench.settings.blob_dir, tmp_path / "away")
    supervisor = bench.supervisor()
    with running(supervisor, task_id) as left:
        assert hung.wait(PATIENCE)
        if ends == "cancel":
            bench.cancel(task_id)
        elif ends == "stop":
            supervisor.stopping.set()
        else:
            with write_session(bench.engine) as session:
                session.get_one(Task, task_id).fence += 1
        eventually(lambda: bool(left))
    over.set()
    said = {"cancel": TaskState.CANCELLED, "stop": TaskState.QUEUED, "steal": None}
    assert left == [said[ends]]


def test_a_store_that_answers_again_at_once_costs_no_try(bench, soon, monkeypatch):
    stage = bench.blobs.stage

    def fails(*_args):
        monkeypatch.setattr(bench.blobs, "stage", stage)
        raise BlobStoreDownError(errno.EIO, "no")

    task_id = bench.post(["cat"])
    monkeypatch.setattr(bench.blobs, "stage", fails)
    supervisor = bench.supervisor(max_tries=1)
    assert supervisor.run(task_id) == TaskState.QUEUED
    assert supervisor.run(task_id) == TaskState.LIVE
    assert len(bench.control.starts()) == 1, "its result was kept"
