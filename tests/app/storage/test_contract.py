"""What every blob store does, wherever it keeps its blobs."""

import hashlib
import io
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.storage import (
    BlobDamagedError,
    BlobMissingError,
    SentInVainError,
    TooLargeError,
    bucket,
)
from app.storage.keys import is_key
from tests.app.storage.places import Directory, S3Prefix

DATA = b"some bytes"
KEY = hashlib.sha256(DATA).hexdigest()
LARGE = bytes(range(256)) * 4096 * 20 + b"and the rest"
SIZES = pytest.mark.parametrize("data", [b"", DATA, LARGE], ids=["empty", "small", "large"])
WRONG = pytest.mark.parametrize("data", [b"other bytes", b"some bytez"], ids=["size", "bytes"])


def key_of(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def large_is_put_in_parts(monkeypatch):
    monkeypatch.setattr(bucket, "WHOLE_BYTES", bucket.PART_BYTES)


@pytest.fixture(params=["directory", "s3"])
def place(request, tmp_path):
    if request.param == "directory":
        return Directory(tmp_path)
    return S3Prefix(request.getfixturevalue("s3"), tmp_path)


@pytest.fixture
def store(place):
    return place.host()


class TestBlobStore:
    """The contract: `store` is one host's, `place.host()` another's."""

    @SIZES
    def test_published_bytes_are_a_blob_to_everybody(self, place, store, data):
        with store.stage(io.BytesIO(data)) as staged:
            assert (staged.blob.key, staged.blob.size) == (key_of(data), len(data))
            staged.send()
            staged.confirm()
            staged.publish()
        for host in (store, place.host()):
            assert host.path(key_of(data)).read_bytes() == data
            assert host.verified(key_of(data)).read_bytes() == data
            assert host.size(key_of(data)) == len(data)
            host.check(key_of(data))
        assert [(e.name, e.size) for e in store.entries()] == [(key_of(data), len(data))]
        assert list(store.unfinished()) == []

    def test_staged_bytes_are_seen_by_nobody_else(self, place, store):
        with store.stage(io.BytesIO(DATA)) as staged:
            assert staged.path.read_bytes() == DATA
            assert list(store.entries()) == []
            assert [entry.size for entry in store.unfinished()] == [len(DATA)]
            with pytest.raises(BlobMissingError):
                place.host().path(KEY)
        assert [*store.entries(), *store.unfinished()] == []

    def test_a_blob_that_goes_before_it_is_opened_is_missing(self, store):
        with store.stage(io.BytesIO(DATA)) as staged:
            staged.send()
            staged.publish()

        def read_too_late():
            with store.whole(KEY) as path:
                store.delete(KEY)
                path.unlink(missing_ok=True)  # a copy, too
                path.read_bytes()

        with pytest.raises(BlobMissingError):
            read_too_late()

    def test_another_file_that_is_missing_is_no_blob(self, store, tmp_path):
        with store.stage(io.BytesIO(DATA)) as staged:
            staged.send()
            staged.publish()
        with pytest.raises(FileNotFoundError), store.in_places(KEY):
            (tmp_path / "other").read_bytes()

    @SIZES
    def test_a_file_is_stored_as_it_was_when_it_was_staged(self, place, store, tmp_path, data):
        path, newer = tmp_path / "file", tmp_path / "newer"
        path.write_bytes(data)
        newer.write_bytes(b"what came next")
        with store.stage_file(path) as staged:
            newer.replace(path)
            assert (staged.blob.key, staged.blob.size) == (key_of(data), len(data))
            staged.send()
            staged.confirm()
            staged.publish()
        assert path.read_bytes() == b"what came next"
        assert place.host().path(key_of(data)).read_bytes() == data
        assert [(e.name, e.size) for e in store.entries()] == [(key_of(data), len(data))]
        assert list(store.unfinished()) == []

    @pytest.mark.parametrize("error", [TooLargeError, ZeroDivisionError])
    def test_nothing_stays_of_what_is_not_published(self, store, error):
        limit = 5 if error is TooLargeError else 99
        with pytest.raises(error), store.stage(io.BytesIO(DATA), limit):
            raise ZeroDivisionError
        assert [*store.entries(), *store.unfinished()] == []

    @pytest.mark.parametrize("data", [DATA, LARGE], ids=["small", "large"])
    def test_the_same_bytes_by_many_at_once_are_one_blob(self, place, data):
        hosts = [place.host() for _ in range(4)]
        with ThreadPoolExecutor(len(hosts)) as pool:
            put = list(pool.map(lambda host: host.put(io.BytesIO(data)), hosts))
        assert {(blob.key, blob.size) for blob in put} == {(key_of(data), len(data))}
        assert [(e.name, e.size) for e in hosts[0].entries()] == [(key_of(data), len(data))]
        assert list(hosts[0].unfinished()) == []
        assert place.host().verified(key_of(data)).read_bytes() == data

    @pytest.mark.parametrize("data", [DATA, LARGE], ids=["small", "large"])
    def test_what_was_sent_and_deleted_meanwhile_is_back_or_told(self, place, store, data):
        store.put(io.BytesIO(data))
        with store.stage(io.BytesIO(data)) as staged:
            staged.send()
            place.host().delete(key_of(data))
            try:
                staged.confirm()
            except SentInVainError:
                assert not store.is_there(key_of(data)), "nothing is sent while locks are held"
                staged.send()
                staged.confirm()
            staged.publish()
        assert store.is_there(key_of(data))
        assert place.host().path(key_of(data)).read_bytes() == data

    def test_what_is_deleted_is_missing(self, place, store):
        store.put(io.BytesIO(DATA))
        for _ in range(2):
            store.delete(KEY)
        assert list(store.entries()) == []
        for host in (store, place.host()):
            for ask in (host.path, host.size, host.verified, host.check):
                with pytest.raises(BlobMissingError, match=KEY):
                    ask(KEY)

    def test_a_blob_is_held_as_long_as_its_folder_is_there(self, place, store, tmp_path):
        store.put(io.BytesIO(DATA))
        held = place.host().held(KEY, tmp_path / "held")
        assert (held.name, held.read_bytes()) == (KEY, DATA)

    @WRONG
    def test_bytes_that_are_not_those_that_were_stored_are_told(self, place, store, data):
        store.put(io.BytesIO(DATA))
        place.overwrite(KEY, data)
        host = place.host()
        for ask in (host.verified, host.check):
            with pytest.raises(BlobDamagedError, match=KEY):
                ask(KEY)

    def test_a_blob_that_was_cut_off_is_damaged_until_it_is_stored_again(self, place, store):
        store.put(io.BytesIO(DATA))
        place.overwrite(KEY, DATA[:5])
        with pytest.raises(BlobDamagedError):
            place.host().verified(KEY)
        store.put(io.BytesIO(DATA))
        assert place.host().verified(KEY).read_bytes() == DATA

    def test_a_stranger_s_things_are_no_blobs(self, place, store):
        for name in ("ab/notes.txt", f"other/{KEY}", KEY, f"00/{KEY}", "incoming-too/a"):
            place.add(name)
        assert [*store.entries(), *store.unfinished()] == []

    def test_a_write_that_never_ended_is_found_and_discarded_by_its_name_alone(self, place, store):
        store.put(io.BytesIO(DATA))
        place.leave_unfinished(store, "left")
        place.add("mine")
        assert [(entry.name, entry.size) for entry in store.unfinished()] == [("left", 4)]
        for name in ("../mine", f"../{KEY[:2]}/{KEY}", "left", "left"):
            store.discard(name)
        assert list(store.unfinished()) == []
        assert place.host().path(KEY).read_bytes() == DATA

    def test_entries_say_when_they_were_written(self, store):
        before = time.time() - 2  # an object store's clock has whole seconds
        store.put(io.BytesIO(DATA))
        (entry,) = store.entries()
        assert before <= entry.modified <= time.time() + 2

    def test_a_store_that_can_be_written_has_no_fault(self, store):
        assert store.fault() is None
        assert store.answers()
        assert [*store.entries(), *store.unfinished()] == []

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
    @given(name=st.text(max_size=80).filter(lambda name: not is_key(name)))
    def test_whatever_is_no_key_is_a_missing_blob(self, store, name):
        for ask in (store.path, store.size, store.verified):
            with pytest.raises(BlobMissingError):
                ask(name)
