from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event, inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from structlog.testing import capture_logs

from app.audit.actor import act_as
from app.audit.service import Action, record
from app.db import (
    Actor,
    ActorType,
    AliasMove,
    ApiKey,
    Base,
    HeldOutSet,
    LargeUpload,
    Memory,
    Model,
    Task,
    TaskEvent,
    Turn,
    Version,
    Webhook,
    Worker,
    filling,
    migrate,
    read_session,
    utc_now,
    write_session,
)
from app.db.migrate import is_current, migration_config, upgrade
from app.tasks.listing import Wanted, list_tasks


@pytest.fixture
def at(engine: Engine) -> Callable[..., None]:
    """Takes the database back to a revision and writes rows there."""

    def back(revision: str, rows: str = "") -> None:
        config = migration_config()
        with engine.execution_options(write=True).begin() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, revision)
            for statement in filter(str.strip, rows.split(";")):
                connection.exec_driver_sql(statement)

    return back


def test_migrations_and_tables_agree(engine):
    config = migration_config()
    with engine.execution_options(write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.check(config)


def test_the_newest_revision_is_read_off_the_names_of_the_files():
    script = ScriptDirectory.from_config(migration_config())
    assert migrate._newest() == script.get_current_head()
    assert all(
        Path(one.path).name.startswith(f"{one.revision}_") for one in script.walk_revisions()
    )


def test_upgrade_from_empty_and_back(engine, at):
    at("base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    assert not is_current(engine)
    upgrade(engine)
    assert is_current(engine)
    assert set(inspect(engine).get_table_names()) == {*Base.metadata.tables, "alembic_version"}


def test_upgrade_twice_changes_nothing(engine):
    with engine.execution_options(write=True).begin() as connection:
        connection.execute(
            text("INSERT INTO models (name, created_at) VALUES ('kept', '2026-01-01')")
        )
    upgrade(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT name FROM models")) == "kept"


ROWS_OF_0002 = """
INSERT INTO models (id, name, created_at) VALUES (1, 'default', '2026-01-01');
INSERT INTO tasks (id, model_id, state, spec, dataset, dataset_bytes, created_at, submitted_by,
    request_digest, fence, tries, warnings, parent_id)
    VALUES ('t1', 1, 'live', '{"name": "a"}', 'd', 1, '2026-01-01', '', 'r', 2, 1, '[]', NULL);
INSERT INTO versions (id, model_id, number, parent_id, task_id, created_at, classes, new_classes,
    settings, backbone_start, scores, gate, files, seconds)
    VALUES (1, 1, 1, NULL, 't1', '2026-01-01', '[]', '[]', '{}', 'scratch', '{}',
    '{"passed": true}', '{}', 1.5);
UPDATE tasks SET version_id = 1 WHERE id = 't1';
INSERT INTO tasks (id, model_id, state, spec, dataset, dataset_bytes, created_at, submitted_by,
    request_digest, fence, tries, warnings, parent_id)
    VALUES ('t2', 1, 'training', '{"name": "b"}', 'd', 1, '2026-01-02', '', 'r', 1, 1, '[]', 1);
"""


def test_rows_written_before_imports_survive_and_go_back(engine, at):
    at("0002", ROWS_OF_0002)
    upgrade(engine)
    with read_session(engine) as session:
        first, second = session.scalars(select(Task).order_by(Task.id))
        version = session.get_one(Version, 1)
        assert version.confusion is None
    assert (first.kind, first.evaluation, first.may_be_base) == ("step", None, True)
    assert (second.parent_id, second.live_id) == (1, 1)
    assert (version.gate, version.origin) == ({"passed": True}, None)
    with write_session(engine) as session:
        imported = session.get_one(Version, 1)
        imported.gate, imported.origin = None, {"source": "mit-b0"}
        imported.confusion = {"pictures": 1}
    at("0002")
    with engine.connect() as connection:
        gate = connection.scalar(text("SELECT gate FROM versions"))
        assert "imported" in str(gate)
        assert connection.scalar(text("SELECT count(*) FROM tasks")) == 2
    upgrade(engine)
    assert is_current(engine)


ROWS_OF_0003 = """
INSERT INTO models (id, name, created_at) VALUES (1, 'default', '2026-01-01');
INSERT INTO tasks (id, model_id, state, spec, dataset, dataset_bytes, created_at, submitted_by,
    request_digest, fence, tries, warnings)
    VALUES ('t1', 1, 'queued', '{"name": "a"}', 'd', 1, '2026-01-01', '', 'r', 0, 0, '[]');
"""


def test_tasks_written_before_previews_are_none_and_previews_go_back(engine, at):
    at("0003", ROWS_OF_0003)
    upgrade(engine)
    with write_session(engine) as session:
        task = session.get_one(Task, "t1")
        assert task.preview_of is None
        session.add(preview_of(task))
    with pytest.raises(IntegrityError), write_session(engine) as session:
        session.add(preview_of(task))
    with pytest.raises(IntegrityError), write_session(engine) as session:
        session.add(preview_of(task, "nobody"))
    at("0003")
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM tasks")) == 2
    upgrade(engine)
    assert is_current(engine)


def preview_of(task: Task, task_id: str | None = None) -> Task:
    return Task(
        model_id=task.model_id,
        spec={"name": "a"},
        dataset="d",
        dataset_bytes=1,
        request_digest="r",
        preview_of=task_id or task.id,
    )


UNDER_WAY = """
INSERT INTO models (id, name, created_at) VALUES (1, 'held', '2026-01-01');
INSERT INTO models (id, name, created_at) VALUES (2, 'new', '2026-01-01');
INSERT INTO tasks (id, model_id, state, spec, dataset, dataset_bytes, created_at, submitted_by,
    request_digest, fence, tries, warnings, cancel_requested) VALUES
    ('a1', 1, 'held', '{}', 'd', 1, '2026-01-01', '', 'r', 2, 1, '[]', false),
    ('a2', 1, 'queued', '{}', 'd', 1, '2026-01-02', '', 'r', 0, 0, '[]', false),
    ('b1', 2, 'failed', '{}', 'd', 1, '2026-01-01', '', 'r', 2, 1, '[]', false),
    ('b2', 2, 'training', '{}', 'd', 1, '2026-01-02', '', 'r', 1, 1, '[]', true),
    ('b3', 2, 'queued', '{}', 'd', 1, '2026-01-03', '', 'r', 0, 0, '[]', false),
    ('b4', 2, 'queued', '{}', 'd', 1, '2026-01-03', '', 'r', 0, 0, '[]', false);
INSERT INTO versions (id, model_id, number, parent_id, task_id, created_at, classes, new_classes,
    settings, backbone_start, scores, gate, files, seconds)
    VALUES (1, 1, 1, NULL, 'a1', '2026-01-01', '[]', '[]', '{}', 'scratch', '{}',
    '{"passed": false}', '{}', 1.5);
"""


@pytest.mark.parametrize("revision", ["0002", "0003"])
def test_tasks_that_wait_at_the_upgrade_start_from_scratch_only_as_the_first(engine, at, revision):
    at(revision, UNDER_WAY)
    upgrade(engine)
    with read_session(engine) as session:
        may = {task.id: task.may_be_base for task in session.scalars(select(Task))}
    assert may["a2"] is False, "its model has a version"
    assert may["b2"] is True, "the task before it has ended without one"
    assert may["b3"] is True, "the one before it is being cancelled"
    assert may["b4"] is False, "it was posted behind one that may still make a version"


FAILED_IN_0003 = """
INSERT INTO models (id, name, created_at) VALUES (1, 'default', '2026-01-01');
INSERT INTO tasks (id, model_id, state, spec, dataset, dataset_bytes, created_at, finished_at,
    submitted_by, request_digest, fence, tries, warnings, cancel_requested) VALUES
    ('t1', 1, 'failed', '{}', 'd', 1, '2026-01-01', '2026-01-02', '', 'r', 2, 1, '[]', false),
    ('t2', 1, 'queued', '{}', 'd', 1, '2026-01-01', NULL, '', 'r', 0, 0, '[]', false);
"""


def test_tasks_that_failed_before_their_files_were_kept_say_that_they_are_gone(engine, at):
    at("0003", FAILED_IN_0003)
    upgrade(engine)
    with read_session(engine) as session:
        first, second = session.scalars(select(Task).order_by(Task.id))
    assert first.tidied_at == first.finished_at is not None
    assert second.tidied_at is None


KEYS_IN_0005 = """
INSERT INTO models (id, name, created_at) VALUES (1, 'default', '2026-01-01');
INSERT INTO api_keys (id, name, digest, scopes, created_at) VALUES
    (7, 'eva', 'd', '["submit"]', '2026-01-01');
INSERT INTO tasks (id, model_id, state, spec, dataset, dataset_bytes, created_at, submitted_by,
    request_digest, fence, tries, warnings) VALUES
    ('t1', 1, 'queued', '{}', 'd', 1, '2026-01-01', 'eva', 'r', 0, 0, '[]'),
    ('t2', 1, 'queued', '{}', 'd', 1, '2026-01-01', '', 'r', 0, 0, '[]');
"""


def test_tasks_posted_before_they_knew_their_key_find_it_by_its_name(engine):
    config = migration_config()
    with engine.execution_options(write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0005")
        for statement in filter(str.strip, KEYS_IN_0005.split(";")):
            connection.exec_driver_sql(statement)
    upgrade(engine)
    with read_session(engine) as session:
        owners = {task.id: task.key_id for task in session.scalars(select(Task))}
        key = session.get_one(ApiKey, 7)
    assert owners == {"t1": 7, "t2": None}
    assert (key.models, key.expires_at, key.stored_bytes) == (None, None, None)


def test_keys_that_had_rules_are_revoked_where_the_rules_go(engine, at):
    rules = {
        "free": {},
        "all models": {"models": []},
        "bound": {"models": ["rooms"]},
        "expired": {"expires_at": utc_now()},
        "limited": {"stored_bytes": 1},
    }
    with write_session(engine) as session:
        for name, rule in rules.items():
            session.add(ApiKey(name=name, digest=name, scopes=["submit"], **rule))
    at("0007")
    upgrade(engine)
    with read_session(engine) as session:
        working = session.scalars(select(ApiKey.name).where(ApiKey.revoked_at.is_(None)))
        assert set(working) == {"free", "all models"}


def test_the_audit_log_goes_back_with_entries_in_it(engine):
    with write_session(engine) as session:
        record(session, Action.TASK_POST, "/tasks/1")
    config = migration_config()
    with engine.execution_options(write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0005")
    upgrade(engine)
    with write_session(engine) as session:
        record(session, Action.TASK_POST, "/tasks/1")
    with pytest.raises(DBAPIError, match="only grows"), write_session(engine) as session:
        session.execute(text("DELETE FROM audit_entries"))


POSTED_IN_0005 = """
INSERT INTO models (id, name, created_at) VALUES (1, 'default', '2026-01-01');
INSERT INTO tasks (id, model_id, state, spec, dataset, dataset_bytes, created_at, submitted_by,
    request_digest, fence, tries, warnings) VALUES
    ('b', 1, 'live', '{}', 'd', 1, '2026-01-03', '', 'r', 2, 1, '[]'),
    ('c', 1, 'queued', '{}', 'd', 1, '2026-01-02', '', 'r', 0, 0, '[]'),
    ('a', 1, 'queued', '{}', 'd', 1, '2026-01-03', '', 'r', 0, 0, '[]');
"""

POSTED_BY_THE_VERSION_BEFORE = """
INSERT INTO tasks (id, model_id, state, spec, dataset, dataset_bytes, created_at, submitted_by,
    request_digest, fence, tries, warnings)
    VALUES ('e', 1, 'queued', '{}', 'd', 1, '2026-01-01', '', 'r', 0, 0, '[]')
"""


def test_tasks_keep_the_order_that_they_had_and_new_ones_come_behind(engine, at):
    at("0005", POSTED_IN_0005)
    upgrade(engine)
    with write_session(engine) as session:
        first = session.scalars(select(Task).order_by(Task.id)).first()
        new = preview_of(first)
        session.add_all([new, preview_of(new, "c")])
    in_order = select(Task.id).order_by(Task.sequence)
    with read_session(engine) as session:
        posted = session.scalars(in_order).all()
    assert posted[:4] == ["c", "a", "b", new.id]
    assert len(posted) == 5
    if engine.dialect.name == "postgresql":  # SQLite's one machine has one version
        with engine.begin() as connection:
            connection.exec_driver_sql(POSTED_BY_THE_VERSION_BEFORE)
            assert connection.scalars(in_order).all() == [*posted, "e"]
    at("0005")
    upgrade(engine)
    assert is_current(engine)


EVENTS_OF_0012 = """
INSERT INTO models (id, name, created_at) VALUES (1, 'default', '2026-01-01');
INSERT INTO tasks (id, model_id, state, spec, dataset, dataset_bytes, created_at, submitted_by,
    request_digest, fence, tries, warnings)
    VALUES ('t', 1, 'queued', '{}', 'd', 1, '2026-01-02', '', 'r', 0, 0, '[]');
INSERT INTO task_events (id, task_id, at, kind, data) VALUES
    (1, 't', '2026-01-02', 'state', '{"state": "queued"}'),
    (7, 't', '2026-01-03', 'warning', '{}');
"""


def test_numbers_of_events_are_given_once_and_events_stay(engine, at):
    at("0012", EVENTS_OF_0012)
    upgrade(engine)
    with engine.execution_options(write=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT setval('task_events_id_seq', 7)")
        events = connection.exec_driver_sql("SELECT id, task_id, kind FROM task_events ORDER BY id")
        assert [tuple(row) for row in events] == [(1, "t", "state"), (7, "t", "warning")]
        connection.exec_driver_sql("DELETE FROM task_events WHERE id = 7")
    with write_session(engine) as session:
        session.add(TaskEvent(task_id="t", kind="warning", data={}))
    with read_session(engine) as session:
        assert session.scalars(select(TaskEvent.id).order_by(TaskEvent.id)).all() == [1, 8]
    names = {index["name"] for index in inspect(engine).get_indexes("task_events")}
    assert names == {"ix_task_events_task_id", "ix_task_events_task_id_kind_id"}
    at("0012")
    upgrade(engine)
    assert is_current(engine)


NAMED_IN_0013 = """
INSERT INTO models (id, name, created_at) VALUES
    (1, 'default', '2026-01-01'), (2, '007', '2026-01-01');
INSERT INTO api_keys (id, name, digest, scopes, created_at) VALUES
    (7, 'eva', 'd', '["admin"]', '2026-01-01'), (8, 'phone', 'e', '["segment"]', '2026-01-01');
INSERT INTO tasks (id, model_id, state, spec, dataset, dataset_bytes, created_at, submitted_by,
    request_digest, fence, tries, warnings, cancel_requested, kind, sequence) VALUES
    ('t1', 1, 'live', '{}', 'd', 1, '2026-01-01', 'eva', 'r', 0, 0, '[]', false, 'step', 1),
    ('t2', 1, 'cancelled', '{}', 'd', 1, '2026-01-01', '', 'r', 0, 0, '[]', true, 'step', 2),
    ('t3', 1, 'live', '{}', 'd', 1, '2026-01-01', '', 'r', 0, 0, '[]', false, 'import', 3);
INSERT INTO versions (id, model_id, number, parent_id, task_id, created_at, classes, new_classes,
    settings, backbone_start, scores, gate, files, seconds, deleted_at) VALUES
    (1, 1, 1, NULL, 't1', '2026-01-01', '[]', '[]', '{}', 's', '{}', '{}', '{}', 1, '2026-01-02'),
    (2, 1, 2, NULL, 't3', '2026-01-01', '[]', '[]', '{}', 's', '{}', '{}', '{}', 1, NULL);
INSERT INTO memories (id, version_id, blob, bytes, place, pictures, classes, deleted_at) VALUES
    (1, 1, 'b', 1, 'blob store', 1, '{}', '2026-01-02');
INSERT INTO held_out_sets (id, version_id, blob, classes, pictures, deleted_at) VALUES
    (1, 1, 'b', '[]', 1, '2026-01-02'), (2, 2, 'b', '[]', 1, '2026-01-02');
INSERT INTO alias_moves (id, model_id, alias, sequence, version_id, kind, moved_at, moved_by) VALUES
    (1, 1, 'live', 1, 1, 'gate', '2026-01-01', 'gate'),
    (2, 1, 'live', 2, 2, 'import', '2026-01-01', 'import'),
    (3, 1, 'live', 3, 1, 'promote', '2026-01-01', 'eva'),
    (4, 1, 'live', 4, 2, 'rollback', '2026-01-01', 'a caller without a key');
INSERT INTO webhooks (id, url, events, salt, created_at, created_by) VALUES
    ('w1', 'u', '[]', 's', '2026-01-01', 'eva'),
    ('w2', 'u', '[]', 's', '2026-01-01', 'a caller without a key');
"""
DEEDS = (
    (Action.KEY_CREATE, "/admin/keys/8", Actor(ActorType.CLI, "root")),
    (Action.KEY_REVOKE, "/admin/keys/8", Actor(ActorType.KEY, "eva")),
    (Action.TASK_CANCEL, "/tasks/t2", Actor(ActorType.KEYLESS)),
    (Action.IMPORT, "/tasks/t3", Actor(ActorType.CLI, "root")),
    (Action.GATE_SET, "/admin/models/default/gate", Actor(ActorType.KEY, "eva")),
    (Action.GATE_SET, "/admin/models/007/gate", Actor(ActorType.CLI, "root")),
    (
        Action.MEMORY_DELETE,
        "/admin/models/default/versions/1/memory",
        Actor(ActorType.WORKER, "retention"),
    ),
    (Action.VERSION_DELETE, "/admin/models/default/versions/1", Actor(ActorType.KEY, "eva")),
    # Of what was gone already another deed is none.
    (Action.VERSION_DELETE, "/admin/models/default/versions/1", Actor(ActorType.CLI)),
    (Action.HELD_OUT_DELETE, "/admin/models/default/versions/1/held-out", Actor(ActorType.CLI)),
    (
        Action.HELD_OUT_DELETE,
        "/admin/models/default/versions/2/held-out",
        Actor(ActorType.WORKER, "retention"),
    ),
    (Action.TASK_POST, "/tasks/t1", Actor(ActorType.CLI, "nobody asks for these")),
)


def test_who_did_something_is_kept_and_what_the_audit_log_knows_is_added(engine, at):
    at("0013", NAMED_IN_0013)
    for action, path, actor in DEEDS:
        with write_session(engine) as session:
            act_as(session, actor)
            record(session, action, path)
    upgrade(engine)
    eva, root = Actor(ActorType.KEY, "eva"), Actor(ActorType.CLI, "root")
    keyless, worker = Actor(ActorType.KEYLESS), Actor(ActorType.WORKER)
    with read_session(engine) as session:

        def column(column, order):
            return list(session.scalars(select(column).order_by(order)))

        assert column(Task.submitter, Task.id) == [eva, keyless, root]
        assert column(Task.cancelled_by, Task.id) == [None, keyless, None]
        assert column(AliasMove.actor, AliasMove.id) == [worker, root, eva, keyless]
        assert column(Webhook.made_by, Webhook.id) == [eva, keyless]
        assert column(ApiKey.made_by, ApiKey.id) == [None, root]
        assert column(ApiKey.revoked_by, ApiKey.id) == [None, eva]
        assert column(Version.deleted_by, Version.id) == [eva, None]
        retention = Actor(ActorType.WORKER, "retention")
        assert column(HeldOutSet.deleted_by, HeldOutSet.id) == [eva, retention]
        assert column(Memory.deleted_by, Memory.id) == [retention]
        assert column(Model.gate_changed_by, Model.id) == [eva, root]
        assert None not in column(Model.gate_changed_at, Model.id)


def test_processes_that_know_names_alone_find_what_newer_ones_write(engine, at):
    at("0013", NAMED_IN_0013)
    before = columns_of(engine)
    upgrade(engine)
    now = columns_of(engine)
    assert not [name for name in before if not before[name].items() <= now[name].items()]
    actors = [Actor(ActorType.KEY, "eva"), Actor(ActorType.CLI, "u" * 200)]
    with write_session(engine) as session:
        for number, actor in enumerate(actors):
            move = AliasMove(model_id=1, sequence=5 + number, version_id=1, kind="promote")
            move.id, move.actor = 5 + number, actor
            hook = Webhook(id=f"w{3 + number}", url="u", events=[], salt="s", made_by=actor)
            session.add_all([move, hook])

    def names():
        with engine.connect() as connection:
            moves = text("SELECT moved_by FROM alias_moves ORDER BY id")
            hooks = text("SELECT created_by FROM webhooks ORDER BY id")
            return [connection.scalars(one).all() for one in (moves, hooks)]

    moved, made = names()
    assert moved == ["gate", "import", "eva", "a caller without a key", "eva", ""]
    assert made == ["eva", "a caller without a key", "eva", ""]
    at("0013")
    assert names() == [moved, made]
    upgrade(engine)
    with read_session(engine) as session:
        keyless = Actor(ActorType.KEYLESS)
        assert session.get_one(Webhook, "w4").made_by == keyless
        assert session.get_one(AliasMove, 6).actor == keyless


def test_workers_and_turns_come_and_go_beside_tables_that_stay_as_they_are(engine, at):
    at("0017", ROWS_OF_0017)
    before = columns_of(engine)
    upgrade(engine)
    now = columns_of(engine)
    assert not [name for name in before if not before[name].items() <= now[name].items()]
    with write_session(engine) as session:
        session.add(Turn(owner=0, pool="cpu 1", number=1))
        for _ in range(2):
            session.add(Worker(**WORKER))
        session.flush()
        session.execute(text("DELETE FROM workers WHERE id = 2"))
        session.add(Worker(**WORKER))
    with read_session(engine) as session:
        assert list(session.scalars(select(Worker.id).order_by(Worker.id))) == [1, 3]
        assert session.scalars(select(Task.id)).all() == ["t"]
    at("0017")
    assert columns_of(engine) == before
    upgrade(engine)
    assert is_current(engine)


def test_large_uploads_come_and_go_beside_tables_that_stay_as_they_are(engine, at):
    at("0019", ROWS_OF_0017)
    before = columns_of(engine)
    upgrade(engine)
    now = columns_of(engine)
    assert not [name for name in before if not before[name].items() <= now[name].items()]
    with write_session(engine) as session:
        session.add(LargeUpload(name="a.zip", bytes=2**40, part_bytes=1, expires_at=utc_now()))
    with read_session(engine) as session:
        row = session.scalars(select(LargeUpload)).one()
        assert (row.state, row.bytes, row.fence) == ("open", 2**40, 0)
    at("0019")
    assert columns_of(engine) == before
    upgrade(engine)
    assert is_current(engine)


POSTED = """
INSERT INTO tasks (id, sequence, model_id, state, spec, dataset, dataset_bytes, created_at,
    submitted_by, request_digest, fence, tries, warnings)
    VALUES ('{}', {}, 1, 'queued', '{}', 'd', 1, '2026-01-02', '', 'r', 0, 0, '[]')
"""
MODEL = "INSERT INTO models (id, name, created_at) VALUES (1, 'default', '2026-01-01');"


def test_tasks_are_found_by_names_that_processes_before_wrote_into_the_spec_alone(engine, at):
    rows = [POSTED.format("a", 101, '{"name": "Sheep"}'), POSTED.format("b", 102, "{}")]
    at("0022", MODEL + ";".join(rows))
    upgrade(engine)
    with engine.execution_options(write=True).begin() as connection:
        connection.exec_driver_sql(POSTED.format("c", 103, '{"name": "a sheep, shorn"}'))
    with write_session(engine) as session:
        made = preview_of(session.get_one(Task, "a"))
        session.add(made)
    with read_session(engine) as session:
        names = {task.id: (task.name, task.called) for task in session.scalars(select(Task))}
        found = list_tasks(session, 9, Wanted(text="SHEEP"))
        assert [task.id for task in found] == ["c", "a"]
    assert names == {
        "a": ("Sheep", "Sheep"),
        "b": (None, ""),
        "c": (None, "a sheep, shorn"),
        made.id: ("a", "a"),
    }
    at("0022")
    assert "name" not in columns_of(engine)["tasks"]
    upgrade(engine)
    assert is_current(engine)


def test_names_of_tasks_are_filled_a_few_at_a_time(engine, at):
    """So that nobody waits for a lock on the table, or on a row, as long as all of them take."""
    rows = [POSTED.format(one, 101 + one, f'{{"name": "n{one}"}}') for one in range(5)]
    at("0022", MODEL + ";".join([*rows, POSTED.format("none", 200, "{}")]))
    with engine.execution_options(write=True).begin() as connection:
        config = migration_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        written = "SELECT count(name) FROM tasks"
        assert connection.scalar(text(written)) == 0, "the migration itself writes no row"
    after = []

    def count(connection):
        after.append(connection.scalar(text(written)))

    event.listen(engine, "commit", count)
    try:
        assert filling.fill_names(engine, rows=2) == 5
    finally:
        event.remove(engine, "commit", count)
    assert after == [2, 4, 5, 5]
    assert filling.fill_names(engine, rows=2) == 0
    with read_session(engine) as session:
        names = {task.id: task.name for task in session.scalars(select(Task))}
    assert names == {str(one): f"n{one}" for one in range(5)} | {"none": None}


def test_names_that_cannot_be_filled_keep_no_service_from_starting(engine, at, monkeypatch):
    at("0022", MODEL + POSTED.format("1", 101, '{"name": "n"}'))

    def stuck(_engine):
        raise OperationalError("UPDATE tasks", {}, Exception("canceling statement"))

    monkeypatch.setattr(migrate, "fill_names", stuck)
    with capture_logs() as logs:
        upgrade(engine)
    assert is_current(engine)
    (warned,) = [line for line in logs if line["event"] == "names_not_filled"]
    assert warned["log_level"] == "warning"
    assert "canceling statement" in warned["error"]
    with read_session(engine) as session:
        assert session.get(Task, "1").called == "n"


def test_a_task_that_somebody_holds_is_left_out(engine, at):
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite locks no row")
    at("0022", MODEL + ";".join(POSTED.format(one, 101 + one, '{"name": "n"}') for one in range(3)))
    upgrade(engine)
    with engine.execution_options(write=True).begin() as connection:
        connection.execute(text("UPDATE tasks SET name = NULL"))
    with engine.connect() as holding:
        holding.execute(text("SELECT id FROM tasks WHERE id = '1' FOR UPDATE"))
        assert filling.fill_names(engine) == 2
    with read_session(engine) as session:
        names = {task.id: (task.name, task.called) for task in session.scalars(select(Task))}
        assert len(list_tasks(session, 9, Wanted(text="n"))) == 3
    assert names == {"0": ("n", "n"), "1": (None, "n"), "2": ("n", "n")}


def test_keys_with_a_limit_of_requests_under_way_are_revoked_where_it_goes(engine, at):
    with write_session(engine) as session:
        for name, limit in (("free", None), ("limited", 2)):
            key = ApiKey(name=name, digest=name, scopes=["submit"], concurrent_requests=limit)
            session.add(key)
    at("0023")
    assert "concurrent_requests" not in columns_of(engine)["api_keys"]
    upgrade(engine)
    with read_session(engine) as session:
        working = session.scalars(select(ApiKey.name).where(ApiKey.revoked_at.is_(None)))
        assert set(working) == {"free"}


ROWS_OF_0017 = """
INSERT INTO models (id, name, created_at) VALUES (1, 'default', '2026-01-01');
INSERT INTO tasks (id, model_id, state, spec, dataset, dataset_bytes, created_at, submitted_by,
    request_digest, fence, tries, warnings)
    VALUES ('t', 1, 'queued', '{}', 'd', 1, '2026-01-02', '', 'r', 0, 0, '[]');
"""
WORKER = {
    "name": "host:1",
    "host": "host",
    "pid": 1,
    "version": "1",
    "device": "cpu",
    "device_name": "a",
    "devices": 1,
    "memory_mib": 5_000_000,
    "alive_until": 0.0,
}


def columns_of(engine):
    """Whether each column may be empty, by tables and columns."""
    found = inspect(engine)
    return {
        table: {column["name"]: column["nullable"] for column in found.get_columns(table)}
        for table in found.get_table_names()
    }
