"""Uploads in parts, wherever the parts go and whichever database knows of them."""

import hashlib
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from app.db import (
    LargeUpload,
    LargeUploadState,
    Task,
    read_session,
    utc_now,
    write_session,
)
from app.main import create_app
from app.storage.garbage import Collector
from app.uploads import claims
from app.uploads.checks import Check
from tests.app.tasks.posting import drawn
from tests.app.uploads.sending import (
    DATA,
    PART,
    announce,
    complete,
    look,
    post,
    put,
    put_rightly,
    sent,
    settled,
)

NOW = -60.0
"""A grace period that is over for what was written just now, whatever clock the store goes by."""
KEYS = pytest.mark.parametrize(
    ("database_url", "kind"),
    [("embedded", "directory"), ("served", "directory"), ("embedded", "s3")],
    indirect=True,
)


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
        client.app.state.services.uploads.checks.close()  # parts go once it is told
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
            lost = claims.claim(session, told["upload"])
            assert claims.claim(session, told["upload"]) is None
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
