"""`POST /admin/models/{model}/versions/{number}:retire`: what is queued, and what is refused."""

import json

import pytest
from sqlalchemy import func, select

from app.db import Task, read_session, write_session
from app.registry.service import ensure_model
from app.retirement.schemas import Training
from sats_core.training.retire import LEAST_BATCH
from tests.app.tasks.posting import drawn
from tests.fixtures.versions import add_version

RETIRE = "/admin/models/default/versions/2:retire"
HIDE = {"classes": ["sheep"], "depth": "hide"}


@pytest.fixture(autouse=True)
def line(engine, blobs):
    """Version 1 knows cat and dog, version 2 sheep too."""
    with write_session(engine) as session:
        add_version(session, blobs, ["cat", "dog"])
        add_version(session, blobs, ["sheep"])


def tasks(engine):
    with read_session(engine) as session:
        return session.scalar(select(func.count()).select_from(Task).where(Task.kind == "retire"))


def post_form(client, spec, dataset=None, **headers):
    files = {"spec": (None, json.dumps(spec))}
    if dataset is not None:
        files["dataset"] = ("sheep.zip", dataset)
    return client.post(RETIRE, files=files, headers=headers)


def test_json_queues_a_task(client, engine):
    answer = client.post(RETIRE, json=HIDE)
    assert answer.status_code == 202, answer.text
    task = answer.json()
    assert answer.headers["location"] == f"/tasks/{task['id']}"
    assert (task["kind"], task["name"], task["classes"]) == ("retire", "retire sheep", ["sheep"])
    assert (task["state"], task["method"], task["version"]) == ("queued", None, None)
    assert task["spec"] == {
        "name": "retire sheep",
        "model": "default",
        "parent": 2,
        "classes": ["sheep"],
        "depth": "hide",
        "gate": {
            "max_miou_drop": 0.02,
            "max_drop": None,
            "promote": True,
            "hold_on_unmeasured": None,
        },
        "epochs": 60,
        "batch_size": 16,
        "accumulate": None,
        "learning_rate": None,
        "seed": 0,
        "device": "any",
        "min_memory_mib": None,
        "priority": 0,
    }
    assert client.get(task["links"]["self"]).json() == task
    audit = client.get("/admin/audit", params={"action": "version.retire"}).json()["items"]
    assert [entry["object"] for entry in audit] == [f"/tasks/{task['id']}"]


def test_pictures_may_come_along(client, engine, tmp_path, blobs):
    pictures = drawn(tmp_path, "sheep").read_bytes()
    task = post_form(client, {**HIDE, "depth": "unlearn"}, pictures)
    assert task.status_code == 202, task.text
    with read_session(engine) as session:
        row = session.get_one(Task, task.json()["id"])
    assert blobs.path(row.evaluation).read_bytes() == pictures
    cancelled = client.post(f"/tasks/{row.id}:cancel")
    assert cancelled.json()["state"] == "cancelled"
    assert not [key for key in row.uploads if blobs.is_there(key)]


def test_a_form_without_pictures_is_as_good(client):
    assert post_form(client, HIDE).status_code == 202


def test_the_same_key_gives_the_same_task(client, engine):
    first = client.post(RETIRE, json=HIDE, headers={"Idempotency-Key": "k"})
    again = post_form(client, HIDE, **{"Idempotency-Key": "k"})
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    other = client.post(RETIRE, json={**HIDE, "depth": "unlearn"}, headers={"Idempotency-Key": "k"})
    assert other.status_code == 422
    assert other.json()["type"] == "urn:sats:problem:idempotency-key-reused"
    assert tasks(engine) == 1


@pytest.mark.parametrize(
    ("names", "faults", "said"),
    [
        (["cow"], [("cow", "unknown")], "version 2 does not know 'cow'"),
        (["background"], [("background", "forbidden")], "the background cannot be taken away"),
        (["cow", "sheep"], [("cow", "unknown")], "version 2 does not know 'cow'"),
        (
            ["cat", "dog", "sheep"],
            [("cat", "forbidden"), ("dog", "forbidden"), ("sheep", "forbidden")],
            "one must stay",
        ),
    ],
)
@pytest.mark.parametrize("form", [False, True])
def test_a_class_that_cannot_go_is_named(client, engine, names, faults, said, form):
    wish = {"classes": names, "depth": "hide"}
    refused = post_form(client, wish) if form else client.post(RETIRE, json=wish)
    assert refused.status_code == 422
    found = refused.json()["errors"]
    assert [(one["class"], one["code"]) for one in found] == faults
    assert {one["field"] for one in found} == {"spec.classes" if form else "classes"}
    assert said in found[0]["message"]
    assert tasks(engine) == 0


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"classes": ["sheep"]}, "depth"),
        ({"depth": "hide"}, "classes"),
        ({"classes": [], "depth": "hide"}, "classes"),
        ({"classes": ["sheep", "sheep"], "depth": "hide"}, "classes"),
        ({"classes": ["sheep"], "depth": "burn"}, "depth"),
        ({**HIDE, "gate": {"max_miou_drop": 2}}, "gate.max_miou_drop"),
        ({**HIDE, "epochs": 0}, "epochs"),
        ({**HIDE, "epochs": "12"}, "epochs"),
        ({**HIDE, "priority": True}, "priority"),
        ({**HIDE, "learning_rate": "0.1"}, "learning_rate"),
        ({**HIDE, "method": "sats"}, "method"),
    ],
)
def test_what_is_not_valid_is_named(client, wish, field):
    refused = client.post(RETIRE, json=wish)
    assert refused.status_code == 422
    assert [one["field"] for one in refused.json()["errors"]] == [field]


def test_other_bodies_are_refused(client):
    assert (
        client.post(RETIRE, content=b"{", headers={"Content-Type": "application/json"}).json()[
            "errors"
        ][0]["code"]
        == "unreadable"
    )
    assert client.post(RETIRE, content=b"x").status_code == 415
    stray = client.post(RETIRE, files={"spec": (None, json.dumps(HIDE)), "data": ("a", b"b")})
    assert stray.json()["errors"][0]["field"] == "data"


def test_pictures_must_be_of_the_version(client, tmp_path):
    other = post_form(client, HIDE, drawn(tmp_path, "bus").read_bytes())
    assert other.status_code == 422
    assert other.json()["type"] == "urn:sats:problem:invalid-dataset"
    assert "it labels no class of version 2, but bus" in other.json()["detail"]
    assert post_form(client, HIDE, b"no zip").json()["errors"][0]["field"] == "dataset"


def test_a_version_that_is_not_there(client, engine, blobs):
    assert client.post(RETIRE.replace("2", "9"), json=HIDE).status_code == 404
    assert client.post(RETIRE.replace("default", "other"), json=HIDE).status_code == 404
    with write_session(engine) as session:
        add_version(session, blobs, ["bus"], live=False)
        ensure_model(session, "other")
    assert client.delete("/admin/models/default/versions/3").status_code == 200
    gone = client.post(RETIRE.replace("2", "3"), json={**HIDE, "classes": ["bus"]})
    assert gone.status_code == 404
    assert "version 3 was deleted" in gone.json()["detail"]


def test_the_same_class_does_not_go_twice_at_once(client):
    first = client.post(RETIRE, json=HIDE).json()
    again = client.post(RETIRE, json={"classes": ["dog", "sheep"], "depth": "unlearn"})
    assert again.status_code == 409
    assert again.json()["type"] == "urn:sats:problem:retirement-under-way"
    assert [one["class"] for one in again.json()["errors"]] == ["sheep"]
    assert first["id"] in again.json()["detail"]
    assert client.post(RETIRE, json={"classes": ["dog"], "depth": "hide"}).status_code == 202
    client.post(f"/tasks/{first['id']}:cancel")
    assert client.post(RETIRE, json=HIDE).status_code == 202


def test_the_version_is_not_deleted_under_it(client, engine, blobs):
    with write_session(engine) as session:
        add_version(session, blobs, ["bus"], live=False)
    three = RETIRE.replace("2", "3")
    assert client.post(three, json={"classes": ["bus"], "depth": "hide"}).status_code == 202
    refused = client.delete("/admin/models/default/versions/3")
    assert refused.status_code == 409
    assert "which has not ended, starts from it" in refused.json()["detail"]


def test_a_batch_that_runs_larger_is_told():
    field = Training.model_fields["batch_size"]
    assert field.description == "Pictures per optimiser step; 2 and 3 run as 4."
    assert LEAST_BATCH == 4
