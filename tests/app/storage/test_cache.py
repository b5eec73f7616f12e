"""An object store's blobs on one host: which stay, and that nobody sees half of one."""

import hashlib
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.storage import BlobDamagedError, BlobMissingError
from app.storage.cache import LOOK_SECONDS, UNUSED_SECONDS, BlobCache, Download

ROOT = Path(__file__).parents[3]
SIZE = 100


def blob(number):
    return bytes([number]) * SIZE


def key_of(data):
    return hashlib.sha256(data).hexdigest()


def comes(data, fetched=None):
    """Something to fetch `data` by, in pieces."""

    def fetch():
        if fetched is not None:
            fetched.append(data)
        return Download(len(data), iter([data[:3], data[3:]]))

    return fetch


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def cache(folder):
    return BlobCache(folder, most=3 * SIZE, keep_free=0, patience=5.0, spare=0.0)


def fill(cache, number):
    data = blob(number)
    return cache.fill(key_of(data), comes(data))


def used(folder, number, ago):
    """Say when a blob was used last."""
    then = time.time() - ago
    os.utime(folder / f"{key_of(blob(number))}.used", (then, then))


def here(cache):
    return {number for number in range(20) if key_of(blob(number)) in cache.all_keys()}


def test_what_is_not_here_is_fetched_once(cache, folder):
    fetched = []
    data, key = blob(1), key_of(blob(1))
    assert cache.find(key) is None
    for _ in range(2):
        assert cache.fill(key, comes(data, fetched)).read_bytes() == data
    assert cache.find(key).read_bytes() == data
    assert fetched == [data]


def test_bytes_that_are_others_are_not_kept(cache, folder):
    key = key_of(blob(1))
    with pytest.raises(BlobDamagedError, match=key):
        cache.fill(key, comes(blob(2)))
    assert cache.find(key) is None
    assert not list(folder.glob(".draft-*"))


def test_a_fetch_that_fails_leaves_nothing(cache, folder):
    def breaks():
        yield b"abc"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.fill(key_of(blob(1)), lambda: Download(SIZE, breaks()))
    assert cache.all_keys() == []
    assert not list(folder.glob(".draft-*"))


def test_what_was_used_longest_ago_goes_first(cache, folder):
    for number in (1, 2, 3):
        fill(cache, number)
        used(folder, number, ago=100 - number)
    cache.find(key_of(blob(1)))
    fill(cache, 4)
    assert here(cache) == {1, 3, 4}
    assert {path.name.removesuffix(".used") for path in folder.glob("*.used")} == set(
        cache.all_keys()
    )


def test_what_somebody_asked_for_a_moment_ago_stays_beyond_the_limit(folder):
    cache = BlobCache(folder, most=2 * SIZE, keep_free=0, patience=5.0, spare=60.0)
    for number in (1, 2, 3, 4):
        fill(cache, number)
    assert here(cache) == {1, 2, 3, 4}
    for number in (1, 2, 3):
        used(folder, number, ago=61)
    fill(cache, 5)
    assert here(cache) == {4, 5}


def test_what_has_another_name_stays_and_outlives_the_cache(cache, folder, tmp_path):
    for number in (1, 2, 3):
        fill(cache, number)
        used(folder, number, ago=100 - number)
    assert cache.link(key_of(blob(1)), tmp_path / "held")
    fill(cache, 4)
    assert here(cache) == {1, 3, 4}
    cache.drop(key_of(blob(1)))
    assert (tmp_path / "held").read_bytes() == blob(1)


def test_what_is_not_here_gets_no_other_name(cache, tmp_path):
    fill(cache, 1)
    assert not cache.link(key_of(blob(2)), tmp_path / "held")
    assert not (tmp_path / "held").exists()


def test_an_open_file_outlives_its_name(cache, folder):
    with fill(cache, 1).open("rb") as stream:
        used(folder, 1, ago=100)
        for number in (2, 3, 4):
            fill(cache, number)
        assert here(cache) == {2, 3, 4}
        assert stream.read() == blob(1)


@pytest.fixture
def free(monkeypatch):
    """Bytes that the disk has free, in a list of one."""
    said = [250]
    usage = "app.storage.cache.shutil.disk_usage"
    monkeypatch.setattr(usage, lambda _path: SimpleNamespace(free=said[0]))
    return said


def test_room_on_the_disk_is_kept_free(folder, free):
    cache = BlobCache(folder, most=10**9, keep_free=100, patience=5.0, spare=0.0)
    fill(cache, 1)
    used(folder, 1, ago=50)
    free[0] = 150  # one came
    fill(cache, 2)
    assert here(cache) == {2}


def test_room_that_others_have_made_is_not_made_again(folder, free, monkeypatch):
    cache = BlobCache(folder, most=10**9, keep_free=100, patience=5.0, spare=0.0)
    fill(cache, 1)
    used(folder, 1, ago=50)
    free[0] = 150
    locked = BlobCache._locked

    def locked_late(self, how):
        free[0] = 10_000  # whoever had the lock
        return locked(self, how)

    monkeypatch.setattr(BlobCache, "_locked", locked_late)
    fill(cache, 2)
    assert here(cache) == {1, 2}


def test_what_nobody_asked_for_in_a_week_goes(cache, folder):
    fill(cache, 1)
    used(folder, 1, ago=UNUSED_SECONDS + 1)
    fill(cache, 2)
    assert here(cache) == {2}


def test_what_a_lost_process_left_goes(cache, folder):
    fill(cache, 1)
    draft = folder / ".draft-left"
    draft.write_bytes(b"half")
    os.utime(draft, (1, 1))
    fill(cache, 2)
    assert not draft.exists()
    assert here(cache) == {1, 2}


def test_of_many_who_want_the_same_one_fetches(folder):
    caches = [BlobCache(folder, 10 * SIZE, 0, patience=60.0) for _ in range(8)]
    data, fetched = blob(1), []
    together = threading.Barrier(len(caches))

    def want(cache):
        together.wait()
        return cache.fill(key_of(data), comes(data, fetched)).read_bytes()

    with ThreadPoolExecutor(len(caches)) as pool:
        assert set(pool.map(want, caches)) == {data}
    assert fetched == [data]


def test_who_waited_for_too_long_fetches_too(folder):
    began, go_on = threading.Event(), threading.Event()
    data = blob(1)

    def slowly():
        yield data[:50]
        began.set()
        go_on.wait()
        yield data[50:]

    slow, quick = (BlobCache(folder, 10 * SIZE, 0, patience=0.1) for _ in range(2))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(slow.fill, key_of(data), lambda: Download(SIZE, slowly()))
        began.wait()
        try:
            assert quick.fill(key_of(data), comes(data)).read_bytes() == data
        finally:
            go_on.set()
        assert first.result().read_bytes() == data


def test_what_is_no_key_is_missing(cache):
    for ask in (cache.find, cache.drop, lambda key: cache.fill(key, comes(b""))):
        with pytest.raises(BlobMissingError):
            ask("../" + "a" * 61)


CHURN = """
import hashlib, random, sys, time
from pathlib import Path
from app.storage.cache import BlobCache, Download

folder, seed = Path(sys.argv[1]), int(sys.argv[2])
spare = 0.05
cache = BlobCache(folder, most=400, keep_free=0, patience=5.0, spare=spare)
chance = random.Random(seed)
for _ in range(500):
    data = bytes([chance.randrange(12)]) * 100
    key = hashlib.sha256(data).hexdigest()
    asked = time.time()
    path = cache.find(key) or cache.fill(key, lambda: Download(100, iter([data])))
    try:
        assert path.read_bytes() == data
    except FileNotFoundError:
        assert time.time() > asked + spare
    time.sleep(chance.random() / 200)
"""


def test_processes_that_share_it_read_what_they_asked_for(folder):
    """Room for a third of the blobs, and what was just asked for is never taken away."""
    churning = [
        subprocess.Popen([sys.executable, "-c", CHURN, folder, str(seed)], cwd=ROOT)
        for seed in range(3)
    ]
    assert [process.wait(120) for process in churning] == [0, 0, 0]


def test_the_folder_is_not_looked_through_for_each_blob(folder, monkeypatch):
    looks = []
    kept = BlobCache._kept
    monkeypatch.setattr(BlobCache, "_kept", lambda self: looks.append(self) or kept(self))
    cache = BlobCache(folder, most=1000 * SIZE, keep_free=0, patience=5.0, spare=0.0)
    for number in range(10):
        fill(cache, number)
    assert len(looks) == 1
    full = BlobCache(folder, most=12 * SIZE, keep_free=0, patience=5.0, spare=0.0)
    for number in range(10, 15):
        fill(full, number)
    assert here(full) == set(range(3, 15))


def test_it_is_looked_through_again_after_a_while(folder, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("app.storage.cache.time.monotonic", lambda: now[0])
    cache = BlobCache(folder, most=1000 * SIZE, keep_free=0, patience=5.0, spare=0.0)
    fill(cache, 1)
    used(folder, 1, ago=UNUSED_SECONDS + 1)
    fill(cache, 2)
    assert here(cache) == {1, 2}
    now[0] += LOOK_SECONDS + 1
    fill(cache, 3)
    assert here(cache) == {2, 3}
