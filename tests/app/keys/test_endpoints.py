"""`/admin/keys`: keys over HTTP."""

import re
from datetime import timedelta

import pytest

from app.db import utc_now
from app.keys.text import KEY_PATTERN

RULES = {
    "scopes": ["segment", "submit"],
    "models": ["street"],
    "expires_at": None,
    "requests_per_minute": 60,
    "pictures_per_minute": 600,
    "concurrent_requests": 4,
    "queued_tasks": 2,
    "stored_bytes": 10**12,
}


@pytest.fixture
def admin(client):
    """A client with the first key, which closed the service."""
    made = client.post("/admin/keys", json={"name": "root", "scopes": ["admin"]})
    assert made.status_code == 201, made.text
    assert client.get("/tasks").status_code == 401
    client.headers["Authorization"] = f"Bearer {made.json()['key']}"
    return client


def _written_once(key):
    """Return what a key shows but its last use, which a thread writes in its own time."""
    return {name: value for name, value in key.items() if name != "last_used_at"}


def test_a_key_is_made_shown_once_used_and_revoked(admin):
    answer = admin.post("/admin/keys", json={"name": "app", **RULES})
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    text = made.pop("key")
    assert re.fullmatch(KEY_PATTERN, text)
    assert {name: made[name] for name in RULES} == RULES
    headers = {"Authorization": f"Bearer {text}"}
    assert admin.get("/tasks", headers=headers).status_code == 200
    listed = admin.get("/admin/keys")
    assert [key["name"] for key in listed.json()["items"]] == ["app", "root"]
    page = admin.get("/admin/keys", params={"limit": 1}).json()
    rest = admin.get("/admin/keys", params={"cursor": page["next_cursor"]}).json()
    paged = [*page["items"], *rest["items"]]
    assert [_written_once(key) for key in paged] == [
        _written_once(key) for key in listed.json()["items"]
    ]
    assert text not in listed.text
    gone = admin.delete(f"/admin/keys/{made['id']}").json()
    assert gone["revoked_at"]
    again = admin.delete(f"/admin/keys/{made['id']}").json()
    assert _written_once(again) == _written_once(gone)
    assert admin.get("/tasks", headers=headers).status_code == 401
    assert admin.delete("/admin/keys/99").status_code == 404


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "ci\u200b"}, "name"),
        ({"name": "\u2067ci"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["all"]}, "scopes.0"),
        ({"models": ["No Model"]}, "models.0"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, "expires_at"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"concurrent_requests": True}, "concurrent_requests"),
        ({"queued_tasks": "2"}, "queued_tasks"),
        ({"stored_bytes": 2**63}, "stored_bytes"),
        ({"stored_byte": 1}, "stored_byte"),
    ],
)
def test_a_wrong_wish_is_refused_by_field(client, wrong, field):
    answer = client.post("/admin/keys", json={"name": "app", "scopes": ["segment"]} | wrong)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert client.get("/admin/keys").json()["items"] == []


def test_no_json_too_much_of_it_and_a_name_twice_are_refused(admin):
    assert admin.post("/admin/keys", content=b"\xff{").status_code == 422
    assert admin.post("/admin/keys", content=b" " * 200_000).status_code == 413
    assert (
        admin.post("/admin/keys", json={"name": "root", "scopes": ["segment"]}).status_code == 409
    )


def test_times_without_a_zone_are_utc(client):
    ends = (utc_now() + timedelta(days=1)).replace(tzinfo=None, microsecond=0)
    wish = {"name": "app", "scopes": ["admin"], "expires_at": ends.isoformat()}
    made = client.post("/admin/keys", json=wish).json()
    assert made["expires_at"] == ends.isoformat() + "Z"
