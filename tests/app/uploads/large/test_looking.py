"""What lies in a bucket is looked at there: the worker alone fetches it."""

import io
import os
import zipfile
from datetime import timedelta

import obstore
import pytest

from app.db import LargeUpload, LargeUploadState, utc_now, write_session
from app.uploads import opening
from tests.app.segmentation.conftest import register
from tests.app.tasks.posting import drawn
from tests.app.uploads.sending import post

__all__ = ["register"]

FILLING = 4 * 2**20
FEW = 400 * 2**10

pytestmark = [
    pytest.mark.parametrize("kind", ["s3"], indirect=True),
    pytest.mark.parametrize("database_url", ["embedded"], indirect=True),
]


@pytest.fixture
def asked(monkeypatch):
    """How many bytes each look into an object asked for; nothing else may be read."""
    lengths, real = [], obstore.get_range

    def get_range(client, name, *, start, length):
        lengths.append(length)
        return real(client, name, start=start, length=length)

    def get(*_):
        raise AssertionError("an object is read whole")

    monkeypatch.setattr(obstore, "get_range", get_range)
    monkeypatch.setattr(obstore, "get", get)
    return lengths


@pytest.fixture
def done(engine, blobs):
    """Return what makes an upload in parts of some bytes, put together by another host."""

    def make(data):
        blob = blobs.put(io.BytesIO(data))
        row = LargeUpload(
            name="pets.zip",
            bytes=blob.size,
            part_bytes=2**20,
            sha256=blob.key,
            state=LargeUploadState.DONE,
            blob=blob.key,
            expires_at=utc_now() + timedelta(hours=1),
        )
        with write_session(engine) as session:
            session.add(row)
            session.flush()
            return row.id

    return make


@pytest.fixture
def pets(tmp_path):
    """A data set of some megabytes."""
    path = drawn(tmp_path, "cat", "dog")
    with zipfile.ZipFile(path, "a") as zipped:
        zipped.writestr("JPEGImages/filling.bin", os.urandom(FILLING))
    return path.read_bytes()


def test_a_task_costs_the_bucket_some_kilobytes(client, done, asked, pets):
    upload = done(pets)
    answer = post(client, upload)
    assert answer.status_code == 202, answer.text
    assert asked, "it was looked at"
    assert sum(asked) < FEW < len(pets)
    assert answer.json()["spec"]["name"]


def test_what_is_no_data_set_is_refused_all_the_same(client, done, asked):
    refused = post(client, done(os.urandom(FILLING)))
    assert refused.status_code == 422
    assert refused.json()["type"].endswith("invalid-dataset")
    assert sum(asked) < FEW


def test_a_bucket_that_is_cut_off_meanwhile_is_no_fault_of_the_zip(
    client, done, asked, pets, monkeypatch
):
    upload = done(pets)
    real = obstore.get_range

    def cut_off(client, name, *, start, length):
        if len(asked) > 1:
            raise OSError("connection reset")
        return real(client, name, start=start, length=length)

    monkeypatch.setattr(obstore, "get_range", cut_off)
    refused = post(client, upload)
    assert refused.status_code == 503, refused.text
    assert refused.headers["Retry-After"]


def test_what_went_meanwhile_is_gone(client, done, asked, pets, blobs):
    upload = done(pets)
    (entry,) = blobs.entries()
    blobs.delete(entry.name)
    assert post(client, upload).json()["type"].endswith("upload-gone")
    assert asked == []


@pytest.fixture
def large(monkeypatch):
    """Whatever has a megabyte is too large to be fetched for a look."""
    monkeypatch.setattr(opening, "WHOLE_BYTES", 2**20)


@pytest.mark.usefixtures("large")
def test_a_look_costs_what_is_looked_at(client, done, asked, pets):
    upload = done(pets)
    told = client.get(f"/uploads/{upload}")
    assert told.status_code == 200, told.text
    assert told.json()["looked_at"] == told.json()["pictures"] > 0
    assert [one["name"] for one in told.json()["classes"]] == ["cat", "dog"]
    assert told.json()["errors"] == []
    assert 0 < sum(asked) < len(pets) / 2
    asked.clear()
    sheet = client.get(f"/uploads/{upload}/sheet?pictures=0,1")
    assert sheet.headers["content-type"] == "image/png"
    assert 0 < sum(asked) < FEW
    asked.clear()
    assert "cat" in client.get(f"/ui/uploads/{upload}").text
    assert 0 < sum(asked) < len(pets) / 2


@pytest.mark.usefixtures("large")
def test_a_look_that_is_cut_off_is_no_fault_of_the_zip(client, done, asked, pets, monkeypatch):
    upload, real, came = done(pets), obstore.get_range, []

    def cut_off(client, name, *, start, length):
        came.append(length)
        if len(came) > 3:
            raise OSError("connection reset")
        return real(client, name, start=start, length=length)

    monkeypatch.setattr(obstore, "get_range", cut_off)
    refused = client.get(f"/uploads/{upload}")
    assert refused.status_code == 503, refused.text
    assert refused.headers["Retry-After"]


@pytest.mark.usefixtures("large")
def test_what_went_before_a_look_is_gone(client, done, asked, pets, blobs):
    upload = done(pets)
    (entry,) = blobs.entries()
    blobs.delete(entry.name)
    for path in ("", "/sheet"):
        gone = client.get(f"/uploads/{upload}{path}")
        assert (gone.status_code, gone.json()["type"]) == (422, "urn:sats:problem:upload-gone")
    assert asked == []


def test_what_is_small_is_fetched_once(client, done, pets, monkeypatch):
    whole, real = [], obstore.get

    def get(client, name, **options):
        whole.append(name)
        return real(client, name, **options)

    def get_range(*_, **__):
        raise AssertionError("it is read in places")

    upload = done(pets)
    monkeypatch.setattr(obstore, "get", get)
    monkeypatch.setattr(obstore, "get_range", get_range)
    for _ in range(2):
        assert client.get(f"/uploads/{upload}").status_code == 200
    assert len(whole) <= 1


@pytest.fixture
def spread(tmp_path):
    """A data set whose files lie so far apart that each is read by itself."""
    whole = io.BytesIO()
    with zipfile.ZipFile(drawn(tmp_path, "cat")) as drawing, zipfile.ZipFile(whole, "w") as target:
        for name in drawing.namelist():
            target.writestr(name, drawing.read(name))
            target.writestr(f"{name}.filling", os.urandom(2**19))
    return whole.getvalue()


@pytest.mark.usefixtures("large")
def test_an_opinion_that_is_cut_off_is_no_fault_of_the_zip(
    client, done, spread, register, monkeypatch
):
    register()
    path, real, came, most = (
        f"/ui/uploads/{done(spread)}/seen?pictures=0",
        obstore.get_range,
        [],
        [],
    )

    def get_range(client, name, *, start, length):
        came.append(length)
        if most and len(came) >= most[0]:
            raise OSError("connection reset")
        return real(client, name, start=start, length=length)

    monkeypatch.setattr(obstore, "get_range", get_range)
    assert client.get(path).status_code == 200
    assert 0 < sum(came) < len(spread) / 2
    most.append(len(came))  # the last one of as many: within a picture
    came.clear()
    refused = client.get(path)
    assert refused.status_code == 503, refused.text
    assert len(came) == most[0]
