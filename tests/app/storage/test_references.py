"""Every reference is known, and nothing comes between a look and a deletion."""

import hashlib
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from app.db import Place, Task, TaskState, read_session, utc_now, write_session
from app.deletion.freeing import free
from app.deletion.service import delete_memory
from app.storage import BlobMissingError
from app.storage.garbage import stores_of
from app.storage.references import (
    COLUMNS,
    delete_unreferenced,
    is_referenced,
    lock_blobs,
    referenced,
)
from app.tasks.accepting import Acceptance
from app.tasks.schemas import TaskSpec
from app.tasks.service import cancel
from app.tasks.submission import Submission
from app.tasks.uploads import drop_uploads
from tests.app.storage.rows import (
    NOT_BLOBS,
    add_kept,
    add_task,
    digest_columns,
    only_version,
    refer_in_every_way,
)
from tests.fixtures.blocked import blocked
from tests.fixtures.versions import FILES, add_version, content
from tests.worker.bench import eventually

DATA = b"pictures, for all we know"
KEY = hashlib.sha256(DATA).hexdigest()


def lies_in(store, key):
    try:
        store.path(key)
    except BlobMissingError:
        return False
    return True


def delete_pictures(engine, blobs, settings):
    stores = stores_of(blobs, settings, None)
    with write_session(engine) as session:
        removal = delete_memory(session, stores.keys(), only_version(session))
    assert removal.deleted
    free(engine, stores, settings, removal)


def test_every_column_that_may_hold_a_key_is_known():
    known = {
        (column.class_.__tablename__, column.key)
        for columns in COLUMNS.values()
        for column, _counts in columns
    }
    assert digest_columns() == known | NOT_BLOBS


def test_every_kind_of_reference_keeps_its_blob(engine, stores):
    with write_session(engine) as session:
        kinds = refer_in_every_way(session, stores)
    for kind, key in kinds.items():
        place = Place.MEMORY_FOLDER if "folder" in kind else Place.BLOB_STORE
        with write_session(engine) as session:
            assert is_referenced(session, place, key), kind
            assert not delete_unreferenced(session, stores[place], place, key), kind
        assert lies_in(stores[place], key), kind
    with read_session(engine) as session:
        both = set().union(*(referenced(session, place) for place in stores))
    assert set(kinds.values()) == both


def test_what_lies_in_one_place_is_not_kept_by_a_row_of_another(engine, stores):
    for store in stores.values():
        store.put(io.BytesIO(DATA))
    with write_session(engine) as session:
        version = add_version(session, stores[Place.BLOB_STORE], ["cat"])
        add_kept(session, version, KEY, Place.MEMORY_FOLDER)
    for place, store in stores.items():
        with write_session(engine) as session:
            delete_unreferenced(session, store, place, KEY)
    assert [lies_in(store, KEY) for store in stores.values()] == [False, True]


@pytest.mark.parametrize("state", list(TaskState))
def test_an_upload_is_kept_until_its_task_has_ended(engine, blobs, state):
    blobs.put(io.BytesIO(DATA))
    with write_session(engine) as session:
        add_task(session, KEY, state)
    drop_uploads(engine, blobs, [KEY])
    ended = state in ("live", "held", "cancelled")
    assert lies_in(blobs, KEY) == (not ended)


def test_an_upload_of_a_failed_task_is_kept_until_it_cannot_be_tried_again(engine, blobs):
    blobs.put(io.BytesIO(DATA))
    with write_session(engine) as session:
        task = add_task(session, KEY, TaskState.FAILED, KEY)
    drop_uploads(engine, blobs, [KEY])
    assert lies_in(blobs, KEY)
    with write_session(engine) as session:
        session.get_one(Task, task.id).tidied_at = utc_now()
    drop_uploads(engine, blobs, [KEY])
    assert not lies_in(blobs, KEY)


@pytest.mark.parametrize("name", FILES)
def test_posting_a_version_s_own_file_leaves_it_alone(client, engine, blobs, name):
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
    posted = content(name, 1)
    key = hashlib.sha256(posted).hexdigest()
    spec = {"spec": json.dumps({"name": "mine"})}
    answer = client.post("/tasks", files={"dataset": ("a.zip", posted)}, data=spec)
    assert answer.status_code == 422
    assert lies_in(blobs, key)
    path = "/admin/models/default/versions"
    assert client.post(path, files={"checkpoint": ("a.zip", posted)}).status_code == 422
    assert lies_in(blobs, key)


def test_a_task_posted_with_a_version_s_own_file_ends_and_leaves_it(client, engine, blobs):
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
    key = hashlib.sha256(content("model.onnx", 1)).hexdigest()
    with write_session(engine) as session:
        task = add_task(session, key, TaskState.QUEUED, key)
    assert client.post(f"/tasks/{task.id}:cancel").status_code == 202
    assert lies_in(blobs, key)


def test_deleting_a_memory_leaves_a_version_s_file(engine, settings, blobs):
    key = hashlib.sha256(content("config.json", 1)).hexdigest()
    with write_session(engine) as session:
        add_kept(session, add_version(session, blobs, ["cat"]), key, Place.BLOB_STORE)
    delete_pictures(engine, blobs, settings)
    assert lies_in(blobs, key)


def test_a_memory_that_a_task_was_posted_with_goes_when_the_task_does(engine, settings, blobs):
    blobs.put(io.BytesIO(DATA))
    with write_session(engine) as session:
        add_kept(session, add_version(session, blobs, ["cat"]), KEY, Place.BLOB_STORE)
        task = add_task(session, KEY, TaskState.QUEUED)
    delete_pictures(engine, blobs, settings)
    assert lies_in(blobs, KEY)
    with write_session(engine) as session:
        cancel(session, task.id)
    drop_uploads(engine, blobs, [KEY])
    assert not lies_in(blobs, KEY)


def test_a_memory_in_its_own_folder_goes_whatever_the_blob_store_keeps(engine, settings, stores):
    folder = stores[Place.MEMORY_FOLDER]
    settings = settings.model_copy(update={"memory_dir": folder.root})
    for store in stores.values():
        store.put(io.BytesIO(DATA))
    with write_session(engine) as session:
        version = add_version(session, stores[Place.BLOB_STORE], ["cat"])
        add_kept(session, version, KEY, Place.MEMORY_FOLDER)
        add_task(session, KEY, TaskState.QUEUED)
    delete_pictures(engine, stores[Place.BLOB_STORE], settings)
    assert not lies_in(folder, KEY)
    assert lies_in(stores[Place.BLOB_STORE], KEY)


def test_who_deletes_waits_for_who_refers(engine, blobs):
    blobs.put(io.BytesIO(DATA))
    locked, deleted = threading.Event(), []

    def delete():
        locked.wait()
        with write_session(engine) as session:
            deleted.append(delete_unreferenced(session, blobs, Place.BLOB_STORE, KEY))

    thread = threading.Thread(target=delete)
    thread.start()
    with (
        blobs.stage(io.BytesIO(DATA)) as staged,
        write_session(engine) as session,
        blocked(engine) as waiting,
    ):
        lock_blobs(session, [KEY])
        locked.set()
        eventually(lambda: waiting() == 1)
        assert deleted == []
        add_task(session, KEY, TaskState.QUEUED)
        staged.publish()
    thread.join()
    assert deleted == [False]
    assert lies_in(blobs, KEY)


def test_who_refers_waits_for_who_deletes(engine, blobs):
    blobs.put(io.BytesIO(DATA))
    accepted = []

    def post():
        accepted.append(accept(Acceptance(engine, blobs, 100)))

    thread = threading.Thread(target=post)
    with write_session(engine) as session, blocked(engine) as waiting:
        delete_unreferenced(session, blobs, Place.BLOB_STORE, KEY)
        thread.start()
        eventually(lambda: waiting() == 1)
        assert accepted == []
    thread.join()
    assert lies_in(blobs, KEY)


def test_a_session_that_only_reads_cannot_lock(engine):
    with read_session(engine) as session, pytest.raises(RuntimeError, match="that writes"):
        lock_blobs(session, [KEY])


def test_two_who_lock_the_same_blobs_do_not_wait_for_each_other_for_ever(engine):
    keys = [hashlib.sha256(bytes([n])).hexdigest() for n in range(4)]

    def lock(order):
        for _ in range(20):
            with write_session(engine) as session:
                lock_blobs(session, order)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lock, [keys, keys[::-1]]))


def test_a_post_does_not_read_what_another_may_delete(engine, blobs):
    """The same bytes are posted, refused and removed while a post of them is being checked."""

    def check(paths):
        blobs.put(io.BytesIO(DATA))
        drop_uploads(engine, blobs, [KEY])
        assert not lies_in(blobs, KEY)
        assert paths["dataset"].read_bytes() == DATA

    accept(Acceptance(engine, blobs, 100), check)
    assert lies_in(blobs, KEY)


def test_the_same_bytes_posted_while_tasks_with_them_end(engine, blobs):
    accepting = Acceptance(engine, blobs, 100)

    def post_and_cancel(_number):
        task = accept(accepting)
        with write_session(engine) as session:
            lock_blobs(session, [KEY])
            assert lies_in(blobs, KEY), "a task that waits has its upload"
        with write_session(engine) as session:
            cancel(session, task)
        drop_uploads(engine, blobs, [KEY])

    def refuse(_number):
        with pytest.raises(ZeroDivisionError):
            accept(accepting, lambda *_: 1 / 0)

    with ThreadPoolExecutor(4) as pool:
        made = [pool.submit(post_and_cancel, n) for n in range(12)]
        made += [pool.submit(refuse, n) for n in range(12)]
        for one in made:
            one.result()
    with read_session(engine) as session:
        states = set(session.scalars(select(Task.state)))
    assert states == {TaskState.CANCELLED}
    assert not lies_in(blobs, KEY)
    assert list(blobs.unfinished()) == []


def accept(accepting, check=lambda *_: None):
    """Post a task with the one data set; returns its id."""

    def make(stored):
        return Submission(TaskSpec(name="pets"), stored["dataset"], "eva", None)

    return accepting.accept({"dataset": io.BytesIO(DATA)}, make, check)[0].id
