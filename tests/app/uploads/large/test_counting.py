"""What a key's uploads count for, and who is first where two ask at once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from app.db import (
    LargeUpload,
    LargeUploadState,
    Task,
    TaskState,
    database_now,
    read_session,
    utc_now,
    write_session,
)
from app.errors import NotFoundProblem
from app.keys.problems import UploadLimitProblem
from app.main import create_app
from app.storage import Blob
from app.uploads import claims, large
from tests.app.tasks.posting import drawn
from tests.app.uploads.sending import (
    DATA,
    DIRECTORY,
    PART,
    announce,
    post,
    sent,
)
from tests.fixtures.clocks import set_ahead


def states(engine):
    with read_session(engine) as session:
        return list(session.scalars(select(LargeUpload.state)))


@DIRECTORY
def test_what_is_announced_counts_for_a_key(client, bounded, tmp_path):
    begun = announce(client, DATA, **bounded).json()
    assert announce(client, DATA, **bounded).status_code == 202, "the same"
    refused = announce(client, DATA[1:], **bounded)
    assert refused.status_code == 429
    assert refused.json()["type"].endswith("limit-stored-bytes")
    assert announce(client, DATA * 2, **bounded).status_code == 413
    form = {"dataset": ("d.zip", DATA[: 2 * PART])}
    assert client.post("/uploads", files=form, headers=bounded).status_code == 429
    assert client.delete(f"/uploads/{begun['upload']}", headers=bounded).status_code == 204
    assert client.post("/uploads", files=form, headers=bounded).status_code == 201
    assert announce(client, DATA, **bounded).status_code == 429, "open uploads count too"


@DIRECTORY
def test_what_a_task_keeps_counts_once(client, bounded, tmp_path, monkeypatch):
    pets = drawn(tmp_path, "cat").read_bytes()
    assert post(client, sent(client, pets, **bounded)["upload"], **bounded).status_code == 202
    assert announce(client, bytes(4 * PART - len(pets)), **bounded).status_code == 202


@DIRECTORY
def test_what_a_task_kept_counts_again_once_it_has_ended(client, engine, bounded, tmp_path):
    pets = drawn(tmp_path, "cat").read_bytes()
    upload = sent(client, pets, **bounded)["upload"]
    assert post(client, upload, **bounded).status_code == 202
    with write_session(engine) as session:
        session.execute(update(Task).values(state=TaskState.CANCELLED))
    rest = bytes(4 * PART - len(pets))
    assert announce(client, rest + b"1", **bounded).status_code == 429, "the upload keeps it"
    assert announce(client, rest, **bounded).status_code == 202


@DIRECTORY
def test_who_announces_has_its_own_uploads_forgotten_that_have_ended(client, engine, keys):
    mine, other = keys
    for headers in keys:
        announce(client, DATA, **headers)
    with write_session(engine) as session:
        session.execute(update(LargeUpload).values(expires_at=utc_now()))
        theirs = session.scalars(select(LargeUpload.id).where(LargeUpload.key_id == 2)).one()
    fresh = announce(client, DATA, **mine).json()["upload"]
    with read_session(engine) as session:
        assert set(session.scalars(select(LargeUpload.id))) == {fresh, theirs}
    newer = announce(client, DATA, **other).json()["upload"]
    with read_session(engine) as session:
        assert set(session.scalars(select(LargeUpload.id))) == {fresh, newer}


@DIRECTORY
def test_a_key_has_so_many_open_uploads(client, keys, monkeypatch):
    monkeypatch.setattr(large, "MOST_OPEN", 2)
    mine, other = keys
    for number in range(2):
        assert announce(client, bytes(number + 1), **mine).status_code == 202
    refused = announce(client, bytes(3), **mine)
    assert refused.status_code == 429
    assert refused.json()["type"].endswith("limit-open-uploads")
    assert announce(client, bytes(1), **mine).status_code == 202, "it is open already"
    assert announce(client, bytes(1), **other).status_code == 202


@pytest.mark.races
@DIRECTORY
@pytest.mark.parametrize("keyless", [False, True])
@pytest.mark.usefixtures("keys")
def test_two_who_announce_the_same_at_once_get_one_upload(engine, settings, keyless):
    key_id = None if keyless else 1
    same = Blob("a" * 64, 1)

    def begin(announced):
        with write_session(engine) as session:
            return large.begin(session, settings, key_id, announced, "a.zip").id

    with ThreadPoolExecutor(1) as pool:
        with write_session(engine) as session:
            first = large.begin(session, settings, key_id, same, "a.zip").id
            other = pool.submit(begin, same)
            with pytest.raises(TimeoutError):
                other.result(0.5)
        assert other.result() == first
    assert states(engine) == [LargeUploadState.OPEN]


@pytest.mark.races
@DIRECTORY
@pytest.mark.usefixtures("keys")
def test_of_uploads_announced_at_once_no_more_are_open_than_may(engine, settings, monkeypatch):
    monkeypatch.setattr(large, "MOST_OPEN", 1)

    def begin():
        with write_session(engine) as session:
            large.begin(session, settings, 1, Blob("", 1), "b.zip")

    with ThreadPoolExecutor(1) as pool:
        with write_session(engine) as session:
            large.begin(session, settings, 1, Blob("", 1), "a.zip")
            other = pool.submit(begin)
            with pytest.raises(TimeoutError):
                other.result(0.5)
        with pytest.raises(UploadLimitProblem):
            other.result()


@pytest.mark.races
@DIRECTORY
def test_of_two_who_give_an_upload_up_at_once_one_finds_none(client, engine):
    upload = announce(client, DATA).json()["upload"]

    def forget():
        with write_session(engine) as session:
            large.forget(session, None, upload)

    with ThreadPoolExecutor(1) as pool:
        with write_session(engine) as session:
            large.forget(session, None, upload)
            other = pool.submit(forget)
            with pytest.raises(TimeoutError):
                other.result(0.5)
        with pytest.raises(NotFoundProblem):
            other.result()


@pytest.mark.races
@DIRECTORY
def test_who_gives_up_what_is_being_finished_gets_its_blob(client, engine):
    upload = announce(client, DATA).json()["upload"]
    with write_session(engine) as session:
        held = claims.claim(session, upload)

    def forget():
        with write_session(engine) as session:
            return large.forget(session, None, upload)

    with ThreadPoolExecutor(1) as pool:
        with write_session(engine) as session:
            assert claims.finish(session, held, "a" * 64)
            other = pool.submit(forget)
            with pytest.raises(TimeoutError):
                other.result(0.5)
        assert other.result() == "a" * 64, "else nobody would drop it"


@DIRECTORY
@pytest.mark.parametrize("first", ["form", "parts"])
def test_who_gives_an_upload_up_ends_nobody_elses_of_the_same_bytes(client, keys, tmp_path, first):
    mine, other = keys
    pets = drawn(tmp_path, "cat").read_bytes()
    form = {"dataset": ("d.zip", pets)}
    if first == "form":
        token = client.post("/uploads", files=form, headers=other).json()["upload"]
    done = sent(client, pets, **mine)
    if first == "parts":
        token = client.post("/uploads", files=form, headers=other).json()["upload"]
    assert client.delete(f"/uploads/{done['upload']}", headers=mine).status_code == 204
    assert client.get(f"/uploads/{token}", headers=other).status_code == 200
    assert post(client, token, **other).status_code == 202


@DIRECTORY
def test_what_came_as_a_form_counts_in_every_process(client, settings, bounded):
    form = {"dataset": ("d.zip", DATA[: 2 * PART])}
    assert client.post("/uploads", files=form, headers=bounded).status_code == 201
    assert client.post("/uploads", files=form, headers=bounded).status_code == 201, "the same"
    with TestClient(create_app(settings), "http://127.0.0.1", client=("127.0.0.1", 1)) as other:
        assert announce(other, DATA, **bounded).status_code == 429
        assert announce(other, DATA[: 2 * PART], **bounded).json()["state"] == "done"


@DIRECTORY
def test_a_claim_from_before_the_clock_was_set_back_holds_up_nobody(client, engine):
    upload = announce(client, DATA).json()["upload"]
    with write_session(engine) as session:
        claims.claim(session, upload)
        later = database_now() + claims.LEASE_SECONDS + 60
        session.execute(update(LargeUpload).values(lease_until=later))
        assert claims.claim(session, upload) is None
        session.execute(update(LargeUpload).values(lease_until=later + 365 * 86400))
        assert claims.claim(session, upload) is not None


@DIRECTORY
def test_a_replica_whose_clock_is_ahead_forgets_nobody_s_uploads(client, keys, monkeypatch):
    begun = announce(client, DATA, **keys[0]).json()["upload"]
    with monkeypatch.context() as patch:
        set_ahead(patch, timedelta(days=400))
        assert announce(client, DATA[1:], **keys[0]).status_code == 202
    assert client.get(f"/uploads/{begun}/parts", headers=keys[0]).status_code == 200


@pytest.mark.parametrize(("database_url", "kind"), [("embedded", "s3")], indirect=True)
def test_a_replica_whose_clock_is_ahead_gives_addresses_for_as_long(client, keys, monkeypatch):
    set_ahead(monkeypatch, timedelta(days=400))
    told = announce(client, DATA, **keys[0]).json()
    assert datetime.fromisoformat(told["urls_expire_at"]) > utc_now() + timedelta(minutes=30)


@DIRECTORY
def test_what_is_done_is_open_no_more(client, keys, monkeypatch):
    monkeypatch.setattr(large, "MOST_OPEN", 1)
    assert sent(client, bytes(1), **keys[0])["state"] == "done"
    assert announce(client, bytes(2), **keys[0]).status_code == 202
    assert announce(client, bytes(3), **keys[0]).status_code == 429


@DIRECTORY
def test_what_came_as_a_form_and_was_announced_since_outlives_a_task(client, keys, tmp_path):
    pets = drawn(tmp_path, "cat").read_bytes()
    form = {"dataset": ("d.zip", pets)}
    token = client.post("/uploads", files=form, headers=keys[0]).json()["upload"]
    upload = announce(client, pets, **keys[0]).json()["upload"]
    task = post(client, token, **keys[0]).json()
    cancelled = client.post(f"{task['links']['self']}:cancel", headers=keys[0])
    assert cancelled.json()["state"] == "cancelled"
    assert post(client, upload, **keys[0]).status_code == 202, "its id was given out"
