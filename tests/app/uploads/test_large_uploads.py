"""Uploads in parts, wherever the parts go and whichever database knows of them."""

import hashlib
import io
import json
import random
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from app.db import (
    LargeUpload,
    LargeUploadState,
    Task,
    TaskState,
    read_session,
    utc_now,
    write_session,
)
from app.errors import NotFoundProblem
from app.keys.problems import UploadLimitProblem
from app.keys.secret import read_secret
from app.keys.service import KeyLimits, Scope, create_key
from app.main import create_app
from app.settings import Settings
from app.storage import Blob, open_store
from app.storage.garbage import Collector
from app.uploads import large
from app.uploads.checks import Check
from tests.app.storage.places import S3Prefix
from tests.app.tasks.posting import SPEC, drawn
from tests.app.uploads.sending import (
    announce,
    complete,
    look,
    put,
    put_rightly,
    sent,
    settled,
)

PART = 4096
DATA = random.Random(0).randbytes(2 * PART + 100)
NOW = -60.0
"""A grace period that is over for what was written just now, whatever clock the store goes by."""
KEYS = pytest.mark.parametrize(
    ("database_url", "kind"),
    [("embedded", "directory"), ("served", "directory"), ("embedded", "s3")],
    indirect=True,
)


@pytest.fixture
def kind(request):
    return request.param


@pytest.fixture
def settings(settings, kind, request, tmp_path):
    own = settings.model_dump(exclude_unset=True) | {"upload_part_bytes": PART}
    if kind == "s3":
        place = S3Prefix(request.getfixturevalue("s3"), tmp_path)
        own = place.settings(store_seconds=2.0).model_dump(exclude_unset=True) | own
    return Settings(**own)


@pytest.fixture
def blobs(settings):
    return open_store(settings)


@pytest.fixture
def keys(engine, settings):
    """Headers of two keys that may post."""
    secret = read_secret(settings)
    with write_session(engine) as session:
        made = [create_key(session, secret, name, [Scope.SUBMIT]) for name in "ab"]
    return [{"Authorization": f"Bearer {key}"} for key in made]


@pytest.fixture
def gate(client, monkeypatch):
    """A gate that everybody waits at who reads parts; says when somebody does."""
    parts = client.app.state.services.blobs.parts
    opened, reached, read = threading.Event(), threading.Event(), parts.read

    def waits(upload, number):
        reached.set()
        assert opened.wait(60)
        return read(upload, number)

    monkeypatch.setattr(parts, "read", waits)
    opened.reached = reached
    yield opened
    opened.set()


def post(client, upload, **headers):
    files = {"upload": (None, upload), "spec": (None, json.dumps(SPEC))}
    return client.post("/tasks", files=files, headers=headers)


def collect(engine, blobs, settings, grace=NOW):
    collector = Collector(engine, Collector.of(engine, blobs, settings).stores, grace)
    return collector.remove(collector.find())


def names(blobs):
    return sorted(entry.name for entry in (*blobs.entries(), *blobs.unfinished()))


def states(engine):
    with read_session(engine) as session:
        return list(session.scalars(select(LargeUpload.state)))


@KEYS
class TestLargeUploads:
    def test_parts_in_any_order_become_a_task(self, client, engine, blobs, kind, tmp_path):
        data = drawn(tmp_path, "cat", "dog").read_bytes()
        answer = announce(client, data)
        assert answer.status_code == 202
        told = answer.json()
        assert answer.headers["location"] == told["links"]["parts"]
        assert told["parts"] == len(told["missing"]) == -(-len(data) // PART) > 1
        assert (told["urls_expire_at"] is None) == (kind == "directory")
        for part in reversed(told["missing"]):
            assert part["url"].startswith("/") == (kind == "directory")
            put_rightly(client, part, data)
        whole = look(client, told["upload"])
        assert (whole["missing"], whole["state"]) == ([], "open")
        assert whole["stored"] == list(range(1, told["parts"] + 1))
        done = complete(client, told["upload"])
        assert (done["state"], done["error"]) == ("done", None)
        assert done["sha256"] == hashlib.sha256(data).hexdigest()
        assert client.get(done["links"]["self"]).json()["pictures"] == 2
        posted = post(client, told["upload"])
        assert posted.status_code == 202, posted.text
        with read_session(engine) as session:
            task = session.scalars(select(Task)).one()
        assert (task.dataset, task.dataset_bytes) == (done["sha256"], len(data))
        assert names(blobs) == [done["sha256"]], "no parts are left"
        again = post(client, told["upload"])
        assert again.status_code == 202, "it stays good for another one"

    def test_a_process_that_is_new_goes_on_where_the_last_one_was(self, client, settings):
        told = announce(client, DATA).json()
        put_rightly(client, told["missing"][1], DATA)
        with TestClient(create_app(settings), "http://127.0.0.1", client=("127.0.0.1", 1)) as other:
            same = announce(other, DATA).json()
            assert (same["upload"], same["stored"]) == (told["upload"], [2])
            assert [part["number"] for part in same["missing"]] == [1, 3]
            for part in same["missing"]:
                put_rightly(other, part, DATA)
            assert complete(other, told["upload"])["state"] == "done"
        assert announce(client, DATA).json()["state"] == "done", "and it need not be sent again"
        unknown = [announce(client, DATA, None).json()["upload"] for _ in range(2)]
        assert len({told["upload"], *unknown}) == 3, "nobody knows that they are the same"

    def test_the_bytes_may_be_unknown(self, client):
        told = announce(client, DATA, None).json()
        assert told["sha256"] is None
        for part in told["missing"]:
            put_rightly(client, part, DATA)
        done = complete(client, told["upload"])
        assert done["sha256"] == hashlib.sha256(DATA).hexdigest()

    def test_a_part_of_another_size_is_none(self, client, kind):
        told = announce(client, DATA).json()
        for part in told["missing"]:
            put_rightly(client, part, DATA)
        first, _, last = told["missing"]
        for body in (DATA[: PART - 1], DATA[: PART + 1], b""):
            answer = put(client, first, body)
            if kind == "directory":
                assert answer.status_code == (413 if len(body) > PART else 422), answer.text
                assert answer.json()["errors"][0]["field"] == "body"
                assert look(client, told["upload"])["stored"] == [1, 2, 3], "the old one stays"
            else:
                assert answer.status_code == 200
                assert look(client, told["upload"])["stored"] == [2, 3]
        own = f"/uploads/{told['upload']}/parts/{last['number']}"
        assert client.put(own, content=DATA[:PART]).status_code == 413, "the last one is shorter"

    def test_what_is_missing_is_named(self, client):
        told = announce(client, DATA).json()
        put_rightly(client, told["missing"][0], DATA)
        refused = client.post(told["links"]["complete"])
        assert refused.status_code == 409
        assert refused.json()["type"].endswith("upload-unfinished")
        assert [one["field"] for one in refused.json()["errors"]] == ["parts.2", "parts.3"]
        for answer in (post(client, told["upload"]), client.get(told["links"]["self"])):
            assert answer.json()["type"].endswith("upload-unfinished")

    def test_a_part_that_comes_twice_replaces_the_one_before(self, client):
        told = announce(client, DATA).json()
        for part in told["missing"]:
            assert put(client, part, bytes(part["bytes"])).status_code in (200, 204)
        for part in told["missing"]:
            put_rightly(client, part, DATA)
        assert complete(client, told["upload"])["state"] == "done"

    def test_other_bytes_than_announced_are_refused_for_good(self, client, blobs, engine):
        told = announce(client, DATA).json()
        for part in told["missing"]:
            assert put(client, part, bytes(part["bytes"])).status_code in (200, 204)
        failed = complete(client, told["upload"])
        assert failed["state"] == "failed"
        assert failed["error"]["type"].endswith("upload-damaged")
        assert names(blobs) == []
        assert post(client, told["upload"]).status_code == 409
        refused = client.put(f"/uploads/{told['upload']}/parts/1", content=DATA[:PART])
        assert refused.json()["type"].endswith("upload-closed")
        assert client.post(told["links"]["complete"]).json()["state"] == "failed"
        assert announce(client, DATA).json()["upload"] != told["upload"], "it begins anew"

    def test_who_completes_twice_at_once_is_told_the_same(self, client, gate, engine):
        told = announce(client, DATA).json()
        for part in told["missing"]:
            put_rightly(client, part, DATA)
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(client.post, [told["links"]["complete"]] * 4))
        assert {answer.status_code for answer in answers} <= {202, 503}, "503: no turn"
        assert {one.json()["state"] for one in answers if one.status_code == 202} == {"checking"}
        with read_session(engine) as session:
            assert session.scalar(select(LargeUpload.fence)) == 1
        gate.set()
        assert settled(client, told["upload"])["state"] == "done"

    def test_no_part_comes_while_they_are_put_together(self, client, gate):
        told = announce(client, DATA).json()
        for part in told["missing"]:
            put_rightly(client, part, DATA)
        assert client.post(told["links"]["complete"]).json()["state"] == "checking"
        assert gate.reached.wait(60)
        refused = client.put(f"/uploads/{told['upload']}/parts/1", content=bytes(PART))
        assert (refused.status_code, refused.json()["title"]) == (
            409,
            "The upload takes no more parts",
        )
        gate.set()
        assert settled(client, told["upload"])["state"] == "done"

    def test_a_part_that_changes_meanwhile_is_found(self, client, gate, blobs):
        told = announce(client, DATA).json()
        for part in told["missing"]:
            put_rightly(client, part, DATA)
        client.post(told["links"]["complete"])
        assert gate.reached.wait(60)
        blobs.parts.put(told["upload"], 2, io.BytesIO(DATA[: PART + 1]))
        gate.set()
        open_again = settled(client, told["upload"])
        assert (open_again["state"], open_again["stored"]) == ("open", [1, 3])
        assert open_again["error"]["errors"][0]["field"] == "parts.2"
        put_rightly(client, told["missing"][1], DATA)
        done = complete(client, told["upload"])
        assert (done["state"], done["error"]) == ("done", None)

    def test_what_is_given_up_is_gone(self, client, blobs, gate):
        told = announce(client, DATA).json()
        for part in told["missing"]:
            put_rightly(client, part, DATA)
        client.post(told["links"]["complete"])
        assert gate.reached.wait(60)
        assert client.delete(f"/uploads/{told['upload']}").status_code == 204
        gate.set()
        client.app.state.services.uploads.checks.close()
        assert names(blobs) == []
        assert client.get(told["links"]["parts"]).status_code == 404
        assert client.delete(f"/uploads/{told['upload']}").status_code == 404

    def test_what_is_done_is_given_up_unless_a_task_has_it(self, client, blobs, tmp_path):
        loose = sent(client, DATA)
        assert client.delete(loose["links"]["self"]).status_code == 204
        assert names(blobs) == []
        taken = sent(client, drawn(tmp_path, "cat").read_bytes())
        assert post(client, taken["upload"]).status_code == 202
        assert client.delete(taken["links"]["self"]).status_code == 204
        assert names(blobs) == [taken["sha256"]]

    def test_another_key_finds_no_upload(self, client, keys, blobs):
        mine, other = keys
        told = announce(client, DATA, **mine).json()
        for part in told["missing"]:
            put_rightly(client, part, DATA, **mine)
        path = f"/uploads/{told['upload']}"
        assert client.get(f"{path}/parts", headers=other).status_code == 404
        put_by_other = client.put(f"{path}/parts/1", content=bytes(PART), headers=other)
        assert put_by_other.status_code == 404
        assert client.post(f"{path}:complete", headers=other).status_code == 404
        assert client.delete(path, headers=other).status_code == 404
        assert complete(client, told["upload"], **mine)["state"] == "done"
        assert post(client, told["upload"], **other).json()["type"].endswith("upload-gone")
        assert client.get(path, headers=other).json()["type"].endswith("upload-gone")
        theirs = announce(client, DATA, **other).json()
        assert (theirs["upload"] != told["upload"], theirs["stored"]) == (True, [])

    def test_what_is_being_sent_is_no_garbage_and_what_has_ended_is(
        self, client, engine, blobs, settings, tmp_path
    ):
        assert post(client, sent(client, drawn(tmp_path, "cat").read_bytes())["upload"]).is_success
        (kept,) = names(blobs)
        done = sent(client, DATA)
        begun = announce(client, DATA[:PART]).json()
        put_rightly(client, begun["missing"][0], DATA)
        assert collect(engine, blobs, settings) == []
        blobs.parts.put(done["upload"], 1, io.BytesIO(DATA[:PART]))  # by a URL that is good still
        late = f"parts/{done['upload']}"
        assert collect(engine, blobs, settings, grace=3600) == []
        assert [one.entry.name for one in collect(engine, blobs, settings)] == [late]
        with write_session(engine) as session:
            session.execute(update(LargeUpload).values(expires_at=utc_now()))
        assert client.get(done["links"]["parts"]).status_code == 404
        assert post(client, done["upload"]).json()["type"].endswith("upload-gone")
        gone = {one.entry.name for one in collect(engine, blobs, settings)}
        assert gone == {done["sha256"], f"parts/{begun['upload']}"}
        assert names(blobs) == [kept]
        announce(client, DATA)
        assert states(engine) == [LargeUploadState.OPEN], "rows go with the next one that comes"

    def test_a_process_that_is_lost_is_followed_by_another(self, client, engine, blobs, settings):
        told = announce(client, DATA).json()
        for part in told["missing"]:
            put_rightly(client, part, DATA)
        with write_session(engine) as session:
            lost = large.claim(session, told["upload"])
            assert large.claim(session, told["upload"]) is None
        assert look(client, told["upload"])["state"] == "checking"
        assert client.post(told["links"]["complete"]).json()["state"] == "checking"
        with write_session(engine) as session:
            session.execute(update(LargeUpload).values(lease_until=0.0))
        assert look(client, told["upload"])["state"] == "open"
        assert complete(client, told["upload"])["state"] == "done"
        Check(engine, blobs, settings, lost).run(threading.Event())  # it comes back to life
        assert look(client, told["upload"])["state"] == "done"

    def test_a_process_that_ends_gives_it_back(self, client, engine, gate):
        told = announce(client, DATA).json()
        for part in told["missing"]:
            put_rightly(client, part, DATA)
        client.post(told["links"]["complete"])
        assert gate.reached.wait(60)
        checks = client.app.state.services.uploads.checks
        with ThreadPoolExecutor(1) as pool:
            closing = pool.submit(checks.close)
            deadline = time.monotonic() + 60
            while not checks._stopping.is_set():
                assert time.monotonic() < deadline
            gate.set()
            closing.result()
        assert states(engine) == [LargeUploadState.OPEN]


@pytest.fixture
def bounded(engine, settings):
    """Headers of a key whose tasks may keep four parts' bytes."""
    with write_session(engine) as session:
        key = create_key(
            session,
            read_secret(settings),
            "a",
            [Scope.SUBMIT],
            limits=KeyLimits(stored_bytes=4 * PART),
        )
    return {"Authorization": f"Bearer {key}"}


DIRECTORY = pytest.mark.parametrize("kind", ["directory"], indirect=True)


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
            return large.begin(session, settings, key_id, announced, "a.zip", 0).id

    with ThreadPoolExecutor(1) as pool:
        with write_session(engine) as session:
            first = large.begin(session, settings, key_id, same, "a.zip", 0).id
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
            large.begin(session, settings, 1, Blob("", 1), "b.zip", 0)

    with ThreadPoolExecutor(1) as pool:
        with write_session(engine) as session:
            large.begin(session, settings, 1, Blob("", 1), "a.zip", 0)
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
        held = large.claim(session, upload)

    def forget():
        with write_session(engine) as session:
            return large.forget(session, None, upload)

    with ThreadPoolExecutor(1) as pool:
        with write_session(engine) as session:
            assert large.finish(session, held, "a" * 64)
            other = pool.submit(forget)
            with pytest.raises(TimeoutError):
                other.result(0.5)
        assert other.result() == "a" * 64, "else nobody would drop it"


@DIRECTORY
@pytest.mark.parametrize(
    ("wish", "status", "field"),
    [
        ({}, 422, "bytes"),
        ({"bytes": 0}, 422, "bytes"),
        ({"bytes": -1}, 422, "bytes"),
        ({"bytes": True}, 422, "bytes"),
        ({"bytes": "12"}, 422, "bytes"),
        ({"bytes": 10**30}, 413, "bytes"),
        ({"bytes": 1, "sha256": "A" * 64}, 422, "sha256"),
        ({"bytes": 1, "sha256": "a"}, 422, "sha256"),
        ({"bytes": 1, "name": ""}, 422, "name"),
        ({"bytes": 1, "name": "a\n"}, 422, "name"),
        ({"bytes": 1, "size": 1}, 422, "size"),
        ([], 422, "body"),
    ],
)
def test_what_cannot_be_announced_names_the_field(client, wish, status, field):
    refused = client.post("/uploads", json=wish)
    assert refused.status_code == status, refused.text
    assert refused.json()["errors"][0]["field"] == field


@DIRECTORY
def test_json_that_is_none_is_refused(client):
    headers = {"Content-Type": "application/json; charset=utf-8"}
    refused = client.post("/uploads", content=b'{"bytes": ', headers=headers)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "unreadable")
    long = client.post("/uploads", content=b" " * (2**20 + 1), headers=headers)
    assert long.status_code == 413


@DIRECTORY
@pytest.mark.parametrize("number", [0, 4, 2001, "x", "1_0", " 1"])
def test_a_part_that_it_has_not_is_refused(client, number):
    told = announce(client, DATA).json()
    refused = client.put(f"/uploads/{told['upload']}/parts/{number}", content=b"")
    assert refused.status_code in (404, 422)


@DIRECTORY
@pytest.mark.parametrize("upload", ["x", "0" * 200, "00000000-0000-4000-8000-000000000000", "%00"])
def test_an_upload_that_there_is_not_is_not_found(client, upload):
    assert client.get(f"/uploads/{upload}/parts").status_code == 404
    assert client.put(f"/uploads/{upload}/parts/1", content=b"").status_code == 404
    assert client.post(f"/uploads/{upload}:complete").status_code == 404
    assert client.delete(f"/uploads/{upload}").status_code == 404


@DIRECTORY
def test_parts_are_larger_where_there_would_be_too_many(client, monkeypatch):
    monkeypatch.setattr(large, "MOST_PARTS", 2)
    told = announce(client, DATA).json()
    assert [part["bytes"] for part in told["missing"]] == [len(DATA) // 2] * 2
    assert told["part_bytes"] > PART


@DIRECTORY
def test_only_some_of_many_parts_are_told_at_once(client, monkeypatch):
    monkeypatch.setattr("app.uploads.parts.MOST_TOLD", 2)
    told = announce(client, DATA).json()
    assert [part["number"] for part in told["missing"]] == [1, 2]
    assert told["parts"] == 3
    refused = client.post(told["links"]["complete"])
    assert refused.json()["detail"] == "3 of 3 parts are missing"


@DIRECTORY
def test_a_disk_that_is_full_takes_no_part(client, service, monkeypatch):
    told = announce(client, DATA).json()
    for part in told["missing"]:
        put_rightly(client, part, DATA)
    services = service.state.services
    full = services.settings.model_copy(update={"keep_free_bytes": 2**60})
    monkeypatch.setattr(
        service.state, "services", type(services)(**{**vars(services), "settings": full})
    )
    assert announce(client, DATA[1:]).status_code == 507
    own = told["missing"][0]["url"]
    assert client.put(own, content=DATA[:PART]).status_code == 507
    told = complete(client, told["upload"])
    assert (told["state"], told["error"]["status"]) == ("open", 507)


@pytest.mark.parametrize(
    ("database_url", "kind", "copies"),
    [("embedded", "directory", 2), ("embedded", "s3", 1)],
    indirect=["database_url", "kind"],
)
def test_there_is_to_be_room_for_the_parts_and_for_what_they_become(
    client, settings, monkeypatch, copies
):
    usage = shutil.disk_usage(settings.data_dir)

    def leave(room):
        left = usage._replace(free=settings.keep_free_bytes + room)
        monkeypatch.setattr("app.disk.shutil.disk_usage", lambda _: left)

    leave(copies * len(DATA) - 1)
    assert announce(client, DATA).status_code == 507
    leave(copies * len(DATA))
    assert announce(client, DATA).status_code == 202
    leave(0)
    assert announce(client, DATA).status_code == 202, "what was begun is gone on with"


@DIRECTORY
def test_who_is_cut_off_sends_the_part_again(served):
    told = announce(served, DATA).json()
    part = told["missing"][0]
    request = served.build_request("PUT", part["url"], headers={"Content-Length": str(PART)})
    with socket.create_connection((served.base_url.host, served.base_url.port)) as line:
        line.sendall(
            f"PUT {part['url']} HTTP/1.1\r\nHost: {request.headers['host']}\r\n"
            f"Content-Length: {PART}\r\n\r\n".encode()
            + bytes(PART // 2)
        )
    assert look(served, told["upload"])["stored"] == []
    put_rightly(served, part, DATA)
    assert look(served, told["upload"])["stored"] == [1]


@DIRECTORY
def test_uploads_outlive_their_day_only_where_somebody_goes_on(client, engine):
    told = announce(client, DATA).json()
    with write_session(engine) as session:
        soon = utc_now() + timedelta(minutes=1)
        session.execute(update(LargeUpload).values(expires_at=soon))
    again = announce(client, DATA).json()
    assert again["upload"] == told["upload"]
    assert again["expires_at"] >= told["expires_at"]
