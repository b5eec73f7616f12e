"""`preview` in a spec: two tasks for one post."""

import threading

import httpx
import pytest
from sqlalchemy import select, update

from app.db import Task, TaskState, read_session, write_session
from tests.app.tasks.posting import drawn, post
from tests.fixtures.versions import add_version

PREVIEW = {"method": "sats_plus", "preview": True}


@pytest.fixture
def learned(engine, blobs):
    """The default model knows a fish."""
    with write_session(engine) as session:
        add_version(session, blobs, ["fish"])


def task(client, task_id):
    return client.get(f"/tasks/{task_id}").json()


def stored(settings):
    return [p for p in settings.blob_dir.rglob("*") if p.is_file()]


def posted(engine):
    """Every task but the one of the version that was there."""
    with read_session(engine) as session:
        return session.scalars(select(Task).where(Task.dataset != "0" * 64)).all()


def test_a_preview_is_queued_before_its_task(client, pets, learned):
    spec = {"name": "pets", "held_out": {"share": 0.5}, "classes": ["dog"], "seed": 7, "memory": 9}
    how = {"method": "sats", "method_settings": {"unsure": "unbiased"}, "fusion": True}
    answer = post(client, pets, spec | PREVIEW | how)
    assert answer.status_code == 202, answer.text
    long = answer.json()
    assert answer.headers["location"] == f"/tasks/{long['id']}"
    assert (long["method"], long["spec"]["preview"], long["preview_of"]) == ("sats", True, None)
    preview = task(client, long["preview"])
    assert (preview["preview"], preview["preview_of"]) == (None, long["id"])
    assert (preview["queue_place"], long["queue_place"]) == (1, 2)
    assert preview["spec"] == long["spec"] | {
        "method": "frozen",
        "method_settings": {},
        "fusion": False,
        "preview": False,
    }
    listed = client.get("/tasks?state=queued").json()["items"]
    assert all(one.pop("labels") is None for one in (long, preview)), "a list leaves them out"
    assert listed == [long, preview]


def test_without_one_nothing_else_is_queued(client, pets, learned, engine):
    answer = post(client, pets).json()
    assert (answer["preview"], answer["preview_of"]) == (None, None)
    assert answer["spec"]["preview"] is False
    assert len(posted(engine)) == 1


def test_both_read_the_same_pictures_and_only_the_task_has_the_key(
    client, pets, learned, engine, settings
):
    long = post(client, pets, PREVIEW, **{"Idempotency-Key": "k"}).json()
    preview, main = sorted(posted(engine), key=lambda row: row.sequence)
    assert (preview.id, main.id) == (long["preview"], long["id"])
    assert preview.dataset == main.dataset
    assert (preview.idempotency_key, main.idempotency_key) == (None, "k")
    assert preview.submitted_by == main.submitted_by
    assert main.dataset in {path.name for path in stored(settings)}


def test_a_worker_is_woken_for_the_preview(client, pets, learned, service):
    long = post(client, pets, PREVIEW).json()
    with service.state.services.sender.celery.connection_for_read() as connection:
        message = connection.SimpleQueue("sats").get(timeout=10)
        message.ack()
    assert message.payload[0] == [long["preview"]]


@pytest.mark.parametrize("how", [{"method": "frozen"}, {}], ids=["asked for", "by default"])
def test_frozen_is_its_own_preview(client, pets, learned, engine, settings, how):
    answer = post(client, pets, how | {"preview": True})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "spec.preview"
    assert "its own preview: name the method" in error["message"]
    assert posted(engine) == []


def test_a_base_step_has_no_preview(client, pets, engine, settings):
    answer = post(client, pets, PREVIEW)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "spec.preview"
    assert "old version" in error["message"]
    assert (posted(engine), stored(settings)) == ([], [])


def test_a_step_posted_behind_the_base_may_have_one(client, pets, engine, tmp_path):
    post(client, pets).raise_for_status()
    answer = post(client, drawn(tmp_path, "cow"), PREVIEW)
    assert answer.status_code == 202
    assert not any(row.may_be_base for row in posted(engine) if row.preview_of)


def test_a_model_whose_versions_are_all_held_is_refused_as_ever(client, pets, engine, blobs):
    with write_session(engine) as session:
        add_version(session, blobs, ["fish"], live=False)
    answer = post(client, pets, PREVIEW)
    assert answer.json()["type"] == "urn:sats:problem:nothing-to-start-from"
    long = post(client, pets, {"parent": 1} | PREVIEW).json()
    assert task(client, long["preview"])["spec"]["parent"] == 1


def test_a_replay_gives_the_same_task_and_makes_no_second_preview(client, pets, learned, engine):
    first = post(client, pets, PREVIEW, **{"Idempotency-Key": "k"})
    again = post(client, pets, PREVIEW, **{"Idempotency-Key": "k"})
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert len(posted(engine)) == 2
    without = post(client, pets, PREVIEW | {"preview": False}, **{"Idempotency-Key": "k"})
    assert without.json()["type"] == "urn:sats:problem:idempotency-key-reused"


@pytest.mark.races
def test_the_same_key_twice_at_once_makes_one_task_and_one_preview(served, pets, learned, engine):
    start = threading.Barrier(4)
    answers = []

    def go():
        with httpx.Client(base_url=served.base_url, timeout=60) as client:
            start.wait()
            answers.append(post(client, pets, PREVIEW, **{"Idempotency-Key": "race"}))

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [202] * 4
    assert len({answer.json()["preview"] for answer in answers}) == 1
    assert len(posted(engine)) == 2


def test_cancelling_the_task_cancels_its_preview(client, pets, learned, engine):
    long = post(client, pets, PREVIEW).json()
    answer = client.post(f"/tasks/{long['id']}:cancel")
    assert answer.json()["state"] == "cancelled"
    preview = task(client, long["preview"])
    assert (preview["state"], preview["cancel_requested"]) == ("cancelled", True)
    events = client.get(f"/tasks/{preview['id']}/events").text
    assert '"cancelled"' in events


def test_cancelling_both_leaves_no_pictures(client, pets, settings, learned, engine):
    long = post(client, pets, PREVIEW).json()
    kept = posted(engine)[0].dataset
    client.post(f"/tasks/{long['preview']}:cancel").raise_for_status()
    assert kept in {path.name for path in stored(settings)}, "the task itself needs them"
    assert task(client, long["id"])["state"] == "queued"
    assert task(client, long["id"])["queue_place"] == 1
    client.post(f"/tasks/{long['id']}:cancel").raise_for_status()
    assert kept not in {path.name for path in stored(settings)}


def test_cancelling_the_task_asks_a_preview_that_runs_to_stop(
    client, pets, learned, engine, settings
):
    long = post(client, pets, PREVIEW).json()
    with write_session(engine) as session:
        running = update(Task).where(Task.id == long["preview"]).values(state=TaskState.TRAINING)
        session.execute(running)
    client.post(f"/tasks/{long['id']}:cancel").raise_for_status()
    preview = task(client, long["preview"])
    assert (preview["phase"], preview["cancel_requested"]) == ("training", True)
    assert posted(engine)[0].dataset in {path.name for path in stored(settings)}


def test_cancelling_the_task_leaves_a_preview_that_has_ended(client, pets, learned, engine):
    long = post(client, pets, PREVIEW).json()
    with write_session(engine) as session:
        ended = update(Task).where(Task.id == long["preview"]).values(state=TaskState.LIVE)
        session.execute(ended)
    client.post(f"/tasks/{long['id']}:cancel").raise_for_status()
    preview = task(client, long["preview"])
    assert (preview["outcome"], preview["cancel_requested"]) == ("live", False)
