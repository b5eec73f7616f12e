"""While a store is asked, nobody holds what a heartbeat, or anybody else, writes to."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import select, text

from app.db import Task, TaskState, write_session
from app.storage import BlobStoreDownError, SentInVainError
from app.tasks.service import retry
from worker.claim import claim
from worker.folder import WorkFolder
from worker.sharing import SharedCheckpoint

pytestmark = pytest.mark.parametrize("database_url", ["served"], indirect=True)


@pytest.fixture
def asked(bench, monkeypatch):
    """How often the store was asked; whoever asks it holds no row meanwhile.

    A heartbeat may hold one, but lets go of it: who asks the store would not before it answers.
    """
    times = []

    def look(*_args):
        times.append(1)
        with write_session(bench.engine) as session:
            session.execute(text("SET LOCAL lock_timeout = '5s'"))
            session.scalars(select(Task.id).with_for_update()).all()
        return True

    stage = bench.blobs.stage

    @contextmanager
    def watched(*args):
        with stage(*args) as staged:
            yield replace(staged, confirm=look)

    monkeypatch.setattr(bench.blobs, "stage", watched)
    monkeypatch.setattr(bench.blobs, "is_there", look)
    return times


def test_a_version_is_registered(bench, asked):
    task_id = bench.post(["cat"])
    assert bench.supervisor().run(task_id) == TaskState.LIVE
    assert asked


def test_a_checkpoint_is_shared(bench, asked, tmp_path):
    task_id = bench.post(["cat"])
    with write_session(bench.engine) as session:
        claimed = claim(session, task_id, "a", 60.0)
    folder = WorkFolder(tmp_path / "here", "task")
    folder.checkpoints.mkdir(parents=True)
    folder.checkpoint.write_bytes(b"one")
    SharedCheckpoint(bench.engine, bench.blobs, claimed, folder, 60.0, lambda: False).share()
    assert bench.task(task_id).checkpoint is not None
    assert asked


def test_a_failed_task_is_tried_again(bench, asked):
    bench.control.plan(fail="not this time")
    task = bench.run(["cat"])
    asked.clear()
    bench.retry(task.id)
    assert asked


def test_a_store_that_is_silent_queues_no_failed_task(bench, monkeypatch):
    bench.control.plan(fail="not this time")
    task = bench.run(["cat"])

    def silent(*_args):
        raise BlobStoreDownError(5, "silent")

    monkeypatch.setattr(bench.blobs, "is_there", silent)
    with pytest.raises(BlobStoreDownError), write_session(bench.engine) as session:
        retry(session, bench.blobs, task.id)
    assert bench.state(task.id) == TaskState.FAILED


def test_what_was_deleted_before_it_was_registered_is_sent_again(bench, monkeypatch):
    sent, asked, stage = [], [], bench.blobs.stage

    def gone_at_first():
        asked.append(1)
        if len(asked) == 1:
            raise SentInVainError(11, "deleted meanwhile")

    @contextmanager
    def watched(*args):
        with stage(*args) as staged:
            key = staged.blob.key
            yield replace(staged, send=lambda: sent.append(key), confirm=gone_at_first)

    task_id = bench.post(["cat"])
    monkeypatch.setattr(bench.blobs, "stage", watched)
    assert bench.supervisor().run(task_id) == TaskState.LIVE
    assert len(sent) == 2 * len(set(sent)) > 0
