"""Blobs in a directory: staged, published, listed, checked."""

import errno
import hashlib
import io
import os
import resource
import shutil
from pathlib import Path

import pytest

from app.storage import (
    BlobDamagedError,
    BlobMissingError,
    BlobStoreDownError,
    LocalBlobStore,
    TooLargeError,
    base,
)
from app.storage.local import NOT_THERE

DATA = b"some bytes"
KEY = hashlib.sha256(DATA).hexdigest()
UNREADABLE = Path("/proc/self/mem")
"""A file whose first bytes nobody can read: an I/O error, as of a disk that has one."""


@pytest.fixture
def store(tmp_path):
    return LocalBlobStore(tmp_path / "blobs")


@pytest.fixture
def reads(monkeypatch):
    """Every file that was read to be checked."""
    made: list[str] = []
    digest = hashlib.file_digest

    def counted(stream, *args):
        made.append(stream.name)
        return digest(stream, *args)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    return made


def test_staged_bytes_are_seen_by_nobody_else(store):
    with store.stage(io.BytesIO(DATA)) as staged:
        assert (staged.blob.key, staged.blob.size) == (KEY, len(DATA))
        assert staged.path.read_bytes() == DATA
        assert list(store.entries()) == []
        assert [entry.size for entry in store.unfinished()] == [len(DATA)]
        with pytest.raises(BlobMissingError):
            store.path(KEY)
    assert [*store.entries(), *store.unfinished()] == []


def test_an_empty_place_of_blobs_that_are_known_is_no_store(tmp_path):
    root, there = tmp_path / "blobs", {KEY}
    root.mkdir()
    store = LocalBlobStore(root, lambda: there)
    with pytest.raises(BlobStoreDownError, match=NOT_THERE):
        store.put(io.BytesIO(DATA))
    with pytest.raises(BlobStoreDownError):
        store.path(KEY)
    assert store.fault() == f"cannot be written: {NOT_THERE}"
    assert list(root.iterdir()) == []
    there.clear()
    assert store.put(io.BytesIO(DATA)).key == KEY


def test_nothing_is_deleted_of_a_store_that_is_not_there_any_more(store):
    store.put(io.BytesIO(DATA))
    away = store.root.with_name("away")
    store.root.rename(away)
    store.root.mkdir()
    assert store.fault() == "cannot be written: No such file or directory"
    with pytest.raises(BlobStoreDownError):
        store.delete(KEY)
    store.root.rmdir()
    away.rename(store.root)
    assert store.fault() is None
    assert store.is_there(KEY)
    store.delete(KEY)
    store.delete(KEY)
    assert not store.is_there(KEY)


def test_parts_go_to_no_store_that_is_not_there(store):
    store.parts.put("one", 1, io.BytesIO(DATA))
    away = store.root.with_name("away")
    store.root.rename(away)
    store.root.mkdir()
    for ask in (
        lambda: store.parts.put("one", 2, io.BytesIO(DATA)),
        lambda: store.parts.sizes("one"),
        lambda: list(store.parts.read("one", 1)),
    ):
        with pytest.raises(BlobStoreDownError):
            ask()
    assert list(store.root.iterdir()) == []
    store.root.rmdir()
    away.rename(store.root)
    assert store.parts.sizes("one") == {1: len(DATA)}


def test_what_cannot_be_read_of_a_disk_that_works_is_damaged(store):
    store.put(io.BytesIO(DATA))
    path = store.path(KEY)
    path.unlink()
    path.symlink_to(UNREADABLE)
    with pytest.raises(BlobDamagedError, match=KEY):
        store.verified(KEY)
    shutil.rmtree(store.root / "incoming")
    with pytest.raises(BlobStoreDownError):
        store.verified(KEY)


def test_a_file_in_the_wrong_folder_is_no_blob(store):
    strange = store.root / "00" / ("f" * 64)
    strange.parent.mkdir()
    strange.touch()
    assert list(store.entries()) == []


def test_published_bytes_are_a_blob(store):
    with store.stage(io.BytesIO(DATA)) as staged:
        staged.publish()
        assert store.path(KEY).read_bytes() == DATA
    assert [(entry.name, entry.size) for entry in store.entries()] == [(KEY, len(DATA))]
    assert list(store.unfinished()) == []


def test_publishing_brings_back_what_was_deleted_meanwhile(store):
    store.put(io.BytesIO(DATA))
    with store.stage(io.BytesIO(DATA)) as staged:
        store.delete(KEY)
        staged.publish()
    assert store.path(KEY).read_bytes() == DATA


@pytest.mark.parametrize("error", [TooLargeError, ZeroDivisionError])
def test_nothing_stays_of_what_is_not_published(store, error):
    with (
        pytest.raises(error),
        store.stage(io.BytesIO(DATA), limit=5 if error is TooLargeError else 99),
    ):
        raise ZeroDivisionError
    assert [*store.entries(), *store.unfinished()] == []


def test_a_stranger_s_files_are_no_blobs(store):
    (store.root / "ab").mkdir()
    (store.root / "ab" / "notes.txt").write_text("mine")
    (store.root / "other").mkdir()
    (store.root / "other" / KEY).write_text("mine")
    (store.root / KEY).write_text("mine")
    assert list(store.entries()) == []


def test_a_write_is_discarded_by_its_name_alone(store, tmp_path):
    (tmp_path / "mine").write_text("mine")
    (store.root / "incoming" / "left").write_text("half")
    for name in ("../../mine", "left", "left"):
        store.discard(name)
    assert (tmp_path / "mine").exists()
    assert list(store.unfinished()) == []


def test_a_whole_file_is_read_once(store, reads):
    store.put(io.BytesIO(DATA))
    assert store.verified(KEY) == store.verified(KEY) == store.path(KEY)
    assert len(reads) == 1


def test_a_file_that_changed_is_read_again(store, reads):
    store.put(io.BytesIO(DATA))
    path = store.verified(KEY)
    path.write_bytes(b"some bytes that are others")
    for _ in range(2):
        with pytest.raises(BlobDamagedError, match=KEY):
            store.verified(KEY)
    store.put(io.BytesIO(DATA))
    assert store.verified(KEY).read_bytes() == DATA


def test_a_file_is_not_believed_to_be_whole_for_ever(store, reads, monkeypatch):
    store.put(io.BytesIO(DATA))
    store.verified(KEY)
    monkeypatch.setattr(base, "VERIFIED_SECONDS", 0.0)
    store.verified(KEY)
    assert len(reads) == 2


def test_what_is_remembered_is_bounded(store, reads, monkeypatch):
    monkeypatch.setattr(base, "MAX_VERIFIED", 2)
    keys = [store.put(io.BytesIO(bytes([number]))).key for number in range(5)]
    for key in keys * 2:
        store.verified(key)
    assert len(reads) >= 2 * len(keys) - 2, "two at most were known at the second look"
    store.verified(keys[-1])
    assert len(reads) <= 2 * len(keys), "the last one is"


@pytest.mark.parametrize("cut", [0, 1, len(DATA) // 2, len(DATA) - 1])
def test_a_blob_that_a_crash_cut_off_is_damaged_until_it_is_stored_again(store, cut):
    store.path(store.put(io.BytesIO(DATA)).key).write_bytes(DATA[:cut])
    with pytest.raises(BlobDamagedError):
        store.verified(KEY)
    store.put(io.BytesIO(DATA))
    assert store.verified(KEY).read_bytes() == DATA


def test_what_goes_while_it_is_looked_for_is_missing(store, monkeypatch):
    monkeypatch.setattr(store, "path", lambda key: store.root / "gone")
    with pytest.raises(BlobMissingError):
        store.verified(KEY)


def test_what_is_missing_cannot_be_checked(store):
    with pytest.raises(BlobMissingError):
        store.verified(KEY)


def away(store):
    """Put a file where the store was, as a mount that is gone leaves an empty folder."""
    store.root.rename(store.root.with_name("away"))
    store.root.touch()


def back(store):
    store.root.unlink()
    store.root.with_name("away").rename(store.root)


def test_a_store_that_goes_before_the_publishing_is_down_and_nothing_else(store):
    with pytest.raises(BlobStoreDownError), store.stage(io.BytesIO(DATA)) as staged:  # noqa: PT012
        away(store)
        staged.publish()
    assert not store.answers()
    back(store)
    assert store.answers()
    assert [entry.size for entry in store.unfinished()] == [len(DATA)], "the collector's"


def test_a_store_that_goes_after_the_publishing_has_the_bytes(store):
    with store.stage(io.BytesIO(DATA)) as staged:
        staged.publish()
        away(store)
    back(store)
    assert store.path(KEY).read_bytes() == DATA


def test_nothing_is_deleted_from_a_store_that_is_down(store):
    store.put(io.BytesIO(DATA))
    away(store)
    with pytest.raises(BlobStoreDownError):
        store.delete(KEY)
    back(store)
    store.delete(KEY)
    assert list(store.entries()) == []


@pytest.mark.parametrize("gone", ["blob", "store"])
def test_what_goes_while_it_is_checked_is_missing_or_the_store_is_down(store, monkeypatch, gone):
    store.put(io.BytesIO(DATA))
    path = store.path

    def then_gone(key):
        found = path(key)
        monkeypatch.undo()
        if gone == "blob":
            found.unlink()
        else:
            store.root.rename(store.root.with_name("away"))
        return found

    monkeypatch.setattr(store, "path", then_gone)
    with pytest.raises(BlobMissingError if gone == "blob" else BlobStoreDownError):
        store.verified(KEY)


@pytest.mark.parametrize(
    ("number", "answers"), [(errno.EIO, False), (errno.ENOSPC, True), (errno.EMFILE, True)]
)
def test_a_store_without_room_answers(store, monkeypatch, number, answers):
    def fails(_handle):
        raise OSError(number, "no")

    monkeypatch.setattr(os, "fsync", fails)
    assert store.answers() is answers
    assert list(store.unfinished()) == []


def test_a_process_that_may_open_no_more_files_says_nothing_of_its_store(store):
    store.put(io.BytesIO(DATA))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files") as reading:
            store.verified(KEY)
        with pytest.raises(OSError, match="Too many open files") as writing:
            store.put(io.BytesIO(DATA))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not {type(reading.value), type(writing.value)} & {BlobStoreDownError}
    assert store.verified(KEY)


def test_one_that_is_away_when_it_is_opened_is_down_until_it_is_back(store):
    store.put(io.BytesIO(DATA))
    away(store)
    opened = LocalBlobStore(store.root)
    assert not opened.answers()
    with pytest.raises(BlobStoreDownError):
        opened.put(io.BytesIO(DATA))
    with pytest.raises(BlobStoreDownError):
        opened.path(KEY)
    back(store)
    assert opened.answers()
    assert opened.path(KEY).read_bytes() == DATA


LOOKS = {
    "entries": lambda store: list(store.entries()),
    "unfinished": lambda store: list(store.unfinished()),
    "discard": lambda store: store.discard("left"),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
def test_one_that_is_away_is_down_to_the_collector_too(store, look):
    look(store)
    away(store)
    with pytest.raises(BlobStoreDownError):
        look(LocalBlobStore(store.root))


def test_one_that_could_not_be_made_is_made_when_it_can(tmp_path):
    (tmp_path / "blobs").touch()
    opened = LocalBlobStore(tmp_path / "blobs")
    assert opened.fault() is not None
    (tmp_path / "blobs").unlink()
    assert opened.fault() is None
    assert opened.answers()
    opened.put(io.BytesIO(DATA))
    assert opened.path(KEY).read_bytes() == DATA
