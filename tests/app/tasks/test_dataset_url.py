"""Data sets that lie in a bucket, named by a task."""

import asyncio
import errno
import hashlib
import io
import json
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace

import obstore
import pytest
from anyio import to_thread
from pydantic import ValidationError
from starlette.testclient import TestClient

from app.errors import BusyProblem
from app.main import create_app
from app.settings import Settings
from app.storage import bucket
from app.storage.bucket_client import client_of
from app.uploads import remote
from tests.app.tasks.posting import SPEC, drawn
from tests.fixtures.faulty_s3 import drops, fails, waits_for
from tests.fixtures.s3 import BUCKET


@pytest.fixture
def database_url(sqlite_url):
    """One database is enough: the object store knows none."""
    return sqlite_url


@pytest.fixture
def where(place):
    """The place whose data sets may be named."""
    return f"s3://{BUCKET}/{place.prefix}-sets"


@pytest.fixture
def sets(s3, place):
    """The same, to put data sets there."""
    return s3.client(f"{place.prefix}-sets")


@pytest.fixture
def client(settings, place, where):
    own = settings.model_dump(exclude_unset=True)
    store = place.settings(store_seconds=2.0).model_dump(exclude_unset=True)
    app = create_app(Settings(**store | own | {"dataset_buckets": f"gs://other, {where}"}))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as made:
        yield made


def post(client, url, **parts):
    fields = {"dataset_url": (None, url), "spec": (None, json.dumps(SPEC)), **parts}
    return client.post("/tasks", files=fields)


def field_of(answer):
    (error,) = answer.json()["errors"]
    return error["field"]


def test_a_zip_in_a_bucket_is_as_if_it_was_posted(client, place, sets, where, tmp_path):
    data = drawn(tmp_path, "cat").read_bytes()
    obstore.put(sets, "cats-of-today.zip", data)
    answer = post(client, f"{where}/cats-of-today.zip")
    assert answer.status_code == 202, answer.text
    same = client.post(
        "/tasks", files={"dataset": ("a.zip", data), "spec": (None, json.dumps(SPEC))}
    )
    assert same.status_code == 202
    stored = {name.rpartition("/")[2] for name in place.names() if name.count("/") == 1}
    assert stored == {hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://example.org/a.zip",
        "file:///etc/passwd",
        "s3://",
        "s3://bucket",
        "s3://elsewhere/sets/a.zip",
        "gs://others/a.zip",
        "s3://key@sats/sets/a.zip",
        "{where}-not/a.zip",
        "{where}/../a.zip",
        "{where}/./a.zip",
        "{where}//a.zip",
        "{where}/a.zip?versionId=1",
        "{where}/%2e%2e/a.zip",
        "{where}/",
        "",
    ],
)
def test_what_may_not_be_named_is_refused_and_nobody_is_asked(client, where, line, url):
    line.seen.clear()
    answer = post(client, url.format(where=where))
    assert answer.status_code == 422, answer.text
    assert field_of(answer) == "dataset_url"
    assert line.seen == []


def test_what_is_not_there_is_refused(client, where):
    answer = post(client, f"{where}/nothing.zip")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == "missing"
    assert field_of(answer) == "dataset_url"


def test_what_is_too_long_is_refused_before_it_comes(client, sets, where):
    obstore.put(sets, "long.zip", b"0" * (8 * 1024 * 1024 + 1))
    answer = post(client, f"{where}/long.zip")
    assert answer.status_code == 413
    assert field_of(answer) == "dataset_url"


def test_a_bucket_that_is_down_is_503(client, where, line):
    line.inject(drops)
    assert post(client, f"{where}/a.zip").status_code == 503


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (403, "AccessDenied", "forbidden"),
        (404, "NoSuchKey", "missing"),
        (404, "NoSuchBucket", "missing"),
    ],
)
def test_who_may_only_get_objects_is_told_of_a_typing_error(
    client, where, line, status, code, told
):
    line.inject(fails(status, code))  # to be listed, too, is refused
    answer = post(client, f"{where}/a.zip")
    assert answer.status_code == 422, answer.text
    assert field_of(answer) == "dataset_url"
    assert answer.json()["errors"][0]["code"] == told
    assert "on purpose" not in answer.text
    assert [one.partition(" ")[0] for one in line.seen if "-sets" in one] == ["GET"]


@pytest.mark.parametrize("name", ["a" * 1025, "a\x01.zip", "a\x7f.zip"])
def test_a_name_that_no_object_can_have_is_refused(client, where, line, name):
    line.seen.clear()
    answer = post(client, f"{where}/{name}")
    assert answer.status_code == 422, answer.text
    assert line.seen == []


@pytest.mark.parametrize(
    "name", ["{a}.zip", "café.zip", "a~^`|.zip", "a\\b.zip", "...", "a&b=c.zip"]
)
def test_an_odd_name_is_one_that_is_not_there(client, where, name):
    answer = post(client, f"{where}/{name}")
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["code"] == "missing"


def test_downloads_leave_the_threads_to_others(client, sets, where, line, monkeypatch):
    monkeypatch.setattr(client.app.state.services.uploads.fetches, "_turns", threading.Semaphore(2))
    gate, came = threading.Event(), threading.Semaphore(0)

    def waits(handler, forward):
        came.release()
        waits_for(gate)(handler, forward)

    obstore.put(sets, "slow.zip", b"no zip")
    line.inject(waits, of="GET .*slow")
    with ThreadPoolExecutor(2) as pool:
        try:
            slow = [pool.submit(post, client, f"{where}/slow.zip") for _ in range(2)]
            for _ in slow:
                assert came.acquire(timeout=30)
            assert threads_taken(client) == 0
            busy = post(client, f"{where}/slow.zip")
            assert busy.status_code == 503
            assert busy.json()["type"] == "urn:sats:problem:overloaded"
            assert int(busy.headers["Retry-After"]) > 0
        finally:
            gate.set()
    assert {one.result().status_code for one in slow} == {422}
    assert post(client, f"{where}/slow.zip").status_code == 422


def test_one_that_was_given_up_counts_until_its_thread_ends(settings, monkeypatch):
    begun, gate, ended = (threading.Event() for _ in range(3))

    def stuck(_settings, _bucket, _name, left):
        begun.set()
        gate.wait()
        assert left.is_set()
        ended.set()

    allowed = settings.model_copy(update={"dataset_buckets": "s3://pictures"})
    fetches = remote.Fetches(1)
    monkeypatch.setattr(remote, "_fetched", stuck)

    async def run():
        one = asyncio.create_task(fetches.fetch(allowed, "s3://pictures/a.zip"))
        try:
            assert await asyncio.to_thread(begun.wait, 30)
            one.cancel()
            with pytest.raises(asyncio.CancelledError):
                await one
            with pytest.raises(BusyProblem):
                await fetches.fetch(allowed, "s3://pictures/a.zip")
        finally:
            gate.set()
        assert await asyncio.to_thread(ended.wait, 30)

    asyncio.run(run())


def threads_taken(client):
    """How many of the API's threads are taken."""

    async def taken():
        return to_thread.current_default_thread_limiter().borrowed_tokens

    return client.portal.call(taken)


def test_what_does_not_come_in_time_is_given_up(client, sets, where, monkeypatch):
    monkeypatch.setattr(remote, "FETCH_SECONDS", 1e-9)  # over when the first bytes are there
    monkeypatch.setattr(bucket, "client_of", lambda *given, **_: client_of(*given, patient=True))
    obstore.put(sets, "a.zip", b"a")
    answer = post(client, f"{where}/a.zip")
    assert answer.status_code == 503
    assert "in time" in answer.json()["detail"]


def test_what_has_no_room_is_refused_before_it_comes(client, sets, where, monkeypatch):
    obstore.put(sets, "a.zip", b"0" * 2048)
    free = client.app.state.services.settings.keep_free_bytes + 2047
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    monkeypatch.setattr(tempfile, "TemporaryFile", None)
    assert post(client, f"{where}/a.zip").status_code == 507


def test_a_disk_that_fills_up_meanwhile_is_told(client, sets, where, monkeypatch):
    class Full(io.BytesIO):
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    obstore.put(sets, "a.zip", b"a")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    assert post(client, f"{where}/a.zip").status_code == 507


def test_a_bucket_that_cannot_be_opened_ends_the_start(settings, monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    wrong = settings.model_copy(update={"dataset_buckets": "az://container"})
    with (
        pytest.raises(ValueError, match="SATS_DATASET_BUCKETS: az://container"),
        TestClient(create_app(wrong)),
    ):
        pass


def test_one_data_set_is_enough(client, where):
    answer = post(client, f"{where}/a.zip", upload=(None, "a"))
    assert answer.status_code == 422
    assert field_of(answer) == "dataset_url"


@pytest.mark.parametrize("wrong", ["http://pictures", "s3://*", "s3://a b", "s3://a/../b", ","])
def test_places_that_are_none_are_refused_at_the_start(wrong):
    with pytest.raises(ValidationError, match="dataset_buckets"):
        Settings(dataset_buckets=wrong)


@pytest.mark.parametrize(
    ("store", "place", "allowed"),
    [
        ("s3://bucket/sats", "s3://bucket", False),
        ("s3://bucket/sats", "s3://elsewhere,s3://bucket/sats", False),
        ("s3://bucket/sats/", "s3://bucket/sats/sets", False),
        ("s3://bucket", "s3://bucket/sets", False),
        ("s3://bucket/sats", "s3://bucket/sats-sets", True),
        ("s3://bucket/sats", "s3://bucket-2", True),
        ("s3://bucket/sats", "gs://bucket", True),
    ],
)
def test_what_the_service_stored_may_not_be_named(store, place, allowed):
    with nullcontext() if allowed else pytest.raises(ValidationError, match="SATS_DATASET_BUCKETS"):
        Settings(store_url=store, dataset_buckets=place)
