import errno
import json
import os
import re
import time

import pytest
from sqlalchemy import text

from app.audit.service import Wanted, list_entries
from app.db import AuditEntry, read_session, write_session
from app.keys.text import KEY_PATTERN
from app.settings import get_settings
from tests.app.retirement.test_receipts import receipt

WAIT = 20


@pytest.fixture
def settings(settings):
    """Settings with which a process believes of a key what it heard, for a moment."""
    return settings.model_copy(update={"key_cache_seconds": 0.2})


def test_keys_are_made_used_listed_and_revoked(run, client):
    made = run("keys", "create", "ci", "--scope", "submit", "--scope", "segment")
    assert made.exit_code == 0
    key = made.stdout.strip()
    assert re.fullmatch(KEY_PATTERN, key)
    headers = {"Authorization": f"Bearer {key}"}
    assert client.get("/tasks", headers=headers).status_code == 200
    assert client.get("/admin/models", headers=headers).status_code == 403
    listed = run("keys", "list").stdout
    assert "ci" in listed
    assert key not in listed
    assert run("keys", "revoke", "ci").exit_code == 0
    deadline = time.monotonic() + WAIT
    while client.get("/tasks", headers=headers).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert client.get("/tasks", headers=headers).status_code == 401


def test_lists_are_printed_for_programs_too(run):
    for name in ("ci", "phone"):
        words = ("--scope", "submit", "--model", "street", "--queued-tasks", "2")
        assert run("keys", "create", name, *words).exit_code == 0
    listed = json.loads(run("keys", "list", "--json").stdout)
    assert [(key["name"], key["scopes"], key["models"]) for key in listed] == [
        ("ci", ["submit"], ["street"]),
        ("phone", ["submit"], ["street"]),
    ]
    assert not any("key" in key for key in listed), "its text is shown once"
    assert run("keys", "list", "-o", "id").stdout.split() == ["ci", "phone"]
    assert "2 queued tasks" in run("keys", "list").stdout
    run("keys", "revoke", "ci")
    entries = json.loads(run("audit", "list", "--json").stdout)
    assert [entry["action"] for entry in entries] == ["key.revoke", "key.create", "key.create"]
    assert entries[0]["actor"]["type"] == "cli"
    made = run("audit", "list", "--action", "key.create", "--limit", "1", "-o", "jsonl").stdout
    assert json.loads(made)["after"]["name"] == "phone"
    assert "key.revoke" in run("audit", "list").stdout
    assert run("audit", "list", "--model", "street").stdout == ""


def test_a_key_is_made_and_revoked_by_programs(run, client):
    made = run("keys", "create", "ci", "--scope", "admin", "--queued-tasks", "2", "--json")
    key = json.loads(made.stdout)
    assert (key["name"], key["scopes"], key["queued_tasks"]) == ("ci", ["admin"], 2)
    headers = {"Authorization": f"Bearer {key['key']}"}
    (listed,) = client.get("/admin/keys", headers=headers).json()["items"]
    assert listed.keys() == key.keys() - {"key"}, "as the API tells of it"
    revoked = json.loads(run("keys", "revoke", "ci", "--json").stdout)
    assert (revoked["id"], revoked["revoked_by"]["type"]) == (key["id"], "cli")
    assert "key" not in revoked
    for words in (("create", "ci", "--scope", "admin"), ("revoke", "nobody")):
        refused = run("keys", *words, "--json")
        assert (refused.exit_code > 0, refused.stdout) == (True, ""), words


def test_nothing_is_made_or_started_under_another_secret(run, settings, monkeypatch, tmp_path):
    (receipt_file := tmp_path / "receipt.json").write_text(receipt().model_dump_json())
    assert run("keys", "create", "ci", "--scope", "submit").exit_code == 0
    (settings.data_dir / "secret").unlink()
    monkeypatch.setattr("app.cli.running.supervise", lambda *_: pytest.fail("it was started"))
    monkeypatch.setattr("app.cli.running.Server", lambda *_: pytest.fail("it was started"))
    check = ("audit", "receipt", str(receipt_file))
    for words in (("keys", "create", "b", "--scope", "submit"), ("serve",), ("api",), check):
        refused = run(*words)
        assert (refused.exit_code, refused.stdout) == (2, ""), words
        assert "is the disk not mounted" in refused.stderr.splitlines()[-1]
    assert not (settings.data_dir / "secret").exists()


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_a_database_that_cannot_be_written_is_one_line(run, settings, engine, monkeypatch):
    file = settings.resolved_database_url.removeprefix("sqlite:///")
    monkeypatch.setenv("SATS_DATABASE_URL", f"sqlite:///file:{file}?mode=ro&uri=true")
    get_settings.cache_clear()
    refused = run("keys", "create", "b", "--scope", "submit")
    assert (refused.exit_code, refused.stdout) == (1, "")
    said = refused.stderr.splitlines()[-1]
    assert said.startswith("sats: the database does not answer: attempt to write a readonly")
    for words in (("keys", "list"), ("doctor",), ("gc", "--dry-run"), ("migrate",)):
        assert run(*words).exit_code == 0, "who only reads may"


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
@pytest.mark.parametrize("said", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_is_one_line(run, monkeypatch, said):
    def refuses(*_args):
        raise OSError(said, os.strerror(said), "secret")

    monkeypatch.setattr("app.cli.keys.read_secret", refuses)
    refused = run("keys", "create", "b", "--scope", "submit")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == f"sats: [Errno {said}] {os.strerror(said)}: 'secret'\n"


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_a_file_that_is_no_database_is_one_line(run, settings, monkeypatch, tmp_path):
    (tmp_path / "rot.db").write_bytes(b"rot" * 4096)
    monkeypatch.setenv("SATS_DATABASE_URL", f"sqlite:///{tmp_path / 'rot.db'}")
    get_settings.cache_clear()
    for words in (("keys", "list"), ("migrate",), ("gc",), ("doctor",), ("serve",), ("api",)):
        refused = run(*words)
        assert refused.exit_code in (1, 2), words
        said = refused.stderr.splitlines()[-1]
        assert said.startswith("sats: the database cannot be read"), words
        assert said.endswith(": file is not a database")


def test_wrong_words_are_refused_in_words(run):
    assert run("keys", "create", "ci", "--scope", "submit").exit_code == 0
    twice = run("keys", "create", "ci", "--scope", "submit")
    assert (twice.exit_code, twice.stdout) == (2, "")
    assert "already" in twice.stderr
    assert "no key named" in run("keys", "revoke", "nobody").stderr
    assert run("keys", "create", "a\nb", "--scope", "submit").exit_code == 2
    assert run("keys", "create", "c", "--scope", "everything").exit_code == 2
    assert run("keys", "create", "c").exit_code == 2


def test_a_key_s_rules_are_words_of_the_command(run, client):
    words = ("--scope", "submit", "--model", "street", "--expires", "2999-01-01")
    limits = ("--requests-per-minute", "9", "--queued-tasks", "2", "--stored-bytes", "1000")
    limits += ("--concurrent-requests", "4")
    made = run("keys", "create", "ci", *words, *limits)
    assert made.exit_code == 0, made.stderr
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    assert client.get("/tasks", headers=headers, params={"model": "default"}).status_code == 403
    root = run("keys", "create", "root", "--scope", "admin").stdout.strip()
    listed = client.get("/admin/keys", headers={"Authorization": f"Bearer {root}"})
    key = listed.json()["items"][-1]
    assert (key["models"], key["expires_at"]) == (["street"], "2999-01-01T00:00:00Z")
    rates = (key["requests_per_minute"], key["pictures_per_minute"])
    assert key["concurrent_requests"] == 4
    assert (*rates, key["queued_tasks"], key["stored_bytes"]) == (9, None, 2, 1000)


def test_rules_that_make_no_sense_are_refused(run):
    past = run("keys", "create", "ci", "--scope", "submit", "--expires", "2020-01-01")
    assert (past.exit_code, past.stdout) == (2, "")
    assert "expires_at: this time has passed" in past.stderr
    assert run("keys", "create", "ci", "--scope", "submit", "--model", "A B").exit_code == 2
    assert run("keys", "create", "ci", "--scope", "submit", "--queued-tasks", "0").exit_code == 2


def test_commands_are_written_down_and_the_log_is_checked(run, engine):
    run("keys", "create", "ci", "--scope", "submit")
    run("keys", "revoke", "ci")
    assert run("audit", "verify").exit_code == 0
    with read_session(engine) as session:
        found = list_entries(session, Wanted(), 10)
    assert [entry.action for entry in found] == ["key.revoke", "key.create"]
    assert {entry.actor_type for entry in found} == {"cli"}
    with write_session(engine) as session:  # an entry that does not name the one before it
        copied = {column.name: getattr(found[0], column.name) for column in AuditEntry.__table__.c}
        session.add(AuditEntry(**copied | {"id": 3}))
    broken = run("audit", "verify")
    assert (broken.exit_code, broken.stdout) == (1, "")
    assert "entry 3" in broken.stderr
    told = run("audit", "verify", "--json")
    assert (told.exit_code, "entry 3" in told.stderr) == (1, True)
    assert json.loads(told.stdout) == {"whole": False, "broken": 3, "missing": []}


def test_a_log_that_is_not_guarded_any_more_is_not_whole(run, engine):
    whole = run("audit", "verify", "--json")
    assert (whole.exit_code, json.loads(whole.stdout)["whole"]) == (0, True)
    drop = (
        'DROP TRIGGER "audit_entries_no_UPDATE"'
        if engine.dialect.name == "sqlite"
        else "ALTER TABLE audit_entries DISABLE TRIGGER audit_entries_no_change"
    )
    with engine.execution_options(write=True).begin() as connection:
        connection.execute(text(drop))
    answer = run("audit", "verify")
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert drop.rpartition(" ")[2].strip('"') in answer.stderr
