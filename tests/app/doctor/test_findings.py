"""Every invariant, broken on purpose on a real service's data, is found and mended where it can."""

import errno
import io
import json
import os
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from app.audit.service import Action, Wanted, first_broken, list_entries
from app.broker import broker_folder, make_celery, wake
from app.db import Actor, ActorType, Place
from app.doctor import examination, work
from app.doctor.examination import CHECKS, examine, repair
from app.doctor.finding import Installation
from app.storage import BlobStoreDownError, LocalBlobStore
from tests.app.storage.test_local import UNREADABLE

ROOT = Path(__file__).parents[3]
LATEST = "(SELECT max(id) FROM versions)"
BATCH = "(SELECT id FROM tasks WHERE spec LIKE '%\"bat\"%')"
FAILED = "(SELECT id FROM tasks WHERE state = 'failed')"
ANOTHER = "FROM versions WHERE number <> id AND task_id IS NOT NULL ORDER BY id LIMIT 1"
FIRST = "(SELECT task_id FROM versions WHERE id = 1)"
OTHER = "(SELECT task_id FROM versions WHERE model_id = 2)"


def an_end_without_its_time(data):
    data.sql(f"UPDATE tasks SET finished_at = NULL WHERE id = {FAILED}")


def a_worker_that_holds_two(data):
    until = time.time() + 60
    data.sql(
        f"UPDATE tasks SET state = 'training', worker = 'w', lease_until = {until} "
        f"WHERE id IN ({BATCH}, {OTHER})"
    )


def a_mirror_that_is_behind(data):
    mirrors = data.settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:5000"})
    data.installation = Installation.of(data.engine, mirrors)
    said = {"since": "2026-01-01T00:00:00Z", "behind": ["no answer"]}
    data.settings.mlflow_file.write_text(json.dumps(said))


def half_a_database(data):
    """An index that holds another one's rows."""
    data.sql(
        "PRAGMA writable_schema=ON",
        "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE "
        "name = 'ix_task_events_task_id') WHERE name = 'uq_tasks_running_model_id'",
    )
    data.engine.dispose()


def damage(data, query, how):
    path = data.blobs.path(data.one(query))
    if how == "damaged":
        path.write_bytes(b"rot")
    else:
        path.unlink()


def a_sector_that_is_bad(data):
    path = data.blobs.path(data.one("SELECT blob FROM held_out_sets WHERE id = 1"))
    path.unlink()
    path.symlink_to(UNREADABLE)


class OfAnotherUser(LocalBlobStore):
    """A store with files that whoever looks may not read; an administrator may read all."""

    def check(self, _key):
        raise BlobStoreDownError(errno.EACCES, os.strerror(errno.EACCES))


def blobs_of_another_user(data):
    stores = {Place.BLOB_STORE: OfAnotherUser(data.settings.blob_dir)}
    data.installation = replace(data.installation, stores=stores)


def what_the_mirror_wrote_by_half(data):
    a_mirror_that_is_behind(data)
    data.settings.mlflow_file.write_text('{"since"')


def old(path):
    os.utime(path, (1.0, 1.0))
    return path


def an_orphan(data):
    old(data.blobs.path(data.blobs.put(io.BytesIO(b"left")).key))


def a_write_that_never_ended(data):
    half = data.settings.blob_dir / "incoming" / "tmpabc"
    half.write_bytes(b"half")
    old(half)


def another_store(data):
    for entry in list(data.blobs.entries()):
        data.blobs.delete(entry.name)
    data.sql("DELETE FROM tasks WHERE state IN ('queued', 'failed')")
    an_orphan(data)


def a_work_folder(task):
    def leave(data):
        folder = data.settings.work_dir / (data.one(f"SELECT id FROM tasks WHERE id = {task}"))
        folder.mkdir(exist_ok=True)
        data.sql(f"UPDATE tasks SET finished_at = '2020-01-01 00:00:00.000000' WHERE id = {task}")

    return leave


def a_work_folder_of_nobody(data):
    folder = data.settings.work_dir / str(uuid4())
    folder.mkdir()
    old(folder)


def leave_message(data, name, content):
    make_celery(data.settings).close()
    path = broker_folder(data.settings) / name
    path.write_text(content)
    old(path)


def a_stale_message(data):
    celery = make_celery(data.settings)
    wake(celery, data.one(f"SELECT id FROM tasks WHERE id = {FIRST}"))
    wake(celery, data.one(f"SELECT id FROM tasks WHERE id = {BATCH}"))
    celery.close()
    for path in (broker_folder(data.settings) / "messages").iterdir():
        old(path)


def a_temporary(data):
    left = data.folder / "tmp" / "tmpxyz"
    left.mkdir(parents=True)
    (left / "part").write_text("left")
    for path in (left / "part", left):
        old(path)


def a_number_that_two_have(data):
    """What a lost index would let through."""
    sql = data.one("SELECT sql FROM sqlite_master WHERE name = 'versions'")
    free = re.sub(r"CONSTRAINT uq_versions_model_id_number UNIQUE \(model_id, number\),?", "", sql)
    free = re.sub(r",\s*\)$", ")", free)
    data.sql(
        "ALTER TABLE versions RENAME TO before",
        free,
        "INSERT INTO versions SELECT * FROM before",
        "DROP TABLE before",
        f"UPDATE versions SET number = 1, parent_id = NULL WHERE id = {LATEST}",
        f"UPDATE tasks SET parent_id = NULL, live_id = NULL WHERE version_id = {LATEST}",
    )


def two_steps_at_once(data):
    data.sql(
        "DROP INDEX uq_tasks_running_model_id",
        f"UPDATE tasks SET state = 'training', worker = 'w', lease_until = 1 WHERE id = {BATCH}",
        f"UPDATE tasks SET state = 'training', worker = 'v', lease_until = 1 WHERE id = {FAILED}",
    )


def sql(*statements):
    return lambda data: data.sql(*statements)


BROKEN = [
    ("row-dangling", sql("INSERT INTO task_logs VALUES ('gone', 'text')")),
    ("task-state-unknown", sql(f"UPDATE tasks SET state = 'lost' WHERE id = {BATCH}")),
    ("task-stuck", sql(f"UPDATE tasks SET state = 'training' WHERE id = {BATCH}")),
    ("steps-at-once", two_steps_at_once),
    ("worker-holds-two", a_worker_that_holds_two),
    ("claim-left", sql(f"UPDATE tasks SET worker = 'w', lease_until = 1 WHERE id = {FAILED}")),
    ("outcome-missing", sql(f"UPDATE tasks SET version_id = NULL WHERE id = {FIRST}")),
    ("reason-missing", sql(f"UPDATE tasks SET error = NULL WHERE id = {FAILED}")),
    ("end-missing", an_end_without_its_time),
    ("version-early", sql(f"UPDATE tasks SET state = 'failed', error = '[1]' WHERE id = {FIRST}")),
    (
        "history-broken",
        sql(
            "INSERT INTO task_events (task_id, at, kind, data) VALUES "
            f"""({FIRST}, '2026-01-01', 'state', '{{"state": "training"}}'), """
            f"""({FIRST}, '2026-01-01', 'state', '{{"state": "live"}}')"""
        ),
    ),
    ("history-disagrees", sql(f"UPDATE tasks SET state = 'cancelled' WHERE id = {FAILED}")),
    ("number-twice", a_number_that_two_have),
    ("class-moved", sql("UPDATE model_classes SET \"index\" = 99 WHERE name = 'cat'")),
    ("audit-unguarded", sql('DROP TRIGGER "audit_entries_no_UPDATE"')),
    ("alias-lost", sql("UPDATE alias_moves SET version_id = 999")),
    ("alias-lost", sql("UPDATE versions SET deleted_at = created_at WHERE model_id = 2")),
    ("alias-gap", sql("DELETE FROM alias_moves WHERE sequence = 1 AND model_id = 1")),
    (
        "live-never",
        sql("UPDATE alias_moves SET version_id = 2 WHERE version_id = 1 AND model_id = 1"),
    ),
    ("parent-missing", sql(f"UPDATE versions SET parent_id = 999 WHERE id = {LATEST}")),
    (
        "parent-missing",
        sql(
            "UPDATE versions SET parent_id = 4 WHERE id = 2",
            "UPDATE tasks SET parent_id = 4 WHERE version_id = 2",
        ),
    ),
    ("start-strange", sql(f"UPDATE versions SET parent_id = 1 WHERE id = {LATEST}")),
    (
        "start-strange",
        sql(
            f"UPDATE versions SET parent_id = 1 WHERE id = {LATEST}",
            f"UPDATE tasks SET parent_id = 1 WHERE version_id = {LATEST}",
        ),
    ),
    *(
        (f"blob-{how}", lambda data, query=query, how=how: damage(data, query, how))
        for how in ("missing", "damaged")
        for query in (
            "SELECT value ->> 'blob' FROM versions, json_each(files) WHERE versions.id = 2",
            "SELECT blob FROM held_out_sets WHERE id = 1",
            "SELECT blob FROM memories",
            f"SELECT dataset FROM tasks WHERE id = {BATCH}",
        )
    ),
    ("blob-damaged", a_sector_that_is_bad),
    ("blob-unreadable", blobs_of_another_user),
    ("store-unknown", sql("UPDATE memories SET place = 'memory folder'")),
    ("blob-orphan", an_orphan),
    ("write-unfinished", a_write_that_never_ended),
    ("store-mismatch", another_store),
    ("mlflow-behind", a_mirror_that_is_behind),
    ("mlflow-behind", what_the_mirror_wrote_by_half),
    ("work-folder-left", a_work_folder(FIRST)),
    ("work-folder-left", a_work_folder(FAILED)),
    ("work-folder-left", a_work_folder_of_nobody),
    ("message-unreadable", lambda data: leave_message(data, "unreadable/1.msg", "no message")),
    ("message-partial", lambda data: leave_message(data, "messages/.1.partial", "{")),
    ("message-stale", a_stale_message),
    ("temporary-left", a_temporary),
]
"""A finding, and what brings it about."""

MENDED = {
    "task-stuck",
    "claim-left",
    "outcome-missing",
    "end-missing",
    "blob-orphan",
    "write-unfinished",
    "work-folder-left",
    "message-unreadable",
    "message-partial",
    "message-stale",
    "temporary-left",
}


def test_nothing_is_found_where_all_is_well(data):
    assert examine(data.installation) == []
    assert repair(data.installation) == ([], [])


@pytest.mark.parametrize(("kind", "breaks"), BROKEN)
def test_what_is_broken_is_found(data, kind, breaks):
    breaks(data)
    found = [one for one in examine(data.installation) if one.kind == kind]
    assert found, [one.kind for one in examine(data.installation)]
    assert {one.repairable for one in found} == {kind in MENDED}
    mended, remain = repair(data.installation)
    if kind in MENDED:
        assert set(found) <= set(mended)
    assert (kind in {one.kind for one in remain}) == (kind not in MENDED)


@pytest.mark.parametrize(
    ("kind", "task", "changed"),
    [
        ("task-stuck", BATCH, {"lease_until": (None, 0.0)}),
        ("claim-left", FAILED, {"worker": ("w", None), "lease_until": (1.0, None)}),
        ("outcome-missing", FIRST, {"version": (None, 1)}),
        ("end-missing", FAILED, {"finished_at": (None, ANY)}),
    ],
)
def test_the_repair_of_a_row_is_in_the_audit_log(data, kind, task, changed):
    dict(BROKEN)[kind](data)
    task_id = data.one(f"SELECT id FROM tasks WHERE id = {task}")
    repair(data.installation)
    with data.installation.snapshot() as session:
        (entry,) = list_entries(session, Wanted(Action.DOCTOR_REPAIR), 9)
        assert first_broken(session) is None
    assert (entry.object, entry.actor_type, entry.model) == (f"/tasks/{task_id}", "cli", "default")
    assert entry.after["finding"] == kind
    assert {name: (entry.before[name], entry.after[name]) for name in changed} == changed


def test_the_log_says_who_repaired_and_names_a_version_by_its_number(data):
    version, number = (data.one(f"SELECT {one} {ANOTHER}") for one in ("id", "number"))
    data.sql(f"UPDATE tasks SET version_id = NULL WHERE version_id = {version}")
    repair(replace(data.installation, actor=Actor(ActorType.CLI, "somebody")))
    with data.installation.snapshot() as session:
        (entry,) = list_entries(session, Wanted(Action.DOCTOR_REPAIR), 9)
    assert (entry.actor_type, entry.actor_name) == ("cli", "somebody")
    assert entry.before == {"version": None}
    assert entry.after == {"finding": "outcome-missing", "version": int(number)}


def test_the_repair_of_a_stuck_task_gives_it_back_to_the_queue(data):
    from worker.claim import lapsed

    data.sql(f"UPDATE tasks SET state = 'training' WHERE id = {BATCH}")
    repair(data.installation)
    with data.installation.snapshot() as session:
        assert len(lapsed(session)) == 1


def test_what_is_no_json_is_damage(data):
    data.sql(f"UPDATE tasks SET spec = 'nojson' WHERE id = {BATCH}")
    (found,) = examine(data.installation)
    assert (found.kind, found.what) == ("database-damaged", "1 rows of tasks.spec are no JSON")


def test_a_damaged_file_of_the_database_is_found(data):
    half_a_database(data)
    assert {one.kind for one in examine(data.installation)} == {"database-damaged"}
    assert repair(data.installation) == ([], examine(data.installation)), "nothing is touched"


def test_what_may_be_under_way_is_not_found(data):
    """Young files, a failed task that may be tried again, wake-ups that wait for a busy worker."""
    data.blobs.put(io.BytesIO(b"an upload on its way"))
    (data.settings.blob_dir / "incoming" / "tmpabc").write_bytes(b"half")
    (data.settings.work_dir / str(uuid4())).mkdir()
    (data.settings.work_dir / "not a task").mkdir()
    (data.folder / "tmp").mkdir()
    (data.folder / "tmp" / "upload").write_bytes(b"comes in")
    a_stale_message(data)
    until = time.time() + 60
    data.sql(
        f"UPDATE tasks SET state = 'training', worker = 'w', lease_until = {until} "
        f"WHERE id = {BATCH}",
        f"""INSERT INTO task_events (task_id, at, kind, data) VALUES ({BATCH}, '2026-01-01',
        'state', '{{"state": "validating"}}'), ({BATCH}, '2026-01-01', 'state',
        '{{"state": "training"}}')""",
    )
    assert examine(data.installation) == []


def test_a_folder_that_somebody_works_in_is_left_alone(data):
    from worker.folder import WorkFolder

    a_work_folder(FIRST)(data)
    task_id = data.one(f"SELECT id FROM tasks WHERE id = {FIRST}")
    folder = WorkFolder(data.settings.work_dir, task_id)
    with folder.locked("a child that hangs", 0):
        mended, remain = repair(data.installation)
    assert (mended, [one.kind for one in remain]) == ([], ["work-folder-left"])
    assert folder.path.is_dir()


def test_work_folders_of_another_service_are_not_removed(data, tmp_path):
    """SATS_DATA_DIR, or SATS_DATABASE_URL, names another one's."""
    other = tmp_path / "other"
    store = LocalBlobStore(other / "blobs")
    store.put(io.BytesIO(b"another service's"))
    folder = other / "work" / str(uuid4())
    folder.mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    old(folder)
    wrong = data.settings.model_copy(update={"data_dir": other})
    mended, remain = repair(Installation.of(data.engine, wrong))
    (found,) = (one for one in remain if one.kind == "work-folder-left")
    assert not found.repairable
    assert "another service's" in found.what
    assert (folder / "checkpoints").is_dir()
    assert mended == []


def test_who_works_in_a_state_that_is_not_known_here_is_left_alone(data):
    until = time.time() + 60
    data.sql(
        f"UPDATE tasks SET state = 'calibrating', worker = 'newer', lease_until = {until} "
        f"WHERE id = {BATCH}"
    )
    mended, remain = repair(data.installation)
    assert mended == []
    assert {one.kind for one in remain} == {"task-state-unknown", "history-disagrees"}
    assert data.one(f"SELECT worker FROM tasks WHERE id = {BATCH}") == "newer"


def test_a_link_among_work_folders_is_not_followed(data, tmp_path):
    target = tmp_path / "elsewhere"
    target.mkdir()
    (target / "mine").touch()
    old(target)
    (data.settings.work_dir / str(uuid4())).symlink_to(target)
    (data.settings.work_dir / str(uuid4())).write_text("no folder")
    mended, remain = repair(data.installation)
    assert (mended, remain) == ([], [])
    assert [path.name for path in target.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["work", "tmp"])
def test_a_folder_of_which_only_a_part_may_be_removed_remains(data, monkeypatch, name):
    """It is young again by what went, and would not be found."""
    folder = data.settings.data_dir.resolve() / name / str(uuid4())
    (folder / "mine").mkdir(parents=True)
    for path in (folder / "mine", folder):
        old(path)
    rmtree = shutil.rmtree

    def removes_a_part(path, *args, **kw):
        if Path(path) != folder:
            rmtree(path, *args, **kw)
            return
        rmtree(folder / "mine")
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    monkeypatch.setattr(shutil, "rmtree", removes_a_part)
    mended, remain = repair(data.installation)
    assert (mended, [one.where for one in remain]) == ([], [str(folder)])


def test_what_goes_while_it_is_mended_is_mended(data, monkeypatch):
    a_work_folder(FIRST)(data)
    (found,) = (one for one in examine(data.installation) if one.kind == "work-folder-left")
    mend = work.remove_folder

    def after_another(installation, finding):
        shutil.rmtree(finding.where)
        mend(installation, finding)

    checks = tuple(
        replace(one, repair=after_another) if one.repair is mend else one for one in CHECKS
    )
    monkeypatch.setattr(examination, "CHECKS", checks)
    with capture_logs() as said:
        assert repair(data.installation) == ([found], [])
    assert said == []


def test_however_much_garbage_there_is_the_store_is_listed_a_few_times(data, monkeypatch):
    for number in range(20):
        old(data.blobs.path(data.blobs.put(io.BytesIO(b"%d" % number)).key))
    lists = []
    entries = LocalBlobStore.entries
    monkeypatch.setattr(LocalBlobStore, "entries", lambda store: lists.append(1) or entries(store))
    mended, remain = repair(data.installation)
    assert (len(mended), remain) == (20, [])
    assert len(lists) <= 3


def test_every_finding_is_documented_and_every_documented_one_is_tested():
    table = (ROOT / "docs" / "doctor.md").read_text()
    documented = dict(re.findall(r"^\| `([a-z-]+)` \|.*\| (yes|no) \|$", table, re.MULTILINE))
    written = set()
    for module in (ROOT / "app" / "doctor").glob("*.py"):
        written |= set(re.findall(r'Finding\(\s*"([a-z-]+)"', module.read_text()))
    assert set(documented) == written
    assert {kind for kind, _ in BROKEN} | {"database-damaged"} == written
    assert {kind for kind, mends in documented.items() if mends == "yes"} == MENDED
