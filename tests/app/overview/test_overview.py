"""Models at a glance."""

from datetime import timedelta

import pytest

from app.audit.actor import act_as
from app.db import Actor, ActorType, Task, TaskState, database_now, utc_now, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.registry.moves import promote
from app.registry.service import ensure_model, find_model
from tests.fixtures.statements import Statements
from tests.fixtures.versions import add_version

KEY = "0" * 64
EVA = Actor(ActorType.KEY, "eva")


def add_task(session, state, name="sheep", model="default", **columns):
    task = Task(
        model=ensure_model(session, model),
        state=state,
        spec={"name": name},
        dataset=KEY,
        dataset_bytes=1,
        request_digest="",
        warnings=[],
        **columns,
    )
    session.add(task)
    session.flush()
    return task


@pytest.fixture
def line(engine, blobs):
    """A live version, a held one, and one of another model."""
    with write_session(engine) as session:
        add_version(session, blobs, ["cat", "dog"])
        add_version(session, blobs, ["sheep"], live=False)
        add_version(session, blobs, ["car"], model="street")


def only(client, name="default"):
    """A model as the overview has it, and as it is shown by itself."""
    found = {model["name"]: model for model in client.get("/admin/overview").json()["models"]}
    assert client.get(f"/admin/models/{name}").json() == found[name]
    return found[name]


def test_an_empty_service_has_no_models_and_knows_no_worker(client):
    assert client.get("/admin/overview").json() == {
        "models": [],
        "workers": {"busy": [], "lost": [], "idle": [], "restarts": None},
    }
    refused = client.get("/admin/models/default")
    assert (refused.status_code, refused.json()["type"]) == (404, "urn:sats:problem:not-found")


def test_a_model_without_a_version_has_none_live(client, engine):
    with write_session(engine) as session:
        ensure_model(session, "default")
    model = only(client)
    assert (model["live"], model["versions"], model["running"], model["ended"]) == (
        None,
        0,
        None,
        [],
    )


def test_what_is_live_is_shown_with_its_classes_and_scores(client, line, engine):
    with write_session(engine) as session:
        act_as(session, EVA)
        promote(session, find_model(session, "default"), 2)
    model = only(client)
    version = client.get("/admin/models/default/versions/2").json()
    move = client.get("/admin/models/default/aliases/live").json()
    scores = version["scores"]
    assert model["versions"] == 2
    assert model["live"] == {
        "version": 2,
        "since": move["moved_at"],
        "kind": "promote",
        "by": {"type": "key", "name": "eva"},
        "classes": version["classes"],
        "scores": {name: scores[name] for name in ("miou_old", "miou_new", "miou_all")},
    }


def test_deleted_versions_do_not_count(client, line):
    assert client.delete("/admin/models/default/versions/2").status_code == 200
    assert only(client)["versions"] == 1


def test_tasks_are_counted_by_state_and_the_last_ends_are_told(client, line, engine):
    now = utc_now()
    with write_session(engine) as session:
        add_task(session, TaskState.QUEUED)
        add_task(session, TaskState.QUEUED)
        for ago in range(1, 5):
            ended = now - timedelta(minutes=ago)
            add_task(session, TaskState.FAILED, f"failed {ago}", finished_at=ended)
        for ago, state in ((8, TaskState.CANCELLED), (7, TaskState.HELD), (9, TaskState.LIVE)):
            add_task(session, state, state, finished_at=now - timedelta(minutes=ago))
        add_task(session, TaskState.FAILED, "elsewhere", "street", finished_at=now)
    model = only(client)
    assert model["tasks"] == {
        "queued": 2,
        "running": 0,
        "succeeded": 4,  # two of them made the versions
        "failed": 4,
        "cancelled": 1,
    }
    told = [(one["name"], one["state"], one["outcome"]) for one in model["ended"]]
    assert told == [
        *((f"failed {ago}", "failed", None) for ago in range(1, 5)),
        ("held", "succeeded", "held"),
    ]


def test_an_ended_task_names_the_version_it_made(client, line, engine):
    with write_session(engine) as session:
        made = session.get_one(Task, client.get("/tasks?model=street").json()["items"][0]["id"])
        made.finished_at = utc_now()
    (ended,) = only(client, "street")["ended"]
    assert (ended["id"], ended["version"], ended["outcome"]) == (made.id, 1, "live")


@pytest.mark.parametrize(("seconds", "alive"), [(60, True), (-1, False), (None, False)])
def test_a_worker_is_alive_while_its_lease_runs(client, line, engine, seconds, alive):
    lease = None if seconds is None else database_now() + seconds
    with write_session(engine) as session:
        add_task(
            session, TaskState.TRAINING, worker="host:7", lease_until=lease, started_at=utc_now()
        )
    running = only(client)["running"]
    assert (running["phase"], running["worker"], running["worker_alive"]) == (
        "training",
        "host:7",
        alive,
    )
    workers = client.get("/admin/overview").json()["workers"]
    assert workers["busy" if alive else "lost"] == ["host:7"]
    assert workers["lost" if alive else "busy"] == []


def test_a_bound_key_sees_its_models_alone(client, line, engine, settings):
    with write_session(engine) as session:
        add_task(session, TaskState.TRAINING, worker="host:7")
        key = create_key(session, read_secret(settings), "reader", [Scope.READ], models=["street"])
    seen = client.get("/admin/overview", headers={"Authorization": f"Bearer {key}"}).json()
    assert [model["name"] for model in seen["models"]] == ["street"]
    assert seen["workers"]["lost"] == [], "of a model that the key may not see"


def test_a_handful_of_statements_however_many_there_are(client, line, engine, blobs):
    def asked():
        with Statements(engine) as sent:
            client.get("/admin/overview")
        return [statement for statement, _ in sent.seen]

    client.get("/admin/overview")
    few = asked()
    with write_session(engine) as session:
        for number in range(30):
            add_task(session, TaskState.QUEUED)
            add_task(session, TaskState.FAILED, finished_at=utc_now())
            add_task(session, TaskState.LIVE, model=f"m{number}", finished_at=utc_now())
        for name in ("a", "b", "c"):
            add_version(session, blobs, [name])
    many = asked()
    assert len(many) == len(few) <= 8
    assert many == few
