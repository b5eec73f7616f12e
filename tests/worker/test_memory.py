"""Replay pictures from version to version, where they lie, and their deletion."""

import hashlib

import pytest
from sqlalchemy import select

from app.db import Memory, TaskState, read_session, write_session
from app.deletion.freeing import free
from app.deletion.service import delete_memory
from app.errors import NotFoundProblem
from app.storage import LocalBlobStore
from app.storage.garbage import stores_of
from tests.worker.bench import Bench


def memories(bench: Bench) -> list[Memory]:
    with read_session(bench.engine) as session:
        return list(session.scalars(select(Memory).order_by(Memory.id)))


def delete(bench: Bench, number: int) -> None:
    stores = stores_of(bench.blobs, bench.settings, None)
    with write_session(bench.engine) as session:
        version = session.merge(bench.versions()[number - 1])
        removal = delete_memory(session, stores.keys(), version)
    free(bench.engine, stores, bench.settings, removal)


def test_nothing_is_kept_unless_asked(bench):
    bench.run(["cat"])
    assert memories(bench) == []
    assert bench.control.starts()[-1].job.memory is None


def test_what_a_version_keeps_is_what_the_next_step_gets(bench):
    bench.run(["cat"], memory=10)
    (kept,) = memories(bench)
    assert (kept.pictures, kept.place, kept.classes) == (1, "blob store", {"cat": 1})
    task = bench.run(["dog"], seed=1, memory=10)
    job = bench.control.starts()[-1].job
    assert job.memory is not None
    second = bench.versions()[1]
    assert second.replayed_pictures == 1
    assert memories(bench)[1].version_id == second.id
    bench.assert_clean(task.id)


def test_a_task_without_memory_neither_gets_nor_keeps_any(bench):
    bench.run(["cat"], memory=10)
    bench.run(["dog"], seed=1)
    assert bench.control.starts()[-1].job.memory is None
    assert bench.versions()[1].replayed_pictures == 0
    assert len(memories(bench)) == 1


def test_deleted_pictures_are_gone_and_the_next_step_goes_on_without(bench):
    bench.run(["cat"], memory=10)
    (kept,) = memories(bench)
    assert bench.has_blob(kept.blob)
    delete(bench, 1)
    delete(bench, 1)
    assert not bench.has_blob(kept.blob)
    assert memories(bench)[0].deleted_at is not None
    assert bench.run(["dog"], seed=1, memory=10).state == TaskState.LIVE
    assert bench.control.starts()[-1].job.memory is None


def test_a_version_that_keeps_none_has_none_to_delete(bench):
    bench.run(["cat"])
    with pytest.raises(NotFoundProblem, match="keeps no training pictures"):
        delete(bench, 1)


def test_a_folder_of_its_own(bench, tmp_path):
    folder = tmp_path / "private"
    bench.settings = bench.settings.model_copy(update={"memory_dir": folder})
    bench.run(["cat"], memory=10)
    (kept,) = memories(bench)
    assert kept.place == "memory folder"
    assert not bench.has_blob(kept.blob)
    path = LocalBlobStore(folder).path(kept.blob)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == kept.blob
    bench.run(["dog"], seed=1, memory=10)
    assert bench.control.starts()[-1].job.memory is not None
    delete(bench, 1)
    assert not path.exists()


def test_damaged_pictures_fail_the_task_by_name(bench):
    bench.run(["cat"], memory=10)
    path = bench.blobs.path(memories(bench)[0].blob)
    path.chmod(0o600)
    path.write_bytes(b"other")
    task = bench.run(["dog"], seed=1, memory=10)
    assert task.state == TaskState.FAILED
    assert "kept for replay" in str(task.error)
