"""Requests that come twice under one Idempotency-Key are done once."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import delete, event, func, select, update

from app.db import (
    AliasMove,
    ApiKey,
    IdempotentRequest,
    LargeUpload,
    Place,
    Task,
    TaskState,
    Webhook,
    read_session,
    utc_now,
    write_session,
)
from app.idempotency.service import KEPT_DAYS, forget_requests
from app.storage.references import delete_unreferenced
from tests.app.tasks.posting import drawn, post
from tests.fixtures.clocks import set_ahead
from tests.fixtures.processes import serving
from tests.fixtures.versions import add_version

HOOK = {"url": "https://example.org/hook", "events": ["task.ended"]}
ONCE = {"Idempotency-Key": "made once"}


def count(engine, table):
    with read_session(engine) as session:
        return session.scalar(select(func.count()).select_from(table))


def same(first, second, status):
    assert (first.status_code, second.status_code) == (status, status), second.text
    assert first.json() == second.json()
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"


def test_a_webhook_is_made_once_and_its_secret_told_again(client, engine):
    first, second = (client.post("/admin/webhooks", json=HOOK, headers=ONCE) for _ in range(2))
    same(first, second, 201)
    assert second.headers["cache-control"] == "no-store"
    other = client.post("/admin/webhooks", json=HOOK, headers={"Idempotency-Key": "another"})
    assert other.json()["id"] != first.json()["id"]
    assert client.post("/admin/webhooks", json=HOOK).json()["id"] != first.json()["id"]
    assert count(engine, Webhook) == 3


def test_another_request_under_the_same_key_is_refused(client, engine):
    client.post("/admin/webhooks", json=HOOK, headers=ONCE)
    for posted in (HOOK | {"model": "street"}, HOOK | {"model": None}):
        answer = client.post("/admin/webhooks", json=posted, headers=ONCE)
        assert answer.status_code == 422, "what was posted counts, defaults do not"
        assert answer.json()["type"] == "urn:sats:problem:idempotency-key-reused"
        assert answer.json()["errors"][0]["field"] == "Idempotency-Key"
    key = {"name": "app", "scopes": ["segment"]}
    assert client.post("/admin/keys", json=key, headers=ONCE).status_code == 422
    assert count(engine, Webhook) == 1


def test_what_was_deleted_is_not_made_again(client, engine):
    made = client.post("/admin/webhooks", json=HOOK, headers=ONCE).json()["id"]
    client.delete(f"/admin/webhooks/{made}")
    answer = client.post("/admin/webhooks", json=HOOK, headers=ONCE)
    assert answer.status_code == 422
    assert "deleted" in answer.json()["detail"]


@pytest.fixture
def admins(client):
    """Headers of two admins; from now on a key is needed."""
    made = {}
    for name in ("root", "eva"):
        posted = {"name": name, "scopes": ["admin"]}
        answer = client.post("/admin/keys", json=posted, headers=made.get("root", {}))
        made[name] = {"Authorization": f"Bearer {answer.json()['key']}"}
    return made


def test_a_key_is_made_once_and_its_text_told_again(client, engine, admins):
    headers, wish = admins["root"] | ONCE, {"name": "app", "scopes": ["segment"]}
    first, second = (client.post("/admin/keys", json=wish, headers=headers) for _ in range(2))
    same(first, second, 201)
    works = {"Authorization": f"Bearer {first.json()['key']}"}
    assert client.get("/classes", headers=works).status_code != 401
    again = client.post("/admin/keys", json=wish, headers=admins["eva"] | ONCE)
    assert again.json()["type"] == "urn:sats:problem:key-name-taken", "a key is its caller's"
    assert count(engine, ApiKey) == 3
    with read_session(engine) as session:
        record = session.scalars(select(IdempotentRequest)).one()
    assert ONCE["Idempotency-Key"] not in vars(record).values()


def test_callers_do_not_meet(client, engine, admins):
    made = [
        client.post("/admin/webhooks", json=HOOK, headers=headers | ONCE).json()["id"]
        for headers in admins.values()
    ]
    assert len(set(made)) == 2


def test_what_was_refused_can_be_asked_again(client, engine):
    wish = {"name": "app", "scopes": ["admin"]}
    path = "/admin/models/default/versions/1:promote"
    assert client.post(path, headers=ONCE).status_code == 404
    assert count(engine, IdempotentRequest) == 0
    assert client.post("/admin/keys", json=wish, headers=ONCE).status_code == 201


def test_live_is_moved_once(client, engine, blobs):
    with write_session(engine) as session:
        for name in ("cat", "dog", "cow"):
            add_version(session, blobs, [name], live=name != "cow")
    before = count(engine, AliasMove)
    path = "/admin/models/default/versions"
    first = client.post(f"{path}/3:promote", headers=ONCE)
    back = client.post(f"{path}/3:rollback", headers={"Idempotency-Key": "back"})
    same(first, client.post(f"{path}/3:promote", headers=ONCE), 200)
    same(back, client.post(f"{path}/3:rollback", headers={"Idempotency-Key": "back"}), 200)
    assert count(engine, AliasMove) == before + 2
    assert client.get("/admin/models/default/aliases/live").json()["version"] == 2


def test_a_task_is_tried_again_once(client, engine, tmp_path):
    task = post(client, drawn(tmp_path, "cat")).json()["id"]

    def fails():
        with write_session(engine) as session:
            session.execute(update(Task).where(Task.id == task).values(state=TaskState.FAILED))

    fails()
    first = client.post(f"/tasks/{task}:retry", headers=ONCE)
    assert (first.status_code, first.json()["state"]) == (202, "queued")
    fails()
    second = client.post(f"/tasks/{task}:retry", headers=ONCE)
    assert (second.status_code, second.json()["state"]) == (202, "failed"), "as it is now"
    assert second.headers["idempotency-replayed"] == "true"
    assert client.post(f"/tasks/{task}:retry").json()["state"] == "queued"


def test_a_task_is_cancelled_once(client, engine, tmp_path):
    task = post(client, drawn(tmp_path, "cat")).json()["id"]
    path = f"/tasks/{task}:cancel"
    same(*(client.post(path, headers=ONCE) for _ in range(2)), 202)
    assert client.post(path).status_code == 409, "without its key it is another request"
    other = post(client, drawn(tmp_path, "dog"), {"name": "another"}).json()["id"]
    refused = client.post(f"/tasks/{other}:cancel", headers=ONCE)
    assert refused.json()["type"] == "urn:sats:problem:idempotency-key-reused"
    assert client.get(f"/tasks/{other}").json()["state"] == "queued"


def test_what_is_told_again_is_stored_again_where_it_went_meanwhile(client, engine, blobs):
    """As by a task that had the same bytes and ended."""

    def send():
        return client.post("/uploads", files={"dataset": ("d.zip", b"PK")}, headers=ONCE).json()

    first = send()
    with write_session(engine) as session:
        session.execute(delete(LargeUpload))
        assert delete_unreferenced(session, blobs, Place.BLOB_STORE, first["sha256"])
    assert not blobs.is_there(first["sha256"])
    assert send() == first
    assert blobs.is_there(first["sha256"])


def test_a_zip_is_stored_once_and_its_token_told_again(client, engine):
    def send(content: bytes, **headers: str):
        return client.post("/uploads", files={"dataset": ("d.zip", content)}, headers=headers)

    def ends_at(ends: int) -> None:
        with write_session(engine) as session:
            session.execute(update(IdempotentRequest).values(made=str(ends)))

    first = send(b"PK", **ONCE)
    same(first, send(b"PK", **ONCE), 201)
    assert send(b"PK2", **ONCE).json()["type"] == "urn:sats:problem:idempotency-key-reused"
    with read_session(engine) as session:
        told = [vars(record) for record in session.scalars(select(IdempotentRequest))]
    signature = first.json()["upload"].rpartition(".")[2]
    assert signature not in str(told), "whoever reads the database has no token"
    ends = int(first.json()["upload"].split(".")[2])
    ends_at(ends - 100)
    earlier = send(b"PK", **ONCE).json()["upload"]
    assert int(earlier.split(".")[2]) == ends - 100, "as the first request said, not as now"
    looked = client.get(f"/uploads/{earlier}").json()
    assert looked["type"] == "urn:sats:problem:invalid-dataset", "it stands for the bytes"
    ends_at(1)
    ended = send(b"PK", **ONCE)
    assert ended.json()["type"] == "urn:sats:problem:idempotency-key-reused"
    assert "its end" in ended.json()["detail"]


NOT_READ = {
    "/segment": "it changes nothing",
    "/hf/{model}": "it changes nothing",
    "/v2/models/{model}/infer": "it changes nothing",
    "/v2/models/{model}/versions/{number}/infer": "it changes nothing",
    "/integrations/label-studio/predict": "it changes nothing",
    "/integrations/label-studio/{model}/predict": "it changes nothing",
    "/integrations/label-studio/setup": "it changes nothing",
    "/integrations/label-studio/{model}/setup": "it changes nothing",
    "/integrations/label-studio/webhook": "Label Studio sends none",
    "/integrations/label-studio/{model}/webhook": "Label Studio sends none",
    "/uploads/{upload}:complete": "twice is as once",
    "/tasks/{task_id}/events/token": "a token is signed and not stored",
}
"""The POSTs that read no Idempotency-Key, and why."""


def test_every_post_reads_the_key_or_needs_none(document):
    reads = {
        path: {one["name"].lower() for one in item["post"].get("parameters", ())}
        for path, item in document["paths"].items()
        if "post" in item
    }
    without = {path for path, names in reads.items() if "idempotency-key" not in names}
    assert without == set(NOT_READ)
    for path, item in document["paths"].items():
        if path in reads.keys() - without:
            answers = item["post"]["responses"]
            done = next(answers[status] for status in answers if status.startswith("2"))
            assert "Idempotency-Replayed" in done["headers"], path
            assert "422" in answers, path


@pytest.mark.parametrize("key", ["", "x" * 201, "caf\xe9".encode("latin-1")])
def test_what_can_be_no_key_is_named(client, key):
    answer = client.post("/admin/webhooks", json=HOOK, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "header.idempotency-key"


@pytest.mark.races
def test_the_same_request_twice_at_once_is_done_once(service, engine):
    """The first is held before its commit, while the second comes."""
    import httpx

    held, free, answers = threading.Event(), threading.Event(), []

    def hold(_connection) -> None:
        if not held.is_set():
            held.set()
            assert free.wait(30)

    def ask(url) -> None:
        answers.append(httpx.post(f"{url}/admin/webhooks", json=HOOK, headers=ONCE, timeout=60))

    with serving(service) as url:
        event.listen(service.state.services.engine, "commit", hold)
        threads = [threading.Thread(target=ask, args=(url,)) for _ in range(2)]
        threads[0].start()
        assert held.wait(30)
        threads[1].start()
        threads[1].join(0.5)
        assert not answers
        free.set()
        for thread in threads:
            thread.join(60)
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert count(engine, Webhook) == 1


def test_requests_are_forgotten(client, engine):
    client.post("/admin/webhooks", json=HOOK, headers=ONCE)
    client.post("/admin/webhooks", json=HOOK, headers={"Idempotency-Key": "old"})
    long_ago = utc_now() - timedelta(days=KEPT_DAYS, minutes=1)
    with write_session(engine) as session:
        first = select(IdempotentRequest.id).limit(1).scalar_subquery()
        old = update(IdempotentRequest).where(IdempotentRequest.id == first).values(at=long_ago)
        session.execute(old)
        forget_requests(session)
    assert count(engine, IdempotentRequest) == 1


def test_a_request_to_a_host_whose_clock_is_behind_is_remembered(client, engine, monkeypatch):
    with monkeypatch.context() as patch:
        set_ahead(patch, timedelta(days=-2 * KEPT_DAYS))
        first = client.post("/admin/webhooks", json=HOOK, headers=ONCE)
    with write_session(engine) as session:
        forget_requests(session)
    same(first, client.post("/admin/webhooks", json=HOOK, headers=ONCE), 201)
