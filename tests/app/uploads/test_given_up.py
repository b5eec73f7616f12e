"""An upload that was given up: written down, and nothing to its key, whoever has the same bytes."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select

from app.audit.service import first_broken
from app.db import LargeUpload, Task, read_session, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.settings import Settings
from app.storage import Blob, BlobStore
from app.storage.references import lock_blobs
from app.tasks.accepting import Acceptance
from app.tasks.schemas import TaskSpec
from app.tasks.submission import Submission
from app.uploads import large
from app.uploads.tokens import UploadGoneProblem
from tests.app.tasks.posting import drawn
from tests.app.uploads.sending import announce, post, sent

GONE = "urn:sats:problem:upload-gone"
NOT_FOUND = "urn:sats:problem:not-found"


@pytest.fixture
def pets(tmp_path):
    return drawn(tmp_path, "cat", "dog").read_bytes()


@pytest.fixture
def keys(engine: Engine, settings: Settings) -> list[dict[str, str]]:
    """Headers of two keys that may post, and of one that may read the audit log."""
    secret = read_secret(settings)
    scopes = {"mine": Scope.SUBMIT, "other": Scope.SUBMIT, "root": Scope.ADMIN}
    with write_session(engine) as session:
        made = [create_key(session, secret, name, [scope]) for name, scope in scopes.items()]
    return [{"Authorization": f"Bearer {key}"} for key in made]


def send(client: TestClient, dataset: bytes, **headers: str) -> dict[str, Any]:
    """Send a zip at once."""
    answer = client.post("/uploads", files={"dataset": ("d.zip", dataset)}, headers=headers)
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


def written_down(client: TestClient, **headers: str) -> list[dict[str, Any]]:
    """Return what the audit log says of uploads, the newest first."""
    answer = client.get("/admin/audit", params={"action": "upload.delete"}, headers=headers)
    assert answer.status_code == 200, answer.text
    entries: list[dict[str, Any]] = answer.json()["items"]
    return entries


def assert_gone(client: TestClient, told: Mapping[str, Any], **headers: str) -> None:
    """Assert that a token stands for nothing, wherever it can be named."""
    own = told["links"]["self"]
    for path in (own, f"{own}/sheet"):
        assert client.get(path, headers=headers).json()["type"] == GONE
    assert post(client, told["upload"], **headers).json()["type"] == GONE
    assert client.delete(own, headers=headers).json()["type"] == NOT_FOUND


def test_a_zip_that_is_given_up_is_written_down(client, engine, keys, pets):
    mine, _, root = keys
    told = send(client, pets, **mine)
    with read_session(engine) as session:
        row = session.scalars(select(LargeUpload)).one()
    path = told["links"]["self"]
    assert client.delete(path, headers=mine | {"Request-Id": "tidy-1"}).status_code == 204
    (entry,) = written_down(client, **root)
    assert entry["actor"] == {"type": "key", "name": "mine"}
    assert (entry["request_id"], entry["model"]) == ("tidy-1", None)
    assert entry["object"] == f"/uploads/{row.id}"
    known = {"name": "dataset.zip", "bytes": told["bytes"], "sha256": told["sha256"]}
    assert (entry["before"], entry["after"]) == (known | {"state": "done"}, None)
    assert told["upload"] not in str(entry), "a token is nobody else's to read"
    assert client.delete(path, headers=mine).status_code == 404
    assert written_down(client, **root) == [entry], "the second one deleted nothing"
    with read_session(engine) as session:
        assert first_broken(session) is None


def test_a_large_upload_that_is_given_up_is_written_down(client, keys):
    mine, other, root = keys
    told = announce(client, b"cats", **mine).json()
    path = told["links"]["self"]
    assert client.delete(path, headers=other).status_code == 404
    assert client.delete("/uploads/none", headers=mine).status_code == 404
    assert written_down(client, **root) == []
    assert client.delete(path, headers=mine).status_code == 204
    (entry,) = written_down(client, **root)
    assert (entry["object"], entry["actor"]["name"]) == (path, "mine")
    known = {"name": "pets.zip", "bytes": 4, "sha256": told["sha256"], "state": "open"}
    assert (entry["before"], entry["after"]) == (known, None)


def test_what_becomes_a_task_is_not_given_up(client, keys, pets):
    mine, _, root = keys
    told = send(client, pets, **mine)
    assert post(client, told["upload"], **mine).status_code == 202
    assert client.delete(told["links"]["self"], headers=mine).status_code == 404
    assert written_down(client, **root) == []


@pytest.mark.parametrize("holds", ["a zip", "a large upload", "a task"])
def test_what_another_key_holds_is_nothing_to_who_gave_it_up(client, keys, pets, holds):
    mine, other, _ = keys
    told = send(client, pets, **mine)
    theirs = (sent if holds == "a large upload" else send)(client, pets, **other)
    if holds == "a task":
        assert post(client, theirs["upload"], **other).status_code == 202
    assert client.delete(told["links"]["self"], headers=mine).status_code == 204
    assert_gone(client, told, **mine)
    assert client.get(f"/uploads/{theirs['upload']}", headers=other).status_code == 200
    assert post(client, theirs["upload"], **other).status_code == 202


def test_a_task_of_another_key_keeps_no_token_that_its_own_tasks_need_no_more(client, keys, pets):
    mine, other, _ = keys
    told, theirs = (send(client, pets, **headers) for headers in (mine, other))
    task = post(client, told["upload"], **mine).json()
    assert client.get(told["links"]["self"], headers=mine).status_code == 200
    assert client.post(f"{task['links']['self']}:cancel", headers=mine).status_code == 202
    assert_gone(client, told, **mine)
    assert client.get(theirs["links"]["self"], headers=other).status_code == 200


def test_what_is_sent_again_is_there_again(client, keys, pets):
    mine, *_ = keys
    told = send(client, pets, **mine)
    assert client.delete(told["links"]["self"], headers=mine).status_code == 204
    again = send(client, pets, **mine)
    assert client.get(again["links"]["self"], headers=mine).status_code == 200
    assert post(client, again["upload"], **mine).status_code == 202


def make(blob: Blob) -> Submission:
    """Return a task of an upload by the first of the keys."""
    return Submission(TaskSpec(name="pets"), blob, "mine", None, key_id=1)


def tasks(engine: Engine) -> list[str]:
    with read_session(engine) as session:
        return list(session.scalars(select(Task.dataset)))


@pytest.mark.parametrize("held", [False, True], ids=["nobody else has it", "another key has it"])
def test_what_is_given_up_while_a_task_is_made_of_it_is_not_made_one(
    client: TestClient,
    engine: Engine,
    blobs: BlobStore,
    keys: list[dict[str, str]],
    pets: bytes,
    held: bool,
) -> None:
    mine, other, _ = keys
    told = send(client, pets, **mine)
    if held:
        send(client, pets, **other)

    def given_up(_paths: object) -> None:
        """Come between the look at the token and the task."""
        assert client.delete(told["links"]["self"], headers=mine).status_code == 204

    dataset = Blob(told["sha256"], told["bytes"])
    accepting = Acceptance(engine, blobs, len(pets))
    with pytest.raises(UploadGoneProblem):
        accepting.accept({"dataset": dataset}, lambda found: make(found["dataset"]), given_up)
    assert tasks(engine) == []
    assert blobs.is_there(told["sha256"]) == held


@pytest.mark.races
def test_who_gives_up_what_a_task_is_being_made_of_finds_the_task(client, engine, keys, pets):
    mine, _, root = keys
    told = send(client, pets, **mine)
    with ThreadPoolExecutor(1) as pool:
        with write_session(engine) as session:
            lock_blobs(session, [told["sha256"]])
            giving_up = pool.submit(client.delete, told["links"]["self"], headers=mine)
            with pytest.raises(TimeoutError):
                giving_up.result(0.5)
            large.spend(session, 1, told["sha256"])  # as whoever makes a task does
        assert giving_up.result().json()["type"] == NOT_FOUND
    assert written_down(client, **root) == []


@pytest.mark.races
def test_whoever_is_first_no_task_is_without_its_data(client, engine, blobs, keys, tmp_path):
    """One posts what another call gives up at the same time: either the one or the other."""
    mine, *_ = keys
    outcomes = []
    for seed in range(6):
        told = send(client, drawn(tmp_path, "cat", seed=seed).read_bytes(), **mine)
        with ThreadPoolExecutor(2) as pool:
            posted = pool.submit(post, client, told["upload"], **mine)
            gave_up = pool.submit(client.delete, told["links"]["self"], headers=mine)
        outcomes.append((posted.result().status_code, gave_up.result().status_code))
        assert (told["sha256"] in tasks(engine)) == blobs.is_there(told["sha256"])
    assert set(outcomes) <= {(202, 404), (422, 204)}


def test_what_was_announced_since_is_given_up_by_its_id(client, keys, pets):
    mine, *_ = keys
    told = send(client, pets, **mine)
    wish = {"bytes": len(pets), "sha256": told["sha256"]}
    named = client.post("/uploads", json=wish, headers=mine).json()["upload"]
    refused = client.delete(told["links"]["self"], headers=mine)
    assert refused.status_code == 404
    assert f"DELETE /uploads/{named}" in refused.json()["detail"]
    assert client.delete(f"/uploads/{named}", headers=mine).status_code == 204
    assert client.get(told["links"]["self"], headers=mine).status_code == 422
