"""A store whose disk is not mounted when a process begins: an empty place where blobs should be.

What was posted is not gone, so no task fails and nothing is written down as deleted.
"""

import io

import pytest

from app.db import Place, TaskState
from app.settings import Settings
from app.storage import BlobStoreDownError, LocalBlobStore, open_store
from app.storage.garbage import stores_of
from app.storage.local import NOT_THERE
from tests.worker.bench import Bench, eventually, running
from tests.worker.test_retirements import assert_healthy, learn, shown
from worker.supervisor import STORE_AWAITED


@pytest.fixture
def soon(monkeypatch):
    """Ask a store that is down again at once."""
    monkeypatch.setattr("worker.store_probe.PAUSE_SECONDS", 0.1)


@pytest.fixture
def place(bench):
    """Where blobs lie, and where they are while their disk is away."""
    return Disk(bench.settings.blob_dir)


class Disk:
    """A disk that comes and goes."""

    def __init__(self, folder):
        self._folder, self._away = folder, folder.with_name("not-mounted")

    def goes(self):
        self._folder.rename(self._away)
        self._folder.mkdir()

    def comes(self):
        self._folder.rmdir()
        self._away.rename(self._folder)


def another(bench) -> Bench:
    """Return a process that begins now."""
    store = open_store(bench.settings, bench.engine)
    return Bench(bench.settings, bench.engine, store, bench.control)


def test_a_task_waits_until_the_disk_is_there(bench, soon, place):
    task_id = bench.post(["cat"])
    place.goes()
    begun = another(bench)
    assert begun.blobs.fault() == f"cannot be written: {NOT_THERE}"
    assert not begun.blobs.answers()
    with running(begun.supervisor(max_tries=1), task_id) as left:
        eventually(lambda: STORE_AWAITED in bench.task(task_id).warnings or bool(left))
        assert left == []
        place.comes()
        eventually(lambda: bool(left))
    task = bench.task(task_id)
    assert (left, task.state, task.tries) == ([TaskState.QUEUED], TaskState.QUEUED, 0)
    assert begun.supervisor().run(task_id) == TaskState.LIVE
    assert begun.blobs.fault() is None


def test_who_looks_makes_nothing_of_it(bench, place):
    bench.post(["cat"])
    place.goes()
    another(bench)
    with pytest.raises(BlobStoreDownError):
        bench.blobs.put(io.BytesIO(b"comes in"))
    assert list(bench.settings.blob_dir.iterdir()) == []
    place.comes()


def test_pictures_that_are_to_be_deleted_are_not_taken_for_gone(bench, place):
    learn(bench, memory=10)
    bench.retire(3, ["dog"], "forget")
    place.goes()
    with pytest.raises(BlobStoreDownError):
        another(bench).erase()
    assert shown(bench, 4).retirement.erasure == "waits"
    place.comes()
    bench.erase()
    receipt = shown(bench, 4).retirement.receipt
    assert {one.gone for one in receipt.deleted} == {True}
    assert not [one for one in receipt.deleted if bench.has_blob(one.sha256)]
    assert_healthy(bench)


def test_a_memory_folder_is_waited_for_too(bench, tmp_path):
    given = bench.settings.model_dump(exclude_unset=True)
    bench.settings = Settings(**given, memory_dir=tmp_path / "memory")
    bench.run(["cat"], memory=10)
    memory = Disk(tmp_path / "memory")
    memory.goes()
    stores = stores_of(bench.blobs, bench.settings, bench.engine)
    assert stores[Place.MEMORY_FOLDER].fault() == f"cannot be written: {NOT_THERE}"
    assert stores[Place.BLOB_STORE].fault() is None
    assert list((tmp_path / "memory").iterdir()) == []


def test_a_backup_that_was_put_back_is_taken(bench):
    """It has no folder for what comes in."""
    task_id = bench.post(["cat"])
    (bench.settings.blob_dir / "incoming").rmdir()
    begun = another(bench)
    assert begun.blobs.fault() is None
    assert begun.supervisor().run(task_id) == TaskState.LIVE


def test_what_is_lost_for_good_is_said_to_be_so_by_hand(bench, place):
    task_id = bench.post(["cat"])
    place.goes()
    (bench.settings.blob_dir / "incoming").mkdir()
    begun = another(bench)
    assert begun.supervisor().run(task_id) == TaskState.FAILED
    assert "is gone; post it again" in bench.task(task_id).error["detail"]


def test_a_new_service_makes_its_store(bench, tmp_path):
    new = bench.settings.model_copy(update={"data_dir": tmp_path / "new"})
    assert open_store(new, bench.engine).fault() is None
    assert isinstance(open_store(new, None), LocalBlobStore)
