import re
import time

import pytest

WAIT = 20


@pytest.fixture
def settings(settings):
    """Settings with which a process believes of a key what it heard, for a moment."""
    return settings.model_copy(update={"key_cache_seconds": 0.2})


def test_keys_are_made_used_listed_and_revoked(run, client):
    made = run("keys", "create", "ci", "--scope", "submit", "--scope", "segment")
    assert made.exit_code == 0
    key = made.stdout.strip()
    assert re.fullmatch(r"sats_[\w-]{43}", key)
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


def test_wrong_words_are_refused_in_words(run):
    assert run("keys", "create", "ci", "--scope", "submit").exit_code == 0
    twice = run("keys", "create", "ci", "--scope", "submit")
    assert (twice.exit_code, twice.stdout) == (2, "")
    assert "already" in twice.stderr
    assert "no key named" in run("keys", "revoke", "nobody").stderr
    assert run("keys", "create", "a\nb", "--scope", "submit").exit_code == 2
    assert run("keys", "create", "c", "--scope", "everything").exit_code == 2
    assert run("keys", "create", "c").exit_code == 2
