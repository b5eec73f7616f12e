"""What `forget` deletes, when, and what its receipt says; the child scripted."""

import hashlib
import io
import zipfile
from datetime import timedelta

import pytest
from sqlalchemy import select

from app.broker import RUN_TASK
from app.db import (
    AliasMove,
    HeldOutSet,
    LargeUpload,
    LargeUploadState,
    Memory,
    Place,
    TaskState,
    Version,
    read_session,
    utc_now,
    write_session,
)
from app.deletion.service import delete_version
from app.keys.secret import read_secret
from app.registry.moves import promote, rollback
from app.registry.service import find_model
from app.retirement.erasing import Erasing
from app.retirement.purging import purge
from app.retirement.receipts import is_genuine
from app.storage import BlobDamagedError
from app.storage.garbage import stores_of
from tests.worker.bench import EVA, PROCESSOR, drawn
from tests.worker.test_retirements import assert_healthy, audit, learn, shown
from worker.factory import make_worker


def waits_for(bench, number):
    retirement = shown(bench, number).retirement
    assert retirement.erasure == "waits"
    return retirement.waits_for


def rows(bench, table):
    with read_session(bench.engine) as session:
        return list(session.scalars(select(table).order_by(table.id)))


def point(bench, number):
    with write_session(bench.engine) as session:
        promote(session, find_model(session, "default"), number)


def names_in(bench, key):
    with zipfile.ZipFile(io.BytesIO(bench.blobs.path(key).read_bytes())) as kept:
        return [name for name in kept.namelist() if name.startswith("JPEGImages/")]


def several(bench, classes, *, number, table):
    """Let a version keep a set of pictures, drawn ones, in place of the child's single one."""
    content = drawn(tuple(classes), 40 + number + (10 if table is Memory else 0))
    blob = bench.blobs.put(io.BytesIO(content))
    with write_session(bench.engine) as session:
        row = session.scalars(select(table).where(table.version_id == number)).one()
        row.blob, row.classes, row.pictures = blob.key, list(classes), 3
        if table is Memory:
            row.bytes, row.classes = blob.size, dict.fromkeys(classes, 3)
    return blob.key


def test_pictures_stay_until_the_version_is_live_and_are_deleted_then(bench):
    learn(bench, memory=10)
    several(bench, ["dog"], number=2, table=Memory)
    several(bench, ["dog"], number=3, table=Memory)
    bench.control.plan(epochs=1, miou_lost=0.5)
    assert bench.retire(3, ["dog"], "forget", dataset=["dog"]).state == TaskState.HELD
    before = {row.blob for row in (*rows(bench, HeldOutSet), *rows(bench, Memory))}
    bench.erase()
    assert waits_for(bench, 4).startswith("version 4, or one that came of it, to be live")
    assert all(bench.has_blob(key) for key in before)
    point(bench, 4)
    bench.erase()
    retirement = shown(bench, 4).retirement
    assert (retirement.erasure, retirement.waits_for) == ("done", None)
    receipt = retirement.receipt
    assert is_genuine(read_secret(bench.settings), receipt.model_dump(mode="json"))
    assert (receipt.model, receipt.version, receipt.parent) == ("default", 4, 3)
    assert [(c.name, c.index) for c in receipt.classes] == [("dog", 2)]
    assert (receipt.asked_by.type, receipt.asked_by.name) == (EVA.type, EVA.name)
    assert (receipt.deleted_by.type, receipt.deleted_by.name) == ("worker", "worker-1")
    assert {(one.what, one.version) for one in receipt.deleted} == {
        ("upload", None),
        ("held_out_pictures", 2),
        ("replay_pictures", 2),
        ("replay_pictures", 3),
    }
    assert all(one.gone and not bench.has_blob(one.sha256) for one in receipt.deleted)
    assert receipt.kept[0].startswith("versions that know a class of these: 2, 3.")
    [told] = [entry for entry in audit(bench) if entry.action == "class.forget"]
    assert told.after == receipt.model_dump(mode="json")
    assert (told.actor_name, told.object) == ("worker-1", "/admin/models/default/versions/4")
    bench.erase()
    assert [entry.action for entry in audit(bench)].count("class.forget") == 1
    assert_healthy(bench)


def test_pictures_that_show_none_of_the_classes_stay(bench):
    learn(bench, memory=10)
    held_out = several(bench, ["cat", "dog"], number=2, table=HeldOutSet)
    memory = several(bench, ["cat", "dog"], number=2, table=Memory)
    bench.retire(3, ["dog"], "forget")
    bench.erase()
    for table, key in ((HeldOutSet, held_out), (Memory, memory)):
        [row] = [one for one in rows(bench, table) if one.version_id == 2]
        [item] = [one for one in shown(bench, 4).retirement.receipt.deleted if one.sha256 == key]
        assert not bench.has_blob(key)
        assert item.left + len(item.pictures) == 3
        assert (row.deleted_at is None) == (item.left > 0)
        if item.left:
            assert row.blob == item.replaced_by
            assert len(names_in(bench, row.blob)) == row.pictures == item.left
            assert "dog" not in row.classes
    assert bench.run(["owl"], seed=5, memory=10).state == TaskState.LIVE


def test_pictures_in_a_folder_wait_for_a_worker_that_reaches_it(bench, tmp_path):
    reaching = bench.settings.model_copy(update={"memory_dir": tmp_path / "private"})
    without, bench.settings = bench.settings, reaching
    learn(bench, memory=10)
    bench.retire(3, ["dog"], "forget")
    bench.settings = without
    bench.erase()
    assert waits_for(bench, 4).startswith("a worker whose SATS_MEMORY_DIR is the folder")
    bench.settings = reaching
    bench.erase()
    assert shown(bench, 4).retirement.erasure == "done"


def test_a_picture_is_told_by_its_checksum(bench):
    learn(bench)
    key = several(bench, ["dog"], number=2, table=HeldOutSet)
    with zipfile.ZipFile(bench.blobs.path(key)) as kept:
        files = [kept.read(name) for name in kept.namelist() if name.startswith("JPEGImages/")]
    bench.retire(3, ["dog"], "forget")
    bench.erase()
    [item] = [one for one in shown(bench, 4).retirement.receipt.deleted if one.sha256 == key]
    assert sorted(item.pictures) == sorted(hashlib.sha256(one).hexdigest() for one in files)


def test_a_zip_that_cannot_be_read_goes_as_a_whole(bench):
    learn(bench)
    blob = bench.blobs.put(io.BytesIO(b"no zip"))
    with write_session(bench.engine) as session:
        row = session.scalars(select(HeldOutSet).where(HeldOutSet.version_id == 2)).one()
        row.blob = blob.key
    bench.retire(3, ["cow"], "forget")
    bench.erase()
    deleted = shown(bench, 4).retirement.receipt.deleted
    assert (blob.key, None) in [(one.sha256, one.pictures) for one in deleted]


def test_of_what_was_gone_before_no_size_is_made_up(bench):
    learn(bench)
    [kept] = [row for row in rows(bench, HeldOutSet) if row.version_id == 2]
    bench.retire(3, ["dog"], "forget", dataset=["dog"])
    bench.blobs.delete(kept.blob)
    bench.erase()
    receipt = shown(bench, 4).retirement.receipt
    told = {one.what: one.model_dump() for one in receipt.deleted}
    gone = told["held_out_pictures"]
    assert (gone["sha256"], gone["bytes"], gone["gone"]) == (kept.blob, None, True)
    assert gone["note"].startswith("gone before")
    assert told["upload"]["bytes"] is None, "the retirement's own pictures went with its task"
    assert is_genuine(read_secret(bench.settings), receipt.model_dump(mode="json"))


def test_of_what_is_damaged_and_there_the_size_is_told(bench, monkeypatch):
    learn(bench)
    [kept] = [row for row in rows(bench, HeldOutSet) if row.version_id == 2]
    size, path = bench.blobs.size(kept.blob), bench.blobs.path
    bench.retire(3, ["dog"], "forget")

    def damaged(key):
        if key == kept.blob:
            raise BlobDamagedError(key)
        return path(key)

    monkeypatch.setattr(bench.blobs, "path", damaged)
    monkeypatch.setattr(bench.blobs, "size", lambda key: path(key).stat().st_size)
    bench.erase()
    monkeypatch.undo()
    [item] = [one for one in shown(bench, 4).retirement.receipt.deleted if one.version == 2]
    assert (item.sha256, item.bytes, item.note) == (kept.blob, size, None)
    assert item.gone
    assert not bench.has_blob(kept.blob)


def test_pictures_of_a_class_that_was_taught_again_stay(bench):
    learn(bench)
    bench.retire(3, ["dog"])
    bench.run(["dog"], seed=7, classes=["dog"])
    assert bench.retire(3, ["dog"], "forget").state == TaskState.HELD
    point(bench, 6)
    bench.erase()
    versions = [one.version for one in shown(bench, 6).retirement.receipt.deleted]
    assert versions == [2], "not those of version 5, whose dog is another class"


def test_a_failed_task_that_brought_such_pictures_is_not_tried_again(bench, client):
    learn(bench)
    bench.control.plan(fail="not this time")
    failed = bench.run(["dog", "owl"], seed=6, classes=["owl"])
    other = bench.run(["owl"], seed=8)
    assert {failed.state, other.state} == {TaskState.FAILED}
    bench.control.plan(epochs=1)
    bench.retire(3, ["dog"], "forget")
    bench.erase()
    assert not bench.has_blob(failed.dataset)
    assert bench.has_blob(other.dataset)
    assert client.post(f"/tasks/{failed.id}:retry").status_code == 409
    [item] = [one for one in shown(bench, 4).retirement.receipt.deleted if one.what == "upload"]
    assert (item.task, item.sha256) == (failed.id, failed.dataset)
    assert not (bench.settings.work_dir / failed.id).exists()


def sent_in_parts(bench, key):
    """An upload that came in parts and was put together, as its row says."""
    with write_session(bench.engine) as session:
        row = LargeUpload(
            name="pets.zip",
            bytes=bench.blobs.size(key),
            part_bytes=2**20,
            sha256=key,
            state=LargeUploadState.DONE,
            blob=key,
            expires_at=utc_now() + timedelta(hours=1),
        )
        session.add(row)


def test_uploads_in_parts_that_tasks_were_made_of_are_not_kept(bench):
    keys = []
    for seed, name in enumerate(("cat", "dog", "cow")):
        task_id = bench.post([name], seed=seed)
        keys.append(bench.task(task_id).dataset)
        sent_in_parts(bench, keys[-1])
        assert bench.supervisor().run(task_id) == TaskState.LIVE
    untaken = bench.blobs.put(io.BytesIO(drawn(("dog",), 30))).key
    sent_in_parts(bench, untaken)
    bench.control.plan(fail="not this time")
    failed = bench.task(bench.post(["dog", "owl"], seed=6, classes=["owl"]))
    sent_in_parts(bench, failed.dataset)
    bench.supervisor().run(failed.id)
    bench.control.plan(epochs=1)
    assert bench.retire(3, ["dog"], "forget").state == TaskState.LIVE
    assert all(bench.has_blob(key) for key in (*keys, failed.dataset, untaken))
    bench.erase()
    assert [bench.has_blob(key) for key in keys] == [True, False, True]
    assert bench.has_blob(untaken), "no task was made of it"
    assert not bench.has_blob(failed.dataset)
    assert {row.blob for row in rows(bench, LargeUpload)} == {keys[0], keys[2], untaken}
    told = [one for one in shown(bench, 4).retirement.receipt.deleted if one.what == "upload"]
    assert sorted(one.sha256 for one in told) == sorted([keys[1], failed.dataset])
    assert all(one.gone and one.bytes for one in told)
    assert_healthy(bench)


def test_nothing_is_deleted_while_a_task_of_the_model_runs(bench):
    learn(bench)
    bench.retire(3, ["dog"], "forget")
    with write_session(bench.engine) as session:
        waiting = session.merge(bench.task(bench.post(["owl"], seed=5)))
        waiting.state = TaskState.TRAINING
    bench.erase()
    assert waits_for(bench, 4).startswith(f"task {waiting.id} of the model to end")
    with write_session(bench.engine) as session:
        session.merge(bench.task(waiting.id)).state = TaskState.QUEUED
    bench.erase()
    receipt = shown(bench, 4).retirement.receipt
    assert receipt.kept[-1].startswith(f"task {waiting.id}, which has not ended")


@pytest.mark.parametrize("meanwhile", ["registered", "failed"])
def test_what_appears_while_zips_are_read_is_not_missed(bench, monkeypatch, meanwhile):
    learn(bench)
    bench.retire(3, ["dog"], "forget")
    task_id = bench.post(["dog", "owl"], seed=6, classes=["owl"], parent=1)
    late = [bench.task(task_id).dataset]

    def slowly(*asked):
        monkeypatch.undo()
        if meanwhile == "failed":
            bench.control.plan(fail="not this time")
        bench.supervisor().run(task_id)
        if meanwhile == "registered":
            late[:] = [several(bench, ["dog", "owl"], number=5, table=HeldOutSet)]
        return purge(*asked)

    monkeypatch.setattr("app.retirement.erasing.purge", slowly)
    bench.erase()
    ended = TaskState.FAILED if meanwhile == "failed" else TaskState.HELD
    assert bench.task(task_id).state == ended
    assert shown(bench, 4).retirement.erasure == "waits", "the next sweep does it anew"
    bench.erase()
    told = [one.sha256 for one in shown(bench, 4).retirement.receipt.deleted]
    assert set(late) <= set(told)
    assert not bench.has_blob(late[0])
    assert_healthy(bench)


def test_a_worker_that_stops_reads_no_further_zip(bench, monkeypatch):
    learn(bench)
    bench.retire(3, ["dog"], "forget")
    stores, secret = stores_of(bench.blobs, bench.settings, None), read_secret(bench.settings)
    erasing = Erasing(bench.engine, stores, bench.settings, secret, "worker-1")
    read = []

    def told_to_stop(*asked):
        read.append(asked)
        erasing.stopping.set()
        return purge(*asked)

    monkeypatch.setattr("app.retirement.erasing.purge", told_to_stop)
    erasing.act()
    assert (len(read), shown(bench, 4).retirement.erasure) == (1, "waits")
    assert not list(bench.settings.incoming_dir.iterdir())
    erasing.act()
    assert len(read) == 1
    bench.erase()
    assert len(read) > 1
    assert shown(bench, 4).retirement.erasure == "done"
    assert_healthy(bench)


def test_a_version_that_was_rolled_back_deletes_nothing(bench):
    learn(bench)
    bench.retire(3, ["dog"], "forget")
    assert "every SATS_SWEEP_SECONDS" in waits_for(bench, 4), "it is live: a worker comes by"
    with write_session(bench.engine) as session:
        rollback(session, find_model(session, "default"), 4)
    bench.erase()
    assert len(rows(bench, AliasMove)) == 5
    said = waits_for(bench, 4)
    assert said.startswith("version 4, or one that came of it, to be live: version 3 is, and did")
    assert "Promote it" in said
    assert "retire the classes once more" in said
    with write_session(bench.engine) as session:
        delete_version(session, {Place.BLOB_STORE}, find_model(session, "default"), 4)
    assert waits_for(bench, 4).startswith("nothing any more: the version was deleted first")
    bench.erase()
    assert shown(bench, 4).retirement.receipt is None


def test_between_two_tasks_of_a_worker_there_is_a_moment(bench, monkeypatch):
    """However many wait: the worker that ends one looks before it takes the next."""
    learn(bench)
    bench.post_retirement(3, ["dog"], "forget")
    waiting = [bench.post(["owl"], seed=5), bench.post(["cow"], seed=6)]
    settings = bench.settings.model_copy(update={"sweep_seconds": 600.0})
    monkeypatch.setattr("worker.factory.find_device", lambda *_: PROCESSOR)
    celery = make_worker(settings, bench.control.command())
    run = celery.tasks[RUN_TASK]
    run(waiting[0])
    assert shown(bench, 4).retirement.erasure == "done"
    assert {bench.state(task_id) for task_id in waiting} == {TaskState.QUEUED}
    celery.close()


@pytest.mark.parametrize("dies_in", ["free", "record"])
def test_who_dies_in_between_leaves_the_rest_to_the_next_one(bench, monkeypatch, dies_in):
    learn(bench, memory=10)
    for number in (2, 3):
        several(bench, ["dog"], number=number, table=Memory)
    bench.retire(3, ["dog"], "forget")
    with monkeypatch.context() as patch:
        patch.setattr(f"app.retirement.erasing.{dies_in}", lambda *_args, **_kw: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bench.erase()
    begun = shown(bench, 4).retirement
    assert (begun.erasure, begun.receipt) == ("begun", None)
    assert begun.waits_for.startswith("a worker to delete the last bytes and sign the receipt")
    bench.erase()
    assert shown(bench, 4).retirement.waits_for is None
    receipt = shown(bench, 4).retirement.receipt
    assert len(receipt.deleted) == 3
    assert not [one for one in receipt.deleted if bench.has_blob(one.sha256)]
    assert_healthy(bench)


def test_what_has_begun_in_a_folder_waits_for_a_worker_that_reaches_it(bench, monkeypatch):
    learn(bench)
    bench.retire(3, ["dog"], "forget")
    with monkeypatch.context() as patch:
        patch.setattr("app.retirement.erasing.free", lambda *_args, **_kw: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bench.erase()
    with write_session(bench.engine) as session:
        version = session.get_one(Version, 4)
        draft = version.receipt
        deleted = [one | {"place": "memory_folder"} for one in draft["deleted"]]
        version.receipt = draft | {"deleted": deleted}
    bench.erase()  # this worker has no such folder
    begun = shown(bench, 4).retirement
    assert begun.erasure == "begun"
    assert begun.waits_for.startswith("a worker whose SATS_MEMORY_DIR is the folder")


def test_bytes_that_somebody_else_keeps_stay_and_the_receipt_says_so(bench):
    learn(bench)
    [kept] = [row for row in rows(bench, HeldOutSet) if row.version_id == 2]
    other = bench.post(["owl"], model="other", create=True)
    with write_session(bench.engine) as session:
        session.merge(bench.task(other)).dataset = kept.blob
    bench.retire(3, ["dog"], "forget")
    bench.erase()
    [item] = [one for one in shown(bench, 4).retirement.receipt.deleted if one.version == 2]
    assert (item.sha256, item.gone) == (kept.blob, False)
    assert bench.has_blob(kept.blob)


def test_hide_and_unlearn_delete_nothing(bench):
    learn(bench, memory=10)
    bench.retire(3, ["dog"])
    bench.erase()
    assert all(row.deleted_at is None for row in (*rows(bench, HeldOutSet), *rows(bench, Memory)))
