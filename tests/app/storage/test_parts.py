"""What every store does with parts of large uploads, and what a bucket does past the service."""

import hashlib
import io
import os
import time

import httpx
import pytest

from app.storage import BlobMissingError, BlobStoreDownError, bucket
from tests.app.storage.places import Directory, S3Prefix
from tests.fixtures.faulty_s3 import cuts, drops, faulty

UPLOAD = "5d3a9e0e-6a4c-4f0a-9a51-1f2f7c1c8f11"
OTHER = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(params=["directory", "s3"])
def place(request, tmp_path):
    if request.param == "directory":
        return Directory(tmp_path)
    return S3Prefix(request.getfixturevalue("s3"), tmp_path)


@pytest.fixture
def store(place):
    return place.host()


def put(store, number, data, upload=UPLOAD):
    store.parts.put(upload, number, io.BytesIO(data))


class TestParts:
    """The contract: `store` is one host's, `place.host()` another's."""

    def test_what_was_put_is_there_for_every_host(self, place, store):
        large = os.urandom(3 * 1024 * 1024 + 1)
        for number, data in ((10, b"ten"), (2, large), (1, b"")):
            put(store, number, data)
        other = place.host()
        assert other.parts.sizes(UPLOAD) == {1: 0, 2: len(large), 10: 3}
        assert b"".join(other.parts.read(UPLOAD, 2)) == large
        assert other.parts.sizes(OTHER) == {}

    def test_the_last_one_of_a_number_counts(self, place, store):
        put(store, 1, b"first")
        put(place.host(), 1, b"last one")
        assert b"".join(store.parts.read(UPLOAD, 1)) == b"last one"
        assert store.parts.sizes(UPLOAD) == {1: 8}

    def test_one_that_is_not_there_is_missing(self, store):
        put(store, 1, b"a")
        with pytest.raises(BlobMissingError):
            list(store.parts.read(UPLOAD, 2))

    def test_parts_are_a_write_that_has_not_ended(self, store):
        before = time.time() - 60
        put(store, 1, b"a")
        put(store, 2, b"bc")
        put(store, 1, b"d", OTHER)
        assert list(store.entries()) == [], "no blob"
        left = {entry.name: entry for entry in store.unfinished()}
        assert {name: one.size for name, one in left.items()} == {
            f"parts/{UPLOAD}": 3,
            f"parts/{OTHER}": 1,
        }
        assert all(one.modified > before for one in left.values())
        store.discard(f"parts/{UPLOAD}")
        assert [entry.name for entry in store.unfinished()] == [f"parts/{OTHER}"]
        store.parts.remove(OTHER)
        store.parts.remove(OTHER)
        assert list(store.unfinished()) == []


@pytest.fixture
def line(s3):
    with faulty(s3.endpoint) as faults:
        yield faults


@pytest.fixture
def reached(s3, line, tmp_path):
    """A store that is reached through a line that may break."""
    return S3Prefix(s3, tmp_path, line.endpoint).host(store_seconds=1.0)


def test_a_url_puts_one_part_and_nothing_else(s3, tmp_path):
    store = S3Prefix(s3, tmp_path).host()
    (address,) = store.parts.addresses(UPLOAD, [3], 60)
    assert httpx.put(address.url, content=b"past the service").status_code == 200
    assert store.parts.sizes(UPLOAD) == {3: 16}
    for changed in (
        address.url.replace(f"{UPLOAD}/3", f"{UPLOAD}/4"),
        address.url.replace("Expires=60", "Expires=6000"),
        address.url.partition("?")[0],
    ):
        assert changed != address.url
        assert httpx.put(changed, content=b"x").status_code == 403
    assert httpx.get(address.url).status_code == 403, "it reads nothing"
    assert httpx.delete(address.url).status_code == 403
    assert store.parts.sizes(UPLOAD) == {3: 16}


def test_urls_name_the_place_where_clients_reach_the_bucket(s3, tmp_path):
    place = S3Prefix(s3, tmp_path)
    public = s3.endpoint.replace("127.0.0.1", "localhost")
    (address,) = place.host(store_public_endpoint=public).parts.addresses(UPLOAD, [1], 60)
    assert address.url.startswith(f"{public}/sats/{place.prefix}/parts/{UPLOAD}/1?")
    assert httpx.put(address.url, content=b"a").status_code == 200


def test_parts_come_through_the_service_where_a_setting_says_so(s3, tmp_path):
    store = S3Prefix(s3, tmp_path).host(upload_to_store=False)
    assert store.parts.addresses(UPLOAD, [1], 60) is None
    put(store, 1, b"a")
    assert store.parts.sizes(UPLOAD) == {1: 1}


def test_a_store_that_does_not_answer_is_down(reached, line):
    put(reached, 1, b"some bytes")
    line.inject(drops)
    for call in (
        lambda: put(reached, 2, b"a"),
        lambda: reached.parts.sizes(UPLOAD),
        lambda: list(reached.parts.read(UPLOAD, 1)),
        lambda: reached.parts.remove(UPLOAD),
        lambda: list(reached.parts.left()),
    ):
        with pytest.raises(BlobStoreDownError):
            call()
    line.clear()
    assert reached.parts.sizes(UPLOAD) == {1: 10}


def test_a_part_that_is_cut_off_is_told(reached, line):
    put(reached, 1, bytes(4 * 1024 * 1024))
    line.inject(cuts, of="GET /")
    with pytest.raises(BlobStoreDownError):
        list(reached.parts.read(UPLOAD, 1))


def test_a_blob_that_is_too_large_to_be_copied_is_put_under_its_own_name(
    s3, line, tmp_path, monkeypatch
):
    monkeypatch.setattr(bucket, "WHOLE_BYTES", 1024)
    monkeypatch.setattr(bucket, "COPIED_BYTES", bucket.PART_BYTES)
    place = S3Prefix(s3, tmp_path, line.endpoint)
    data = os.urandom(bucket.PART_BYTES + 1)
    key = hashlib.sha256(data).hexdigest()
    assert place.host().put(io.BytesIO(data)).key == key
    assert place.names() == {f"{key[:2]}/{key}"}
    assert place.host().verified(key).read_bytes() == data
    line.seen.clear()
    place.host().put(io.BytesIO(data))
    assert not [one for one in line.seen if one.startswith(("PUT", "POST"))], "it is there"
