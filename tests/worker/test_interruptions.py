"""A step that is stopped from outside, and the folder that no two may work in."""

import subprocess
import sys
import time

import pytest

from app.db import TaskState, write_session
from tests.worker.bench import PATIENCE, eventually, is_gone, running
from worker.folder import FolderInUseError, WorkFolder


def test_cancel_while_running(bench):
    bench.control.plan(epoch_seconds=60)
    task_id = bench.post(["cat"])
    with running(bench.supervisor(), task_id) as left:
        eventually(lambda: bench.state(task_id) == TaskState.TRAINING)
        bench.cancel(task_id)
        eventually(lambda: left == [TaskState.CANCELLED])
    task = bench.task(task_id)
    assert task.error is None
    assert task.finished_at is not None
    assert is_gone(bench.child_pid(1))
    assert not bench.versions()
    bench.assert_clean(task_id)


def test_stopping_gives_the_task_back_and_costs_no_try(bench):
    bench.control.plan(epochs=2, gated=1)
    task_id = bench.post(["cat"])
    supervisor = bench.supervisor()
    with running(supervisor, task_id) as left:
        bench.trains(task_id)
        supervisor.stopping.set()
        eventually(lambda: left == [TaskState.QUEUED])
    task = bench.task(task_id)
    assert (task.state, task.tries, task.lease_until, task.worker) == ("queued", 0, None, None)
    assert supervisor.run(task_id) is None, "a stopping worker takes nothing"
    bench.control.plan(epochs=2)
    assert bench.supervisor().run(task_id) == TaskState.LIVE
    assert [start.epoch for start in bench.control.starts()] == [0, 1]
    assert bench.task(task_id).tries == 0


@pytest.mark.parametrize("how", ["stopped", "cancelled"])
def test_what_the_child_says_while_it_stops_is_recorded_if_somebody_goes_on(bench, how):
    bench.control.plan(epochs=2, epoch_seconds=3600, ends_epoch=True)
    task_id = bench.post(["cat"])
    supervisor = bench.supervisor()
    with running(supervisor, task_id) as left:
        eventually(lambda: bench.state(task_id) == TaskState.TRAINING)
        if how == "stopped":
            supervisor.stopping.set()
        else:
            bench.cancel(task_id)
        eventually(lambda: bool(left))
    epochs = [event.data["epoch"] for event in bench.events(task_id, "epoch")]
    if how == "cancelled":
        assert (left, epochs) == ([TaskState.CANCELLED], [])
        return
    assert (left, epochs) == ([TaskState.QUEUED], [1])
    assert bench.events(task_id)[-1].data == {"state": "queued"}, "told after the epoch"
    bench.control.plan(epochs=2)
    assert bench.supervisor().run(task_id) == TaskState.LIVE
    assert [start.epoch for start in bench.control.starts()] == [0, 1]
    assert [event.data["epoch"] for event in bench.events(task_id, "epoch")] == [1, 2]


def test_a_child_that_does_not_stop_is_killed(bench, monkeypatch):
    monkeypatch.setattr("worker.process.STOP_SECONDS", 0.5)
    bench.control.plan(epoch_seconds=60, deaf=True)
    task_id = bench.post(["cat"])
    with running(bench.supervisor(), task_id) as left:
        eventually(lambda: bench.state(task_id) == TaskState.TRAINING)
        bench.cancel(task_id)
        eventually(lambda: left == [TaskState.CANCELLED])
    assert is_gone(bench.child_pid(1))


def test_a_worker_that_lost_its_lease_stops_its_child_and_writes_nothing(bench):
    bench.control.plan(epoch_seconds=60)
    task_id = bench.post(["cat"])
    with running(bench.supervisor(), task_id) as left:
        eventually(lambda: bench.state(task_id) == TaskState.TRAINING)
        with write_session(bench.engine) as session:
            row = session.get_one(type(bench.task(task_id)), task_id)
            row.fence += 1  # as a sweep, or another worker's claim, would
            row.worker = "worker-2"
        eventually(lambda: left == [None])
    assert is_gone(bench.child_pid(1))
    task = bench.task(task_id)
    assert (task.state, task.worker) == ("training", "worker-2")
    assert bench.settings.work_dir.joinpath(task_id).exists(), "the other worker's now"


def test_two_children_never_work_in_one_folder(bench):
    """A worker that stood still beyond its lease may leave a child running: the next one waits."""
    bench.control.plan(epochs=1, gated=0)
    task_id = bench.post(["cat"])
    with running(bench.supervisor("worker-1", heartbeat_seconds=60, lease_seconds=180), task_id):
        eventually(lambda: bench.state(task_id) == TaskState.TRAINING)
        with write_session(bench.engine) as session:
            row = session.get_one(type(bench.task(task_id)), task_id)
            row.fence, row.state, row.lease_until = row.fence + 1, TaskState.QUEUED, None
        first = bench.child_pid(1)
        with running(bench.supervisor("worker-2", lease_seconds=60), task_id) as left:
            eventually(lambda: bench.state(task_id) == TaskState.VALIDATING)
            bench.control.let_on()
            eventually(lambda: len(bench.control.starts()) == 2 or bool(left))
            assert is_gone(first)
            eventually(lambda: left == [TaskState.LIVE])
    assert len(bench.versions()) == 1


def test_a_worker_that_hangs_blocks_its_successor_for_a_while_only(bench):
    """It holds the folder's lock, as a real process, and never lets it go."""
    task_id = bench.post(["cat"])
    lock = bench.settings.work_dir / task_id / "lock"
    lock.parent.mkdir(parents=True)
    hang = (
        "import fcntl, sys, time; held = open(sys.argv[1], 'w'); "
        "fcntl.flock(held, fcntl.LOCK_EX); held.write('gpu-7:4711'); held.flush(); "
        "print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", hang, str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as hanging:
        assert hanging.stdout.readline() == b"held\n"
        supervisor = bench.supervisor(max_tries=2, lease_seconds=0.5)
        began = time.monotonic()
        assert supervisor.run(task_id) == TaskState.QUEUED
        assert supervisor.run(task_id) == TaskState.FAILED
        assert 2 <= time.monotonic() - began < PATIENCE
        hanging.kill()
    error = bench.task(task_id).error
    assert error["type"] == "urn:sats:problem:work-folder-held"
    assert "gpu-7:4711" in error["detail"]
    assert not bench.control.starts()
    bench.retry(task_id)
    assert bench.supervisor("worker-2").run(task_id) == TaskState.LIVE


def test_who_holds_a_folder_is_named(bench):
    folder = WorkFolder(bench.settings.work_dir, "some-task")
    with folder.locked("worker-1", 0) as first:
        assert first is not None
        with pytest.raises(FolderInUseError, match="worker-1"), folder.locked("worker-2", 0.2):
            pass
        with folder.locked("worker-2", 60, give_up=lambda: True) as second:
            assert second is None
        folder.shrink()
    with folder.locked("worker-2", 0) as second:
        assert second is not None
