"""Whoever did something is named by a record, wherever it is shown."""

import pytest
from sqlalchemy import text

from app.cli.common import command_actor, signed
from app.db import Actor, ActorType, HeldOutSet, Memory, Place, read_session, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key, find_key
from app.registry.service import find_model, get_version
from tests.app.tasks.posting import drawn, post
from tests.fixtures.versions import add_version

EVA = {"type": "key", "name": "eva"}
KEYLESS = {"type": "keyless", "name": ""}
LIVE = "/admin/models/default/aliases/live"
VERSIONS = "/admin/models/default/versions"
WEBHOOK = {"url": "https://example.org/hook", "events": ["version.promoted"]}


@pytest.fixture
def line(engine, blobs):
    """A live version, and a held one that keeps pictures of both kinds."""
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
        held = add_version(session, blobs, ["dog"], live=False)
        kept = {"version_id": held.id, "blob": "1" * 64, "pictures": 2}
        session.add(HeldOutSet(**kept, classes=["dog"]))
        session.add(Memory(**kept, bytes=9, place=Place.BLOB_STORE, classes={"dog": 2}))


@pytest.fixture
def eva(engine, settings):
    """Headers of a key that may do everything."""
    with write_session(engine) as session:
        key = create_key(session, read_secret(settings), "eva", [Scope.ADMIN])
    return {"Authorization": f"Bearer {key}"}


def test_a_task_says_who_posted_and_who_cancelled_it(client, tmp_path, engine, settings):
    task = post(client, drawn(tmp_path, "cat")).json()
    assert (task["submitted_by"], task["cancelled_by"]) == (KEYLESS, None)
    with write_session(engine) as session:
        key = create_key(session, read_secret(settings), "eva", [Scope.ADMIN])
    eva = {"Authorization": f"Bearer {key}"}
    cancelled = client.post(f"/tasks/{task['id']}:cancel", headers=eva).json()
    assert (cancelled["submitted_by"], cancelled["cancelled_by"]) == (KEYLESS, EVA)
    mine = post(client, drawn(tmp_path, "cat"), **eva).json()
    listed = client.get("/tasks", headers=eva).json()["items"]
    assert [one["submitted_by"] for one in listed] == [EVA, KEYLESS]
    short = client.get("/tasks?view=summary", headers=eva).json()["items"]
    assert short[0]["submitted_by"] == EVA
    assert mine["cancelled_by"] is None


def test_moves_of_live_say_who_moved_it(client, line, eva):
    assert client.put(LIVE, json={"version": 2}, headers=eva).json()["by"] == EVA
    assert client.post(f"{VERSIONS}/2:rollback", headers=eva).json()["by"] == EVA
    moves = client.get(f"{LIVE}/moves", headers=eva).json()["items"]
    assert [move["by"]["name"] for move in moves] == ["eva", "eva", ""]


def test_a_gate_says_who_set_it_last(client, line, eva):
    gate = "/admin/models/default/gate"
    before = client.get(gate, headers=eva).json()
    assert (before["changed_at"], before["changed_by"]) == (None, None)
    after = client.put(gate, json={"max_drop": 0.1}, headers=eva).json()
    assert after["changed_by"] == EVA
    assert after == client.get(gate, headers=eva).json()
    assert after["changed_at"] is not None


def test_keys_say_who_made_and_who_revoked_them(client, eva):
    wish = {"name": "phone", "scopes": ["segment"]}
    made = client.post("/admin/keys", json=wish, headers=eva).json()
    assert (made["made_by"], made["revoked_by"]) == (EVA, None)
    revoked = client.delete(f"/admin/keys/{made['id']}", headers=eva).json()
    assert (revoked["made_by"], revoked["revoked_by"]) == (EVA, EVA)


def test_a_webhook_says_who_made_it(client, eva):
    made = client.post("/admin/webhooks", json=WEBHOOK, headers=eva).json()
    assert made["made_by"] == EVA
    assert client.get("/admin/webhooks", headers=eva).json()["items"][0]["made_by"] == EVA


def test_what_webhooks_hear_names_whoever_moved_live(client, line, eva):
    made = client.post("/admin/webhooks", json=WEBHOOK, headers=eva).json()
    client.put(LIVE, json={"version": 2}, headers=eva)
    with client.app.state.services.engine.connect() as connection:
        (payload,) = connection.scalars(text("SELECT payload FROM webhook_deliveries"))
    assert made["id"]
    assert '"by": {"type": "key", "name": "eva"}' in str(payload).replace("'", '"')


@pytest.mark.parametrize("part", ["held_out", "memory"])
def test_deletions_say_whose_they_were(client, line, eva, part):
    assert client.get(f"{VERSIONS}/2", headers=eva).json()[part]["deleted_by"] is None
    client.delete(f"{VERSIONS}/2/{part.replace('_', '-')}", headers=eva)
    version = client.get(f"{VERSIONS}/2", headers=eva).json()
    assert (version[part]["deleted_by"], version["deleted_by"]) == (EVA, None)


def test_a_deleted_version_says_who_deleted_it_with_its_pictures(client, line, eva):
    client.delete(f"{VERSIONS}/2", headers=eva)
    version = client.get(f"{VERSIONS}/2", headers=eva).json()
    assert [version["deleted_by"], version["held_out"]["deleted_by"]] == [EVA, EVA]
    assert version["memory"]["deleted_by"] == EVA


def test_a_command_is_its_user_s_deed(engine):
    with write_session(engine) as session:
        signed(session)
        create_key(session, b"secret", "phone", [Scope.SEGMENT])
    with read_session(engine) as session:
        assert find_key(session, "phone").made_by == command_actor()


@pytest.mark.parametrize(
    "actor",
    [Actor(ActorType.KEY, " a b  c "), Actor(ActorType.KEYLESS), Actor(ActorType.WORKER, "h:1")],
)
def test_an_actor_comes_out_of_the_table_as_it_went_in(engine, line, actor):
    with write_session(engine) as session:
        get_version(session, find_model(session, "default").id, 2).deleted_by = actor
    with read_session(engine) as session:
        assert get_version(session, find_model(session, "default").id, 2).deleted_by == actor


WRITTEN_BY_0013 = """
INSERT INTO tasks (id, model_id, state, spec, dataset, dataset_bytes, created_at, submitted_by,
    request_digest, fence, tries, warnings, cancel_requested, kind, sequence) VALUES
    ('2ccf943e-3427-467c-a8a9-3dd85cad8432', 1, 'queued', '{"name": "a"}', 'd', 1, '2026-01-01',
     'eva', 'r', 0, 0, '[]', false, 'step', 1001),
    ('2ccf943e-3427-467c-a8a9-3dd85cad8433', 1, 'queued', '{"name": "b"}', 'd', 1, '2026-01-01',
     '', 'r', 0, 0, '[]', false, 'step', 1002);
INSERT INTO alias_moves (model_id, alias, sequence, version_id, kind, moved_at, moved_by) VALUES
    (1, 'live', 11, 1, 'gate', '2026-01-01', 'gate'),
    (1, 'live', 12, 1, 'import', '2026-01-01', 'import'),
    (1, 'live', 13, 1, 'rollback', '2026-01-01', 'a caller without a key'),
    (1, 'live', 14, 1, 'import', '2026-01-01', 'eva');
INSERT INTO webhooks (id, url, events, salt, created_at, created_by) VALUES
    ('2ccf943e-3427-467c-a8a9-3dd85cad8434', 'u', '[]', 's', '2026-01-01', 'eva'),
    ('2ccf943e-3427-467c-a8a9-3dd85cad8435', 'u', '[]', 's', '2026-01-01',
     'a caller without a key')
"""


def test_rows_of_processes_that_know_names_alone_are_read_beside_others(client, engine, line, eva):
    with engine.execution_options(write=True).begin() as connection:
        for statement in WRITTEN_BY_0013.split(";"):
            connection.exec_driver_sql(statement)

    def told(path, name):
        answer = client.get(path, headers=eva)
        assert answer.status_code == 200, answer.text
        return [one[name] for one in answer.json()["items"]]

    assert told("/tasks", "submitted_by")[:2] == [KEYLESS, EVA]
    assert told("/tasks?view=summary", "submitted_by")[:2] == [KEYLESS, EVA]
    worker = {"type": "worker", "name": ""}
    assert told(f"{LIVE}/moves", "by")[:4] == [EVA, KEYLESS, KEYLESS, worker]
    assert told("/admin/webhooks", "made_by") == [EVA, KEYLESS]
    assert client.get(LIVE, headers=eva).json()["by"] == EVA
    (model,) = client.get("/admin/overview", headers=eva).json()["models"]
    assert model["live"]["by"] == EVA
