import io
import json
import socket
import threading
import zipfile
from typing import get_args

import httpx
import pytest
from sqlalchemy import func, select

from app.db import Task, TaskEvent, read_session, write_session
from app.http.multipart import FRAME_BYTES
from app.settings import MIB
from sats_core.settings import MethodName, OfferedMethod
from tests.app.tasks.posting import SPEC, drawn, post
from tests.fixtures.versions import add_version


def _stored(settings):
    return [p for p in settings.blob_dir.rglob("*") if p.is_file()]


def _tasks(engine):
    with read_session(engine) as session:
        return session.scalar(select(func.count()).select_from(Task))


def test_a_task_is_queued(client, engine, pets, settings):
    answer = post(client, pets, {"name": "pets"})
    assert answer.status_code == 202
    task = answer.json()
    assert answer.headers["location"] == f"/tasks/{task['id']}"
    assert (task["name"], task["model"], task["state"]) == ("pets", "default", "queued")
    assert (task["queue_place"], task["tries"], task["version"]) == (1, 0, None)
    asked = {"max_drop": None, "min_iou": None, "promote": True, "hold_on_unmeasured": None}
    assert task["spec"]["gate"] == asked
    assert client.get(task["links"]["self"]).json() == task
    with read_session(engine) as session:
        row = session.get(Task, task["id"])
        (event,) = session.scalars(select(TaskEvent))
    assert (event.kind, event.data) == ("state", {"state": "queued"})
    assert row.dataset_bytes == pets.stat().st_size
    assert [p.name for p in _stored(settings)] == [row.dataset]


def test_it_is_there_when_the_answer_is(served, pets):
    for _ in range(20):
        answer = post(served, pets)
        assert served.get(answer.headers["location"]).status_code == 200


def test_a_worker_is_woken(client, pets, service):
    task = post(client, pets).json()
    celery = service.state.services.sender.celery
    with celery.connection_for_read() as connection:
        message = connection.SimpleQueue("sats").get(timeout=10)
        message.ack()
    assert message.headers["task"] == "sats.run_task"
    assert message.payload[0] == [task["id"]]


def test_a_broker_that_is_down_loses_no_task(pets, settings):
    from starlette.testclient import TestClient

    from app.main import create_app

    nowhere = settings.model_copy(update={"redis_url": "redis+socket:///nowhere/redis.sock"})
    app = create_app(nowhere)
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as client:
        assert post(client, pets).status_code == 202


def test_spec_may_be_a_file_of_json(client, pets):
    files = {
        "dataset": ("data.zip", pets.read_bytes()),
        "spec": ("spec.json", json.dumps(SPEC), "application/json"),
    }
    assert client.post("/tasks", files=files).status_code == 202


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"epochs": 0}, "spec.epochs"),
        ({"size": 33}, "spec.size"),
        ({"method": "magic"}, "spec.method"),
        ({"unknown": 1}, "spec.unknown"),
        ({"name": ""}, "spec.name"),
        ({"name": "a\0b"}, "spec.name"),
        ({"model": "A B"}, "spec.model"),
        ({"model": "a" * 101}, "spec.model"),
        ({"classes": []}, "spec.classes"),
        ({"classes": ["cat", "cat"]}, "spec.classes"),
        ({"classes": [""]}, "spec.classes.0"),
        ({"gate": {"max_drop": 2}}, "spec.gate.max_drop"),
        ({"held_out": {"share": 1}}, "spec.held_out.share"),
        ({"method_settings": {"warmth": 1}}, "spec"),
        ("[]", "spec"),
        ("{", "spec"),
        ('{"name": "x", "gradient_clip": 1e999}', "spec.gradient_clip"),
        ('{"name": "\\ud800"}', "spec.name"),
        ('{"name": "x", "classes": ["cat", "\\ud800"]}', "spec.classes.1"),
        ('{"name": "x", "\\ud800": 1}', "spec"),
    ],
)
def test_a_wrong_spec_names_the_field(client, pets, spec, field, settings):
    answer = post(client, pets, spec)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert _stored(settings) == []


def test_joint_is_not_offered_and_the_answer_says_why(client, pets):
    answer = post(client, pets, {"name": "all", "method": "joint"})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "spec.method"
    assert "pictures of all steps" in str(error)


@pytest.mark.parametrize("method", get_args(OfferedMethod))
def test_every_offered_method_is_taken(client, pets, method):
    assert post(client, pets, {"name": "one", "method": method}).status_code == 202


def test_the_service_offers_every_method_but_joint_and_what_is_there_to_compare_with():
    kept_back = set(get_args(MethodName)) - set(get_args(OfferedMethod))
    assert kept_back == {"joint", "kfac", "residual"}


@pytest.mark.parametrize("method", ["kfac", "residual"])
def test_what_is_there_to_compare_with_is_refused(client, pets, method):
    answer = post(client, pets, {"name": "one", "method": method})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "spec.method"


def test_missing_parts_are_named(client, pets):
    whole = {"dataset": ("d.zip", pets.read_bytes())}
    no_spec = client.post("/tasks", files=whole)
    no_dataset = client.post("/tasks", files={"spec": ("", json.dumps(SPEC))})
    text = client.post("/tasks", data={"dataset": "x", "spec": "{}"}, files={"x": ("x", b"")})
    assert [no_spec.status_code, no_dataset.status_code, text.status_code] == [422, 422, 422]
    assert no_spec.json()["errors"][0]["field"] == "spec"
    assert no_dataset.json()["errors"][0]["field"] == "dataset"


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=x", 400),
    ],
)
def test_a_body_that_is_no_form_is_refused(client, kind, status):
    answer = client.post("/tasks", content=b"rubbish", headers={"content-type": kind})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_more_parts_than_two_are_refused(client, pets):
    answer = client.post("/tasks", data={f"f{n}": "x" for n in range(6)}, files={"a": b"b"})
    assert answer.status_code == 400


def _zip(*members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a zip",
        _zip(),
        _zip(("../../etc/passwd", "x")),
        _zip(("/absolute", "x")),
        _zip(("JPEGImages/a.jpg", "x")),
        _zip(("JPEGImages/a.jpg", "x"), ("SegmentationClass/a.png", "x")),
        _zip(("zeros", b"\0" * 40 * MIB)),
    ],
    ids=["empty", "no-zip", "no-files", "climbs", "absolute", "no-masks", "no-classes", "bomb"],
)
def test_a_wrong_data_set_is_refused_and_not_kept(client, content, settings, engine):
    answer = post(client, content)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:sats:problem:invalid-dataset"
    assert len(answer.json()["detail"]) > 10
    assert _stored(settings) == []
    assert _tasks(engine) == 0


def test_a_data_set_of_more_than_the_limit_is_413(client, settings):
    for size in (settings.max_upload_bytes + 1, settings.max_upload_bytes + 2 * FRAME_BYTES):
        answer = post(client, b"x" * size)
        assert answer.status_code == 413
        assert answer.json()["errors"][0]["field"] == "dataset"
    assert _stored(settings) == []


def test_a_body_without_length_is_answered_as_soon_as_it_is_too_long(served, settings):
    part = b'--B\r\nContent-Disposition: form-data; name="dataset"; filename="x"\r\n\r\n'
    chunk = b"x" * MIB
    host, port = served.base_url.host, served.base_url.port
    with socket.create_connection((host, port), timeout=30) as line:
        line.sendall(
            b"POST /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: multipart/form-data; boundary=B\r\n\r\n"
        )
        line.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        for _ in range((settings.max_upload_bytes + FRAME_BYTES) // MIB + 1):
            line.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        assert line.recv(4096).startswith(b"HTTP/1.1 413 ")  # though the body goes on
    assert _stored(settings) == []


def test_classes_must_be_in_the_data_set_and_new(client, engine, blobs, pets):
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
    answer = post(client, pets, {"classes": ["cat", "dog", "cow"]})
    assert answer.status_code == 422
    assert [(e["field"], e["class"]) for e in answer.json()["errors"]] == [
        ("spec.classes", "cow"),
        ("spec.classes", "cat"),
    ]
    assert post(client, pets, {"classes": ["dog"]}).status_code == 202
    assert post(client, pets, {"classes": ["cat"], "model": "other"}).status_code == 202


def test_a_data_set_with_nothing_new_is_refused(client, engine, blobs, pets):
    with write_session(engine) as session:
        add_version(session, blobs, ["cat", "dog"])
    answer = post(client, pets)
    assert answer.status_code == 422
    assert "knows every class" in answer.json()["detail"]


def test_a_refused_data_set_stays_while_another_task_needs_it(client, pets, settings):
    assert post(client, pets).status_code == 202
    assert post(client, pets, {"classes": ["cow"]}).status_code == 422
    assert len(_stored(settings)) == 1


def test_the_same_key_gives_the_same_task(client, pets, engine):
    first = post(client, pets, **{"Idempotency-Key": "a b/c"})
    again = post(client, pets, **{"Idempotency-Key": "a b/c"})
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert _tasks(engine) == 1


def test_the_same_key_with_another_request_is_refused(client, pets, tmp_path, engine):
    post(client, pets, **{"Idempotency-Key": "k"})
    other_spec = post(client, pets, {"epochs": 2}, **{"Idempotency-Key": "k"})
    other_data = post(client, drawn(tmp_path, "cow"), **{"Idempotency-Key": "k"})
    for answer in (other_spec, other_data):
        assert answer.status_code == 422
        assert answer.json()["type"] == "urn:sats:problem:idempotency-key-reused"
    assert _tasks(engine) == 1


def test_a_replay_is_not_judged_by_what_it_taught(client, engine, blobs, pets):
    first = post(client, pets, **{"Idempotency-Key": "k"}).json()
    with write_session(engine) as session:
        add_version(session, blobs, ["cat", "dog"])
    assert post(client, pets, **{"Idempotency-Key": "k"}).json()["id"] == first["id"]


@pytest.mark.parametrize("key", ["", "x" * 201, "\x7f"])
def test_a_wrong_idempotency_key_is_named(client, pets, key):
    answer = post(client, pets, **{"Idempotency-Key": key})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "header.idempotency-key"


@pytest.mark.races
def test_the_same_key_twice_at_once_makes_one_task(served, pets, engine):
    start = threading.Barrier(6)
    answers = []

    def go():
        with httpx.Client(base_url=served.base_url, timeout=60) as client:
            start.wait()
            answers.append(post(client, pets, **{"Idempotency-Key": "race"}))

    threads = [threading.Thread(target=go) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [202] * 6
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert _tasks(engine) == 1
