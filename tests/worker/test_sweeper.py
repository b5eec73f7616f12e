"""What is left undone by a lost message or a lost worker is found and done."""

import io
import os
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from app.db import (
    ApiKey,
    HeldOutSet,
    LargeUpload,
    Task,
    TaskState,
    database_now,
    read_session,
    utc_now,
    write_session,
)
from app.db.filling import HeldOutBytes
from app.keys.service import Scope, create_key
from app.storage import BlobStoreDownError, LocalBlobStore
from sats_core.job import CHECKPOINT
from tests.worker.bench import CPU, PATIENCE, eventually
from worker.claim import claim
from worker.sweeper import Sweeper


def sweeper(bench, idle=True, **changes):
    woken: list[str] = []
    renew, has = changes.pop("renew", lambda: None), changes.pop("has", CPU)
    settings = bench.settings.model_copy(update=changes)
    parts = (bench.engine, bench.blobs, settings, renew, has)
    return Sweeper(*parts, woken.append, lambda: idle), woken


def lose(bench, task_id):
    """Claim a task as a worker that is never heard of again."""
    with write_session(bench.engine) as session:
        claim(session, task_id, "lost", 30)
        session.execute(update(Task).where(Task.id == task_id).values(lease_until=1.0))


def test_a_lost_task_is_queued_and_woken(bench):
    task_id = bench.post(["cat"])
    lose(bench, task_id)
    made, woken = sweeper(bench)
    made.sweep()
    assert bench.state(task_id) == TaskState.QUEUED
    assert woken == [task_id]


def test_a_lost_wake_up_is_sent_again_for_the_task_whose_turn_it_is(bench):
    first, _second, other = bench.post(["cat"]), bench.post(["cat"]), bench.post(["cat"], model="b")
    made, woken = sweeper(bench)
    made.sweep()
    lose(bench, first)
    made.wake_waiting()
    assert woken == [first, other]


def test_nobody_is_woken_for_what_workers_like_this_one_may_not_take(bench):
    bench.post(["cat"], device="cuda")
    made, woken = sweeper(bench)
    made.sweep()
    assert woken == []
    task_id = bench.post(["cat"], model="b", device="cpu")
    made.sweep()
    assert woken == [task_id]


def test_a_store_that_is_away_keeps_no_wake_up_from_being_sent(bench, tmp_path):
    left, waits = bench.post(["cat"], model="b", seed=1), bench.post(["cat"])
    bench.cancel(left)
    (bench.settings.work_dir / left).mkdir(parents=True)  # of a worker that was lost
    bench.settings.blob_dir.rename(tmp_path / "away")
    bench.settings.blob_dir.touch()
    made, woken = sweeper(bench)
    with pytest.raises(BlobStoreDownError):
        made.sweep()
    assert woken == [waits]


def test_a_busy_worker_sends_no_wake_ups(bench):
    bench.post(["cat"])
    made, woken = sweeper(bench, idle=False)
    made.sweep()
    assert woken == []


def test_a_worker_takes_nothing_from_itself(bench):
    """After a suspend its own lease has run out, and its own sweeper may look first."""
    bench.control.plan(epochs=1, epoch_seconds=60)
    task_id = bench.post(["cat"])
    supervisor = bench.supervisor(heartbeat_seconds=60, lease_seconds=180)
    thread = threading.Thread(target=supervisor.run, args=(task_id,))
    thread.start()
    eventually(lambda: bench.state(task_id) == TaskState.TRAINING)
    with write_session(bench.engine) as session:
        session.execute(update(Task).where(Task.id == task_id).values(lease_until=1.0))
    sweeper(bench, renew=supervisor.renew)[0].sweep()
    task = bench.task(task_id)
    supervisor.stopping.set()
    thread.join()
    assert (task.state, task.tries) == (TaskState.TRAINING, 1)
    supervisor.renew()


def test_the_last_try_fails_and_leaves_nothing_where_nothing_is_kept(bench):
    task_id = bench.post(["cat"])
    lose(bench, task_id)
    bench.settings.work_dir.joinpath(task_id).mkdir(parents=True)
    made, woken = sweeper(bench, max_tries=1, keep_failed_hours=0.0)
    made.sweep()
    task = bench.task(task_id)
    assert task.state == TaskState.FAILED
    assert woken == []
    assert not bench.has_blob(task.dataset)
    assert not bench.settings.work_dir.joinpath(task_id).exists()


def test_the_last_try_keeps_what_another_one_needs(bench):
    task_id = bench.post(["cat"])
    lose(bench, task_id)
    bench.settings.work_dir.joinpath(task_id).mkdir(parents=True)
    sweeper(bench, max_tries=1)[0].sweep()
    assert bench.state(task_id) == TaskState.FAILED
    bench.assert_kept(task_id)


def test_what_a_worker_lost_after_its_last_write_left_is_tidied(bench, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("worker.supervisor.tidy", lambda *_: None)
        task = bench.run(["cat"])
    assert task.state == TaskState.LIVE
    assert bench.has_blob(task.dataset)
    sweeper(bench)[0].sweep()
    bench.assert_clean(task.id)


def test_a_cancelled_task_that_had_run_is_tidied(bench):
    bench.control.plan(crash_epoch=0)
    task_id = bench.post(["cat"])
    bench.supervisor().run(task_id)
    bench.cancel(task_id)
    assert bench.state(task_id) == TaskState.CANCELLED
    sweeper(bench)[0].sweep()
    bench.assert_clean(task_id)


def test_the_folder_of_a_task_that_may_run_again_stays(bench):
    bench.control.plan(crash_epoch=1)
    task_id = bench.post(["cat"])
    bench.supervisor().run(task_id)
    stranger = bench.settings.work_dir / "not a task"
    stranger.mkdir()
    sweeper(bench)[0].sweep()
    assert bench.settings.work_dir.joinpath(task_id, "checkpoints", CHECKPOINT).exists()
    assert bench.has_blob(bench.task(task_id).dataset)
    assert stranger.exists()


def test_the_thread_outlives_a_bad_sweep(bench, monkeypatch):
    calls: list[int] = []

    def bad(*_args):
        calls.append(1)
        raise ZeroDivisionError

    monkeypatch.setattr("worker.sweeper.tidy_all", bad)
    made, _ = sweeper(bench, sweep_seconds=0.05)
    made.start()
    eventually(lambda: len(calls) > 2)
    made.stop()


def leave(bench) -> Path:
    """Leave a blob that nothing refers to, long ago."""
    path = bench.blobs.path(bench.blobs.put(io.BytesIO(b"left behind")).key)
    os.utime(path, (1.0, 1.0))
    return path


def test_garbage_is_collected_now_and_then(bench):
    bench.post(["cat"])
    made, _ = sweeper(bench, gc_seconds=0.05)
    first = leave(bench)
    made.start()
    eventually(lambda: not first.exists())
    second = leave(bench)
    unsent = bench.settings.data_dir / "broker" / "messages" / ".lost.partial"
    unsent.parent.mkdir(parents=True, exist_ok=True)
    unsent.touch()
    os.utime(unsent, (1.0, 1.0))
    redis = bench.settings.redis_url is not None
    eventually(lambda: not second.exists() and unsent.exists() == redis)
    made.stop()
    assert all(bench.has_blob(bench.task(task).dataset) for task in bench.queued())


def test_a_store_that_takes_long_to_read_delays_no_sweep(bench, monkeypatch):
    reading, go_on = threading.Event(), threading.Event()

    def slow():
        reading.set()
        go_on.wait()
        return iter(())

    monkeypatch.setattr(bench.blobs, "entries", slow)
    made, woken = sweeper(bench, sweep_seconds=0.05)
    made.start()
    assert reading.wait(60)
    task_id = bench.post(["cat"])
    lose(bench, task_id)
    try:
        eventually(lambda: bench.state(task_id) == TaskState.QUEUED and task_id in woken)
    finally:
        go_on.set()
        made.stop()


def test_what_a_failed_task_is_tried_again_with_is_no_garbage(bench):
    bench.control.plan(fail="not this time")
    task = bench.run(["cat"])
    path = bench.blobs.path(task.dataset)
    os.utime(path, (1.0, 1.0))
    left = leave(bench)
    sweeper(bench)[0].collect()
    assert (path.exists(), left.exists()) == (True, False)
    bench.control.plan()
    bench.retry(task.id)
    assert bench.supervisor().run(task.id) == TaskState.LIVE
    bench.assert_clean(task.id)


def test_what_held_out_pictures_take_is_written_down_afterwards_too(bench):
    """Of sets that a process of before the column registered; a blob that is lost stays unknown."""
    bench.control.plan(epochs=1)
    for name in ("cat", "dog", "cow"):
        bench.run([name], model=name)
    sizes = [kept.bytes for kept in bench.held_out()]
    assert sizes == [bench.blobs.size(kept.blob) for kept in bench.held_out()]
    with write_session(bench.engine) as session:
        session.execute(update(HeldOutSet).values(bytes=None))
        first = session.scalars(select(HeldOutSet).order_by(HeldOutSet.id)).first()
        first.blob = "0" * 64
    assert HeldOutBytes(bench.engine, {}.get).fill(rows=1) == 0
    made, _ = sweeper(bench)
    made.collect()
    assert [kept.bytes for kept in bench.held_out()] == [None, *sizes[1:]]


@pytest.fixture
def unmeasured(bench):
    """Three sets of held-out pictures whose bytes no row says."""
    bench.control.plan(epochs=1)
    for name in ("cat", "dog", "cow"):
        bench.run([name], model=name)
    with write_session(bench.engine) as session:
        session.execute(update(HeldOutSet).values(bytes=None))
    return [kept.blob for kept in bench.held_out()]


@pytest.mark.parametrize("rows", [1, 50])
def test_one_failing_read_loses_nothing_and_keeps_nothing_behind_it_waiting(
    bench, unmeasured, rows
):
    known = {blob: number for number, blob in enumerate(unmeasured, 1)}
    broken = {unmeasured[1]}

    def size(blob):
        if blob in broken:
            raise OSError("no answer")
        return known[blob]

    filling = HeldOutBytes(bench.engine, size)
    with pytest.raises(OSError, match="no answer"):
        filling.fill(rows)
    assert [kept.bytes for kept in bench.held_out()] == [1, None, None], "what was measured stays"
    assert filling.fill(rows) == 1
    assert [kept.bytes for kept in bench.held_out()] == [1, None, 3]
    broken.clear()
    assert filling.fill(rows) == 1, "what failed is asked again"
    assert [kept.bytes for kept in bench.held_out()] == [1, 2, 3]


def test_a_blob_that_is_lost_is_not_asked_for_at_every_pass(bench, unmeasured):
    asked = []
    filling = HeldOutBytes(bench.engine, asked.append)
    assert [filling.fill(), filling.fill()] == [0, 0]
    assert asked == unmeasured


def test_garbage_of_a_strange_store_is_left_alone(bench):
    made, _ = sweeper(bench)
    path = leave(bench)
    made.collect()
    assert path.exists(), "the database knows no model: it may be the wrong one"


def test_a_cancelled_task_whose_api_died_before_it_removed_the_upload(bench):
    task_id, other = bench.post(["cat"]), bench.post(["dog"])
    bench.cancel(task_id)
    path = bench.blobs.path(bench.task(task_id).dataset)
    os.utime(path, (1.0, 1.0))
    sweeper(bench)[0].collect()
    assert not path.exists()
    assert bench.has_blob(bench.task(other).dataset)


def test_uploads_that_have_ended_are_forgotten_of_keys_that_never_come_back(bench):
    with write_session(bench.engine) as session:
        create_key(session, b"secret", "a", [Scope.SUBMIT])
        key_id = session.scalars(select(ApiKey.id)).one()
        for name, hours in (("ended", -1), ("kept", 1)):
            ends = utc_now() + timedelta(hours=hours)
            for owner in (None, key_id):
                sent = {"key_id": owner, "name": name, "bytes": 1, "part_bytes": 1}
                session.add(LargeUpload(**sent, expires_at=ends))
    sweeper(bench)[0].collect()
    with read_session(bench.engine) as session:
        assert sorted(session.scalars(select(LargeUpload.name))) == ["kept", "kept"]


@pytest.mark.races
def test_who_holds_an_upload_that_has_ended_keeps_no_collector_waiting(bench):
    with write_session(bench.engine) as session:
        ends = utc_now() - timedelta(hours=1)
        session.add(LargeUpload(name="ended", bytes=1, part_bytes=1, expires_at=ends))
    if bench.engine.dialect.name == "sqlite":
        pytest.skip("it has one writer at a time")
    with write_session(bench.engine) as session:
        session.scalars(select(LargeUpload).with_for_update()).one()
        sweeper(bench)[0].collect()
    sweeper(bench)[0].collect()
    with read_session(bench.engine) as session:
        assert session.scalars(select(LargeUpload)).all() == []


def down(*_args):
    raise BlobStoreDownError(5, "down")


@pytest.mark.parametrize("broken", ["forget_deleted", "delete", "entries"])
def test_a_store_that_is_down_keeps_nothing_else_from_being_tidied(
    bench, monkeypatch, tmp_path, broken
):
    bench.post(["cat"])
    left, forgot = leave(bench), []
    folder = LocalBlobStore(tmp_path / "memory")
    beside = folder.path(folder.put(io.BytesIO(b"left too")).key)
    os.utime(beside, (1.0, 1.0))
    monkeypatch.setattr(bench.blobs, "forget_deleted", lambda: forgot.append(left.exists()))
    monkeypatch.setattr(bench.blobs, broken, down)
    sweeper(bench, memory_dir=folder.root)[0].collect()
    assert left.exists() == (broken != "forget_deleted")
    # Nobody can tell whether the database is the right one while the store cannot be listed.
    assert beside.exists() == (broken == "entries")
    assert forgot == ([] if broken == "forget_deleted" else [True])


def test_a_lost_worker_s_lease_from_before_the_clock_was_set_back_ends(bench):
    """The database's clock was a year ahead when the task was taken."""
    task_id = bench.post(["cat"])
    with write_session(bench.engine) as session:
        claim(session, task_id, "lost", 365 * 86400)
    made, _ = sweeper(bench, lease_seconds=PATIENCE)  # longer than this test may take
    made.sweep()
    assert bench.state(task_id) == TaskState.VALIDATING, "who lives has time to renew it"
    with read_session(bench.engine) as session:
        left = session.scalar(select(Task.lease_until - database_now()))
    assert 0 < left <= PATIENCE
    with write_session(bench.engine) as session:
        session.execute(update(Task).values(lease_until=Task.lease_until - left))
    made.sweep()
    assert bench.state(task_id) == TaskState.QUEUED


def test_a_lease_that_another_setting_gave_is_left(bench):
    task_id = bench.post(["cat"])
    with write_session(bench.engine) as session:
        claim(session, task_id, "patient", 3000)
    sweeper(bench)[0].sweep()
    with read_session(bench.engine) as session:
        assert session.scalar(select(Task.lease_until - database_now())) > 2000
