"""Every deed leaves an entry, in its own transaction, and no entry ever changes."""

import hashlib
import io
import json
import threading
from datetime import timedelta

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError

from app.audit.service import FIRST, Action, Wanted, first_broken, list_entries, record
from app.db import AuditEntry, Task, TaskState, Version, read_session, utc_now, write_session
from app.registry.memory import add_memory
from app.registry.moves import promote
from sats_core.job import MemoryRecord
from tests.app.imports.test_endpoint import PETS
from tests.app.imports.test_endpoint import post as post_import
from tests.app.tasks.posting import drawn, post
from tests.fixtures.checkpoints import checkpoint_zip
from tests.fixtures.versions import add_version

VERSIONS = "/admin/models/default/versions"


@pytest.fixture
def line(engine, blobs):
    """Two live versions."""
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
        add_version(session, blobs, ["dog"])


def entries(client, **wanted):
    answer = client.get("/admin/audit", params=wanted)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def newest(client):
    return entries(client)[0]


def told(entry):
    return {name: entry[name] for name in ("action", "model", "object", "before", "after")}


def test_promotions_and_roll_backs(client, line):
    client.post(f"{VERSIONS}/1:promote", headers={"Request-Id": "release-7"})
    found = newest(client)
    assert found["request_id"] == "release-7"
    assert told(found) == {
        "action": "version.promote",
        "model": "default",
        "object": f"{VERSIONS}/1",
        "before": {"live": 2},
        "after": {"live": 1, "kind": "promote"},
    }
    assert found["actor"] == {"type": "keyless", "name": ""}
    client.post(f"{VERSIONS}/1:rollback")
    assert told(newest(client)) == {
        "action": "version.rollback",
        "model": "default",
        "object": f"{VERSIONS}/1",
        "before": {"live": 1},
        "after": {"live": 2, "kind": "rollback"},
    }


def test_what_is_refused_leaves_no_entry(client, line):
    before = entries(client)
    assert client.post(f"{VERSIONS}/2:promote").status_code == 409
    assert client.post(f"{VERSIONS}/1:rollback").status_code == 409
    assert entries(client) == before


def test_task_actions(client, engine, tmp_path):
    task = post(client, drawn(tmp_path, "cat")).json()["id"]
    posted = newest(client)
    assert (posted["action"], posted["object"]) == ("task.post", f"/tasks/{task}")
    assert (posted["before"], posted["after"]) == (None, {"name": "base", "state": "queued"})
    with write_session(engine) as session:
        session.get_one(Task, task).state = TaskState.FAILED
    assert client.post(f"/tasks/{task}:retry").status_code == 202
    retried = newest(client)
    assert retried["action"] == "task.retry"
    assert (retried["before"]["state"], retried["after"]["state"]) == ("failed", "queued")
    client.post(f"/tasks/{task}:cancel")
    cancelled = newest(client)
    assert cancelled["action"] == "task.cancel"
    assert (cancelled["before"]["state"], cancelled["after"]["state"]) == ("queued", "cancelled")
    imported = post_import(client, checkpoint_zip(PETS)).json()["id"]
    assert newest(client)["action"] == "version.import"
    assert newest(client)["object"] == f"/tasks/{imported}"


def test_a_gate(client, line):
    for limit in (0.4, 0.5):
        client.put("/admin/models/default/gate", json={"min_iou": limit}).raise_for_status()
    later, first = client.get("/admin/audit?action=gate.set").json()["items"]
    assert (first["before"], first["after"]) == (None, {"min_iou": 0.4})
    assert (later["before"], later["after"]) == ({"min_iou": 0.4}, {"min_iou": 0.5})
    assert later["object"] == "/admin/models/default/gate"


def test_a_deletion(client, line, engine, blobs):
    blob = blobs.put(io.BytesIO(b"pictures"))
    with write_session(engine) as session:
        found = session.scalars(select(Version).where(Version.number == 2)).one()
        add_memory(
            session, found, MemoryRecord(pictures=3, classes={}), blob.key, blob.size, "blob store"
        )
    deleted = client.delete(f"{VERSIONS}/2/memory").json()["deleted_at"]
    entry = newest(client)
    assert (entry["action"], entry["object"]) == ("memory.delete", f"{VERSIONS}/2/memory")
    assert entry["before"] == {"pictures": 3, "deleted_at": None}
    assert entry["after"]["deleted_at"] == deleted
    client.delete(f"{VERSIONS}/2/memory")
    assert newest(client) == entry, "it was deleted already"


def test_keys_are_named_and_never_shown(client):
    made = client.post("/admin/keys", json={"name": "root", "scopes": ["admin"]}).json()
    client.headers["Authorization"] = f"Bearer {made['key']}"
    client.post("/admin/keys", json={"name": "app", "scopes": ["segment"], "models": ["street"]})
    client.delete("/admin/keys/2")
    revoked, created, first = entries(client)
    assert first["actor"] == {"type": "keyless", "name": ""}
    assert created["actor"] == revoked["actor"] == {"type": "key", "name": "root"}
    assert (created["action"], created["object"]) == ("key.create", "/admin/keys/2")
    assert created["after"]["models"] == ["street"]
    assert (revoked["action"], revoked["before"]["revoked_at"]) == ("key.revoke", None)
    assert made["key"] not in json.dumps(entries(client))


def test_a_deed_that_is_undone_leaves_no_entry(engine, line):
    with read_session(engine) as session:
        before = len(list_entries(session, Wanted(), 100))
    with write_session(engine) as session:
        promote(session, session.get_one(Version, 1).model, 1)
        session.rollback()
    with read_session(engine) as session:
        assert len(list_entries(session, Wanted(), 100)) == before


def test_sqlite_does_not_replace_an_entry(engine, line):
    if engine.dialect.name != "sqlite":
        pytest.skip("Postgres has no REPLACE")
    columns = ", ".join(column.name for column in AuditEntry.__table__.columns)
    statement = (
        f"INSERT OR REPLACE INTO audit_entries ({columns}) SELECT {columns} FROM audit_entries"
    )
    with pytest.raises(DBAPIError, match="only grows"), write_session(engine) as session:
        session.execute(text(statement))


def objects(engine):
    with read_session(engine) as session:
        assert first_broken(session) is None
        return session.scalars(select(AuditEntry.object).order_by(AuditEntry.id)).all()


def test_what_a_savepoint_undoes_leaves_no_entry(engine):
    with write_session(engine) as session:
        record(session, Action.TASK_POST, "/tasks/1")
        with session.begin_nested():
            record(session, Action.TASK_POST, "/tasks/2")
        with session.begin_nested() as undone:
            with session.begin_nested():
                record(session, Action.TASK_POST, "/tasks/3")
            undone.rollback()
        record(session, Action.TASK_POST, "/tasks/4")
    assert objects(engine) == ["/tasks/1", "/tasks/2", "/tasks/4"]


def test_a_session_writes_down_what_each_of_its_transactions_did(engine):
    with write_session(engine) as session:
        record(session, Action.TASK_POST, "/tasks/1")
        session.commit()
        record(session, Action.TASK_POST, "/tasks/2")
        session.rollback()
        record(session, Action.TASK_POST, "/tasks/3")
        session.close()
        record(session, Action.TASK_POST, "/tasks/4")
    assert objects(engine) == ["/tasks/1", "/tasks/4"]


def test_whoever_does_something_slow_after_it_holds_nobody_up(engine):
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    with write_session(engine) as slow:
        record(slow, Action.TASK_POST, "/tasks/slow")
        with write_session(engine) as session:
            record(session, Action.TASK_POST, "/tasks/quick")
    assert objects(engine) == ["/tasks/quick", "/tasks/slow"]


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_entries SET actor_name = 'eva'", "DELETE FROM audit_entries"],
)
def test_the_database_refuses_to_change_it(engine, line, statement):
    with pytest.raises(DBAPIError, match="only grows"), write_session(engine) as session:
        session.execute(text(statement))


def test_a_table_cannot_be_emptied(engine, line):
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no TRUNCATE")
    with pytest.raises(DBAPIError, match="only grows"), write_session(engine) as session:
        session.execute(text("TRUNCATE audit_entries"))


def test_pages_and_filters(client, engine):
    with write_session(engine) as session:
        for number in range(5):
            record(session, Action.TASK_POST, f"/tasks/{number}", model=f"m{number % 2}")
        record(session, Action.KEY_CREATE, "/admin/keys/1")
    first = client.get("/admin/audit", params={"limit": 4}).json()
    assert [e["object"] for e in first["items"]] == [
        "/admin/keys/1",
        "/tasks/4",
        "/tasks/3",
        "/tasks/2",
    ]
    rest = client.get("/admin/audit", params={"limit": 4, "cursor": first["next_cursor"]}).json()
    assert ([e["object"] for e in rest["items"]], rest["next_cursor"]) == (
        ["/tasks/1", "/tasks/0"],
        None,
    )
    assert len(entries(client, model="m1")) == 2
    assert len(entries(client, action="key.create")) == 1
    assert entries(client, actor="nobody") == []
    third = first["items"][3]["at"]
    assert len(entries(client, since=third)) == 4
    assert len(entries(client, until=third)) == 2
    assert entries(client, since=(utc_now() + timedelta(days=1)).isoformat()) == []


def test_what_an_action_was_called_is_found_by_its_name_of_today(client, engine):
    with write_session(engine) as session:
        record(session, "held-out.delete", "/admin/models/m/versions/1/held-out/2")
        record(session, Action.HELD_OUT_DELETE, "/admin/models/m/versions/1/held-out/3")
    found = entries(client, action="held_out.delete")
    assert [entry["action"] for entry in found] == ["held_out.delete", "held-out.delete"]


@pytest.mark.parametrize(
    "wanted",
    [{"action": "all"}, {"since": "0001-01-01T00:00:00+14:00"}, {"cursor": "0"}, {"format": "csv"}],
)
def test_a_wrong_filter_is_refused(client, wanted):
    assert client.get("/admin/audit", params=wanted).status_code == 422


@pytest.mark.parametrize(
    "how", [{"params": {"format": "jsonl"}}, {"headers": {"Accept": "application/jsonl"}}]
)
def test_the_export_is_whole_and_can_be_checked_by_hand(client, engine, monkeypatch, how):
    monkeypatch.setattr("app.audit.service.BATCH", 3)
    with write_session(engine) as session:
        for number in range(8):
            record(session, Action.TASK_POST, f"/tasks/{number}", after={"name": "é", "n": number})
    answer = client.get("/admin/audit", **how)
    assert answer.headers["content-type"].startswith("application/jsonl")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["object"] for line in lines] == [f"/tasks/{number}" for number in range(8)]
    previous = FIRST
    for line in lines:
        stated = {name: value for name, value in line.items() if name not in ("id", "hash")}
        said = json.dumps(stated, sort_keys=True, separators=(",", ":"))
        assert line["previous"] == previous
        assert line["hash"] == hashlib.sha256(said.encode()).hexdigest()
        previous = line["hash"]
    assert len(client.get("/admin/audit", params={"format": "jsonl", "actor": "x"}).text) == 0


def without_triggers(engine, statement):
    """Change the log as somebody would who owns the database."""
    with write_session(engine) as session:
        if engine.dialect.name == "postgresql":
            session.execute(text("ALTER TABLE audit_entries DISABLE TRIGGER USER"))
        else:
            session.execute(text("DROP TRIGGER audit_entries_no_UPDATE"))
            session.execute(text("DROP TRIGGER audit_entries_no_DELETE"))
        session.execute(text(statement))


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE audit_entries SET actor_name = 'eva' WHERE object = '/tasks/1'", 2),
        ("DELETE FROM audit_entries WHERE object = '/tasks/1'", 3),
    ],
)
def test_a_change_behind_the_triggers_breaks_the_chain(engine, statement, broken):
    with write_session(engine) as session:
        for number in range(4):
            record(session, Action.TASK_POST, f"/tasks/{number}")
    with read_session(engine) as session:
        assert first_broken(session) is None
    without_triggers(engine, statement)
    with read_session(engine) as session:
        assert first_broken(session) == broken


def test_deeds_of_one_moment_make_one_chain(engine):
    """Whoever comes second waits for the first to commit, and names its entry."""
    locked, asked = threading.Event(), threading.Event()

    @event.listens_for(engine, "before_cursor_execute")
    def _asking(*_args):
        if threading.current_thread() is other:
            asked.set()

    def second():
        locked.wait(30)
        with write_session(engine) as session:
            record(session, Action.TASK_POST, "/tasks/second")

    other = threading.Thread(target=second)
    with write_session(engine) as session:

        @event.listens_for(session, "before_commit")
        def _wait(_session):
            locked.set()
            if engine.dialect.name == "postgresql":  # in SQLite it waits before it asks anything
                assert asked.wait(30)

        record(session, Action.TASK_POST, "/tasks/first")
        other.start()
    other.join(30)
    with read_session(engine) as session:
        assert first_broken(session) is None
        found = session.scalars(select(AuditEntry.object).order_by(AuditEntry.id)).all()
    assert found == ["/tasks/first", "/tasks/second"]
