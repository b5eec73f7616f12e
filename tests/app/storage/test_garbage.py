"""What the collector removes, and what it must not."""

import hashlib
import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from app.db import Place, TaskState, write_session
from app.storage.garbage import Collector, StoreMismatchProblem
from app.storage.references import delete_unreferenced, lock_blobs
from tests.app.storage.rows import add_task, refer_in_every_way
from tests.fixtures.blocked import blocked
from tests.worker.bench import eventually

ROOT = Path(__file__).parents[3]
HOUR = 3600.0
DATA = b"left behind"
KEY = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def collector(engine, stores):
    return Collector(engine, stores, HOUR)


@pytest.fixture
def kinds(engine, stores):
    """Blobs that are referred to, by kind."""
    with write_session(engine) as session:
        return refer_in_every_way(session, stores)


def paths(stores):
    return {path for store in stores.values() for path in store.root.rglob("*") if path.is_file()}


def age(stores, seconds=2 * HOUR):
    """Make every file look as if it had been written before."""
    for path in paths(stores):
        then = time.time() - seconds
        os.utime(path, (then, then))


def leave(stores):
    """What lost processes leave: a blob without a row, and half a file, in every place."""
    for store in stores.values():
        store.put(io.BytesIO(DATA))
        (store.root / "incoming" / "tmpabc").write_bytes(b"half")


def test_everything_referred_to_stays_and_the_rest_goes(collector, stores, kinds):
    before = paths(stores)
    leave(stores)
    age(stores)
    found = collector.find()
    assert sorted((one.place, one.is_blob, one.entry.name) for one in found) == [
        (place, is_blob, name)
        for place in sorted(stores)
        for is_blob, name in [(False, "tmpabc"), (True, KEY)]
    ]
    assert len(paths(stores)) == len(before) + 4, "looking removes nothing"
    assert collector.remove(found) == found
    assert paths(stores) == before
    assert collector.find() == []


def test_what_was_written_lately_stays(collector, stores, kinds):
    age(stores)
    leave(stores)
    assert collector.find() == []


def test_a_host_whose_clock_is_ahead_leaves_what_was_written_lately(
    collector, stores, kinds, monkeypatch
):
    class Ahead:
        @staticmethod
        def time():
            return time.time() + 3 * HOUR

    leave(stores)
    monkeypatch.setattr("app.storage.garbage.time", Ahead)
    assert collector.find() == []


def test_the_oldest_comes_first(collector, stores, kinds):
    leave(stores)
    age(stores)
    then = time.time() - 9 * HOUR
    oldest = stores[Place.MEMORY_FOLDER].path(KEY)
    os.utime(oldest, (then, then))
    assert collector.find()[0].entry.name == KEY
    assert collector.find()[0].place == Place.MEMORY_FOLDER


def test_a_blob_that_is_referred_to_by_now_stays(engine, collector, stores, kinds):
    leave(stores)
    age(stores)
    found = collector.find()
    with write_session(engine) as session:
        add_task(session, KEY, TaskState.QUEUED)
    removed = collector.remove(found)
    assert (Place.BLOB_STORE, KEY) not in [(one.place, one.entry.name) for one in removed]
    assert len(removed) == len(found) - 1
    assert stores[Place.BLOB_STORE].path(KEY).read_bytes() == DATA


def test_a_blob_that_is_being_referred_to_stays(engine, collector, stores, kinds):
    leave(stores)
    age(stores)
    store = stores[Place.BLOB_STORE]
    found = collector.find()
    with (
        store.stage(io.BytesIO(DATA)) as staged,
        write_session(engine) as session,
        blocked(engine) as waiting,
    ):
        lock_blobs(session, [KEY])
        thread = threading.Thread(target=collector.remove, args=(found,))
        thread.start()
        eventually(lambda: waiting() == 1)
        add_task(session, KEY, TaskState.QUEUED)
        staged.publish()
    thread.join()
    assert store.path(KEY).read_bytes() == DATA


def test_two_collectors_at_once(collector, stores, kinds, monkeypatch):
    """Both hold the same list, and meet at the same blob at the same time."""
    before = paths(stores)
    leave(stores)
    age(stores)
    found = collector.find()
    both = threading.Barrier(2, timeout=60)
    removed: list[list[object]] = []

    def meet(session, store, place, key):
        both.wait()
        return delete_unreferenced(session, store, place, key)

    monkeypatch.setattr("app.storage.garbage.delete_unreferenced", meet)
    started = threading.Barrier(2, timeout=60)

    def collect():
        started.wait()
        removed.append(collector.remove(found))

    threads = [threading.Thread(target=collect) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert removed == [found, found], "what is gone already is as good as removed"
    assert paths(stores) == before


def test_a_store_of_another_service_is_left_alone(collector, stores):
    """An empty database, which is what a forgotten SATS_DATABASE_URL gives."""
    leave(stores)
    assert collector.find() == [], "the very first upload may be on its way"
    age(stores)
    with pytest.raises(StoreMismatchProblem, match="knows no model"):
        collector.find()


@pytest.mark.parametrize("place", list(Place))
def test_a_store_that_holds_nothing_the_database_knows_is_left_alone(
    collector, stores, kinds, place
):
    for entry in list(stores[place].entries()):
        stores[place].delete(entry.name)
    leave(stores)
    age(stores)
    with pytest.raises(StoreMismatchProblem, match=f"the {place} holds .* none of those"):
        collector.find()


def test_an_empty_service_has_no_garbage(collector):
    assert collector.find() == []


def test_the_memory_folder_is_looked_into_where_there_is_one(engine, settings, blobs, tmp_path):
    assert set(Collector.of(engine, blobs, settings).stores) == {Place.BLOB_STORE}
    settings = settings.model_copy(update={"memory_dir": tmp_path / "private"})
    made = Collector.of(engine, blobs, settings)
    assert set(made.stores) == set(Place)
    assert made.grace == settings.gc_grace_seconds == HOUR


DYING = """
import io, os, sys
from pathlib import Path
from app.db import make_engine, write_session
from app.storage import LocalBlobStore
from app.storage.references import delete_unreferenced, lock_blobs
from tests.app.storage.rows import add_task

url, root, when = sys.argv[1:]
store = LocalBlobStore(Path(root))
with store.stage(io.BytesIO(b"left behind")) as staged:
    if when == "staged":
        os._exit(9)
    with write_session(make_engine(url)) as session:
        lock_blobs(session, [staged.blob.key])
        add_task(session, staged.blob.key, "queued")
        staged.publish()
        os._exit(9)
"""


@pytest.mark.parametrize("when", ["staged", "published"])
def test_what_a_process_leaves_that_dies_before_its_row_is_collected(
    settings, blobs, collector, stores, kinds, when
):
    before = paths(stores)
    words = [settings.resolved_database_url, str(blobs.root), when]
    died = subprocess.run([sys.executable, "-c", DYING, *words], cwd=ROOT, check=False)
    assert died.returncode == 9
    assert len(paths(stores)) == len(before) + 1
    assert collector.find() == [], "too young: it may still be at work"
    age(stores)
    (left,) = collector.remove(collector.find())
    assert left.is_blob == (when == "published")
    assert paths(stores) == before
