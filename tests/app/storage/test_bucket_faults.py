"""An object store over a line that breaks: what is told, how soon, and what is left behind."""

import hashlib
import io
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import obstore
import pytest

from app.storage import (
    BlobDamagedError,
    BlobMissingError,
    BlobStoreDownError,
    SentInVainError,
    bucket,
    open_store,
)
from tests.app.storage.places import S3Prefix
from tests.fixtures.faulty_s3 import (
    corrupts,
    cuts,
    drops,
    fails,
    forgets,
    repeats,
    waits_for,
)
from tests.fixtures.processes import environment

ROOT = Path(__file__).parents[3]
DATA = b"some bytes"
KEY = hashlib.sha256(DATA).hexdigest()
LARGE = bytes(range(256)) * 4096 * 9
"""Goes in two parts."""
LARGE_KEY = hashlib.sha256(LARGE).hexdigest()
SECONDS = 2.0
"""How long the stores here may be silent."""
BOUND = 30.0
"""Much more than any call may take then, on a busy machine too, and much less than for ever."""

BREAKS = {
    "500": fails(500),
    "503": fails(503, "SlowDown"),
    "403": fails(403, "AccessDenied"),
    "404": fails(404, "NoSuchBucket"),
    "dropped": drops,
}
broken = pytest.mark.parametrize("fault", BREAKS.values(), ids=BREAKS.keys())


def key_of(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def large_is_put_in_parts(monkeypatch):
    monkeypatch.setattr(bucket, "WHOLE_BYTES", bucket.PART_BYTES)


@pytest.fixture
def store(place):
    return place.host(store_seconds=SECONDS)


def put(store, data=DATA):
    store.put(io.BytesIO(data))


def publish_large(store):
    put(store, LARGE)


OPERATIONS = {
    "put": put,
    "put in parts": publish_large,
    "path": lambda store: store.path(KEY),
    "verified": lambda store: store.verified(KEY),
    "size": lambda store: store.size(KEY),
    "is there": lambda store: store.is_there(KEY),
    "check": lambda store: store.check(KEY),
    "delete": lambda store: store.delete(KEY),
    "entries": lambda store: list(store.entries()),
    "unfinished": lambda store: list(store.unfinished()),
    "discard": lambda store: store.discard("left"),
}


@broken
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_a_store_that_cannot_be_asked_is_down_and_nothing_else(place, line, fault, operation):
    put(place.host())
    store = place.host(store_seconds=0.5)
    line.inject(fault)
    began = time.monotonic()
    with pytest.raises(BlobStoreDownError) as told:
        operation(store)
    assert time.monotonic() - began < BOUND
    assert told.value.strerror
    assert "only-in-tests" not in str(told.value)
    line.clear()
    operation(place.host())


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("fault", [fails(500), fails(503), drops], ids=["500", "503", "dropped"])
def test_what_passes_is_waited_for(place, store, line, fault, times):
    line.inject(fault, times=times)
    put(store)
    line.inject(fault, of="GET", times=times)
    assert place.host().verified(KEY).read_bytes() == DATA


@pytest.mark.parametrize("data", [DATA, LARGE], ids=["small", "large"])
def test_a_write_whose_answer_was_lost_is_found_to_be_there(place, store, line, data):
    line.inject(forgets, of="^PUT .*/[0-9a-f]{64}|^POST .*/[0-9a-f]{64}.*uploadId", times=1)
    put(store, data)
    assert place.host().verified(hashlib.sha256(data).hexdigest()).read_bytes() == data


def test_a_store_that_says_nothing_is_down_in_time(place, line):
    store = place.host(store_seconds=0.5)
    put(place.host())
    gate = threading.Event()
    line.inject(waits_for(gate))
    try:
        for ask in (store.path, store.size, store.is_there, store.delete):
            began = time.monotonic()
            with pytest.raises(BlobStoreDownError):
                ask(KEY)
            assert time.monotonic() - began < BOUND
        began = time.monotonic()
        assert store.fault() == "does not answer"
        assert time.monotonic() - began < BOUND
        assert not store.answers()
    finally:
        gate.set()


PUT_AT_ONCE = "^PUT .*/[0-9a-f]{64}$"
COPIED = "^PUT .*/[0-9a-f]{64}[?].*uploadId"


@pytest.fixture
def parts_are_tiny(monkeypatch):
    """What is larger than DATA may go in parts where it does not go at once."""
    monkeypatch.setattr(bucket, "PART_BYTES", len(DATA))


@pytest.mark.usefixtures("parts_are_tiny")
def test_what_a_slow_line_lets_not_end_at_once_goes_in_parts(place, store, line):
    gate = threading.Event()
    line.inject(waits_for(gate), of=PUT_AT_ONCE)
    try:
        put(store, 2 * DATA)
    finally:
        gate.set()
    assert any(re.search(COPIED, one) for one in line.seen)
    assert place.host().path(key_of(2 * DATA)).read_bytes() == 2 * DATA
    assert list(store.unfinished()) == []


@pytest.mark.usefixtures("parts_are_tiny")
def test_what_was_put_at_once_and_is_answered_too_late_is_there(place, store, line):
    done, gate = threading.Event(), threading.Event()

    def answers_late(handler, forward):
        answer = forward()
        done.set()
        gate.wait()
        handler.give(answer)

    line.inject(answers_late, of=PUT_AT_ONCE)
    line.inject(lambda handler, forward: done.wait() and handler.give(forward()), of="^HEAD")
    try:
        put(store, 2 * DATA)
    finally:
        gate.set()
    assert not [one for one in line.seen if "uploadId" in one]
    assert place.host().path(key_of(2 * DATA)).read_bytes() == 2 * DATA


@pytest.mark.usefixtures("parts_are_tiny")
def test_a_store_that_is_read_and_not_written_is_down(store, line):
    line.inject(fails(503), of="^(PUT|POST)")
    began = time.monotonic()
    with pytest.raises(BlobStoreDownError):
        put(store, 2 * DATA)
    assert time.monotonic() - began < BOUND


def test_a_bucket_may_take_its_time_to_copy(place, store, line):
    def takes_its_time(handler, forward):
        time.sleep(1.5 * SECONDS)
        handler.give(forward())

    line.inject(takes_its_time, of=COPIED, times=1)
    put(store, LARGE)
    assert any(re.search(COPIED, one) for one in line.seen)
    assert place.host().path(LARGE_KEY).read_bytes() == LARGE


def test_what_is_asked_while_locks_are_held_is_given_up_within_seconds(place, line):
    patient = place.host(store_seconds=200.0, lease_seconds=300.0)
    put(patient)
    gate = threading.Event()
    with patient.stage(io.BytesIO(DATA)) as staged:
        staged.send()
        line.inject(waits_for(gate))
        try:
            asked = (staged.confirm, lambda: patient.is_there(KEY), lambda: patient.delete(KEY))
            for ask in asked:
                began = time.monotonic()
                with pytest.raises(BlobStoreDownError) as told:
                    ask()
                assert not isinstance(told.value, SentInVainError)
                assert time.monotonic() - began < BOUND
        finally:
            gate.set()


@pytest.mark.parametrize("data", [DATA, LARGE], ids=["small", "large"])
def test_a_blob_whose_bytes_break_off_is_not_taken_for_one(place, store, line, data):
    put(place.host(), data)
    key = hashlib.sha256(data).hexdigest()
    line.inject(cuts, of="GET")
    with pytest.raises(BlobStoreDownError):
        store.path(key)
    line.clear()
    assert store.path(key).read_bytes() == data


def test_bytes_that_change_on_the_way_are_asked_for_again(place, store, line):
    put(place.host(), LARGE)
    line.inject(corrupts, of="GET", times=1)
    assert store.path(LARGE_KEY).read_bytes() == LARGE


def test_bytes_that_change_on_the_way_every_time_are_damaged(place, store, line):
    put(place.host(), LARGE)
    line.inject(corrupts, of="GET .*/[0-9a-f]{64}")
    for ask in (store.path, store.verified, store.check):
        with pytest.raises(BlobDamagedError, match=LARGE_KEY):
            ask(LARGE_KEY)
    line.clear()
    assert store.verified(LARGE_KEY).read_bytes() == LARGE


def test_an_upload_that_breaks_off_leaves_what_the_collector_finds(place, store, line):
    line.inject(fails(500), of="^(PUT|POST|DELETE) .*/[0-9a-f]{64}|^DELETE ")
    with pytest.raises(BlobStoreDownError):
        put(store, LARGE)
    line.clear()
    (left,) = store.unfinished()
    assert left.size == len(LARGE)
    assert list(store.entries()) == []
    store.discard(left.name)
    assert place.names() == set()


def test_a_blob_is_put_where_there_is_none_and_never_overwritten(place, store, line):
    put(store)
    put(store, LARGE)
    made = {
        meta["path"]: meta["last_modified"] for one in obstore.list(place.client) for meta in one
    }
    put(place.host())  # in vain: the bucket has it
    line.seen.clear()
    put(place.host(), LARGE)
    assert not [one for one in line.seen if not one.startswith("HEAD ")]
    found = {
        meta["path"]: meta["last_modified"] for one in obstore.list(place.client) for meta in one
    }
    assert made == found


def test_of_two_that_see_no_blob_one_puts_it(place, store, line):
    other = place.host()
    put(other, LARGE)
    before = obstore.head(place.client, f"{LARGE_KEY[:2]}/{LARGE_KEY}")
    line.inject(fails(404, "NoSuchKey"), of="^HEAD", times=1)  # as it was a moment ago
    put(store, LARGE)
    after = obstore.head(place.client, f"{LARGE_KEY[:2]}/{LARGE_KEY}")
    assert (before["last_modified"], before["e_tag"]) == (after["last_modified"], after["e_tag"])


def test_a_listing_that_lags_shows_what_was_and_hides_what_is(place, store, line):
    put(store)
    earlier = []
    line.inject(repeats(earlier), of="GET .*list-type")
    assert [entry.name for entry in store.entries()] == [KEY]
    store.delete(KEY)
    put(store, LARGE)
    assert [entry.name for entry in store.entries()] == [KEY]
    with pytest.raises(BlobMissingError):
        place.host().path(KEY)
    assert place.host().path(LARGE_KEY).read_bytes() == LARGE
    store.delete(KEY)  # as a collector does that believes the listing


@pytest.mark.parametrize("cut", [0, 5, len(DATA) - 1])
def test_what_a_crash_cut_off_on_this_host_is_fetched_again(place, cut):
    settings = place.settings()
    before = open_store(settings, None)
    put(before)
    before.path(KEY).write_bytes(DATA[:cut])
    assert open_store(settings, None).path(KEY).read_bytes() == DATA


PUT_AND_GET = """
import re, sys, threading
from pathlib import Path
from app.settings import Settings
from app.storage import bucket, open_store

def taken():  # MiB; pages of a file that is mapped are the kernel's, which drops them when it likes
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\\s+(\\d+) kB", status)[1]) // 1024

def watch():
    while not over.wait(0.005):
        seen.append(taken())

bucket.WHOLE_BYTES = int(sys.argv[3])
store = open_store(Settings(keep_free_bytes=0), None)
store.put_file(Path(sys.argv[1]))  # small: what is loaded once is loaded
seen, over = [taken()], threading.Event()
watching = threading.Thread(target=watch)
watching.start()
blob = store.put_file(Path(sys.argv[2]))
assert store.path(blob.key).stat().st_size == blob.size
over.set()
watching.join()
print(max(seen) - seen[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what is resident")
@pytest.mark.parametrize("whole", [0, 2**30], ids=["in parts", "at once"])
def test_a_large_blob_takes_little_memory(s3, tmp_path, whole):
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(DATA)
    with large.open("wb") as out:
        for _ in range(128):
            out.write(os.urandom(1024 * 1024))
    settings = S3Prefix(s3, tmp_path).settings(store_seconds=60.0, lease_seconds=90.0)
    done = subprocess.run(
        [sys.executable, "-c", PUT_AND_GET, small, large, str(whole)],
        cwd=ROOT,
        env={**os.environ, **environment(settings)},
        check=True,
        capture_output=True,
    )
    assert int(done.stdout) < 80, "MiB: a few parts of 8, not 128"


def test_a_blob_that_is_here_is_read_while_the_store_is_down(place, store, line):
    put(store)
    store.verified(KEY)
    line.inject(drops)
    assert store.path(KEY).read_bytes() == store.verified(KEY).read_bytes() == DATA


def test_a_bucket_that_is_not_there_is_no_empty_one(s3, tmp_path):
    elsewhere = S3Prefix(s3, tmp_path).host(store_url="s3://not-made/at-all", store_seconds=SECONDS)
    for ask in (elsewhere.path, elsewhere.size, elsewhere.is_there, elsewhere.check):
        with pytest.raises(BlobStoreDownError):
            ask(KEY)


def test_a_key_that_is_wrong_is_told(s3, tmp_path):
    store = S3Prefix(s3, tmp_path).host(store_secret="not-this", store_seconds=SECONDS)
    with pytest.raises(BlobStoreDownError):
        put(store)
    assert store.fault() == "refuses to be written"
