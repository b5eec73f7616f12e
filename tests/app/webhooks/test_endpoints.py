import base64
import json

import pytest
from sqlalchemy import select, update

from app.db import DeliveryState, WebhookDelivery, database_now, read_session, write_session
from app.keys.secret import read_secret
from app.registry.moves import promote
from app.registry.service import find_model
from app.webhooks.outbox import WebhookEvent, enqueue
from app.webhooks.secrets import webhook_secret
from tests.app.tasks.posting import drawn, post
from tests.fixtures.versions import add_version

HOOKS = "/admin/webhooks"
JSON = {"Content-Type": "application/json"}
ALL = [str(event) for event in WebhookEvent]


def make(client, **spec):
    wanted = {"url": "https://example.org/hook", "events": ALL} | spec
    answer = client.post(HOOKS, json=wanted)
    assert answer.status_code == 201, answer.text
    return answer.json()


def outbox(engine):
    with read_session(engine) as session:
        wanted = select(WebhookDelivery).order_by(WebhookDelivery.created_at)
        return [one.payload for one in session.scalars(wanted)]


def test_a_webhook_is_made_listed_and_deleted_and_its_secret_shown_once(client, engine, settings):
    made = make(client, model="default")
    secret = made.pop("secret")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert make(client)["secret"] != secret
    listed = client.get(HOOKS).json()["items"][::-1]
    assert (listed[0], len(listed)) == (made, 2)
    assert "secret" not in client.get(HOOKS).text
    with engine.connect() as connection:
        salt = connection.exec_driver_sql("SELECT salt FROM webhooks ORDER BY created_at").scalar()
    assert webhook_secret(read_secret(settings), salt) == secret
    with write_session(engine) as session:
        enqueue(session, WebhookEvent.TASK_ENDED, "default", {})
    assert client.delete(f"{HOOKS}/{made['id']}").status_code == 204
    assert [hook["id"] for hook in client.get(HOOKS).json()["items"]] == [listed[1]["id"]]
    assert len(outbox(engine)) == 1, "what waited for the one that is gone is gone too"
    for answer in (
        client.delete(f"{HOOKS}/{made['id']}"),
        client.get(f"{HOOKS}/{made['id']}/deliveries"),
    ):
        assert answer.status_code == 404


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "http://127.0.0.1/"),
        ("url", "https://\ud800.org/"),
        ("url", "http://xn--/"),
        ("url", 3),
        ("events", []),
        ("events", ["task.begun"]),
        ("model", "No Model"),
        ("mood", 1),
    ],
)
def test_what_is_wrong_with_a_webhook_is_named(client, field, value):
    wanted = {"url": "https://example.org/", "events": ALL} | {field: value}
    answer = client.post(HOOKS, content=json.dumps(wanted), headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].split(".")[0] == field


def test_promotion_and_rollback_are_told_in_their_transaction(client, engine, blobs):
    make(client)
    make(client, model="another")
    make(client, events=["task.ended"])
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
        add_version(session, blobs, ["dog"], live=False)
    assert client.post("/admin/models/default/versions/2:promote").status_code == 200
    assert client.post("/admin/models/default/versions/2:promote").status_code == 409
    assert client.post("/admin/models/default/versions/2:rollback").status_code == 200
    by_gate, promoted, back = outbox(engine)
    assert (by_gate["type"], by_gate["data"]["version"]) == ("version.promoted", 1)
    assert (promoted["type"], promoted["data"]["version"]) == ("version.promoted", 2)
    assert back["type"] == "version.rolled_back"
    assert (back["data"]["version"], back["data"]["live"]) == (2, 1)
    assert by_gate["task"] is not None, "a task did it"
    assert (promoted["task"], back["task"]) == (None, None)
    assert {one["model"] for one in (promoted, back)} == {"default"}
    with read_session(engine) as session:
        promote(session, find_model(session, "default"), 2)  # and not committed
    assert len(outbox(engine)) == 3, "what was not done is not told"


def test_a_task_that_is_cancelled_in_the_queue_is_told(client, engine, tmp_path):
    make(client)
    task_id = post(client, drawn(tmp_path, "cat", "dog")).json()["id"]
    client.post(f"/tasks/{task_id}:cancel")
    (told,) = outbox(engine)
    assert (told["type"], told["task"], told["model"]) == ("task.ended", task_id, "default")
    nothing = {"phase": None, "outcome": None, "version": None, "error": None}
    assert told["data"] == {"state": "cancelled"} | nothing


def test_what_became_of_deliveries_is_shown(client, engine):
    made = make(client)
    where = f"{HOOKS}/{made['id']}/deliveries"
    with write_session(engine) as session:
        enqueue(session, WebhookEvent.TASK_ENDED, "default", {})
    (shown,) = client.get(where).json()["items"]
    assert (shown["state"], shown["attempts"], shown["next_attempt_at"]) == ("waiting", 0, None)
    values = {"attempts": 2, "status": 500, "error": "no", "due_at": database_now() + 60}
    with write_session(engine) as session:
        session.execute(update(WebhookDelivery).values(values))
    (shown,) = client.get(where).json()["items"]
    assert (shown["status"], shown["error"]) == (500, "no")
    assert shown["next_attempt_at"] > shown["created_at"]
    with write_session(engine) as session:
        session.execute(update(WebhookDelivery).values(state=DeliveryState.FAILED))
        enqueue(session, WebhookEvent.VERSION_HELD, "default", {})
    assert [one["type"] for one in client.get(where).json()["items"]] == [
        "version.held",
        "task.ended",
    ]
    page = client.get(where, params={"limit": 1}).json()
    rest = client.get(where, params={"limit": 1, "cursor": page["next_cursor"]}).json()
    assert [one["type"] for one in page["items"] + rest["items"]] == ["version.held", "task.ended"]
    assert rest["next_cursor"] is None
