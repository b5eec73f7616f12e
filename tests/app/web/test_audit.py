"""`/ui/audit`: what the API recorded, on a page."""

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import expect
from sqlalchemy import Engine

from app.audit.schemas import AuditEntryJson
from app.audit.service import Action
from app.db import ActorType
from app.storage import BlobStore
from app.web import audit
from app.web.audit import DEEDS, deed
from tests.app.web.conftest import Open
from tests.app.web.showcase import furnish
from tests.fixtures.browser import barriers

EMBEDDED = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
PHONE = {"width": 390, "height": 800}


@pytest.fixture
def done(client: TestClient, engine: Engine, blobs: BlobStore) -> dict[str, str]:
    """Do three things to a service with versions; returns the ids of its tasks by name."""
    ids = furnish(engine, blobs)
    client.post("/admin/models/default/versions/3:promote").raise_for_status()
    client.post(f"/tasks/{ids['buses']}:cancel").raise_for_status()
    client.put("/admin/models/default/gate", json={"max_drop": 0.1}).raise_for_status()
    return ids


def test_every_action_has_a_word() -> None:
    assert set(DEEDS) == set(Action)


@EMBEDDED
def test_who_did_what_is_read_on_a_phone(open_page: Open, done: dict[str, str]) -> None:
    page = open_page("/ui/audit", viewport=PHONE, bypass_csp=True)
    rows = page.locator(".settings > tbody > tr")
    expect(rows).to_have_count(7)
    expect(rows.first).to_contain_text("Set a gate")  # the newest
    expect(rows.nth(1)).to_contain_text("Cancelled a task: buses")
    expect(rows.nth(1)).to_contain_text("somebody without a key")
    promoted = rows.nth(2)
    expect(promoted.get_by_text("Before", exact=True)).to_be_hidden()
    promoted.locator("summary").click()
    live = promoted.locator("tr", has_text="live")
    expect(live.locator("td").first).to_have_text("5")
    expect(live.locator("td").last).to_have_text("3")
    assert barriers(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    promoted.get_by_role("link", name="version 3").click()
    expect(page.get_by_role("heading", name="Version 3")).to_be_visible()


@EMBEDDED
def test_the_log_is_narrowed_down(
    open_page: Open, done: dict[str, str], client: TestClient
) -> None:
    page = open_page("/ui/audit")
    rows = page.locator(".settings > tbody > tr")
    expect(rows).to_have_count(7)
    page.get_by_label("Action").select_option("Promoted a version")
    expect(rows).to_have_count(5)
    assert "action=version.promote" in page.url
    lines = page.get_by_role("link", name="JSON lines").get_attribute("href")
    assert len(client.get(lines or "").text.splitlines()) == 5
    page.get_by_label("Done by").fill("nobody")
    expect(page.get_by_text("Nothing was done")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Done by")).to_have_value("nobody")


@EMBEDDED
def test_the_log_is_read_by_the_page(
    client: TestClient, done: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "A_PAGE", 4)
    first = client.get("/ui/audit?model=default").text
    assert first.count("<details>") == 4
    older = first.split('" rel="next"')[0].rpartition('href="')[2].replace("&amp;", "&")
    second = client.get(older).text
    assert second.count("<details>") == 3
    assert "Promoted a version" in second
    assert 'rel="next"' not in second
    assert "No entry is like this" in client.get("/ui/audit?model=pets").text


@EMBEDDED
@pytest.mark.parametrize(
    "query", ["action=sing", "model=a%20b", "actor=%00", "cursor=x", "actor=" + "x" * 201]
)
def test_what_cannot_be_asked_is_told_on_a_page(client: TestClient, query: str) -> None:
    answer = client.get(f"/ui/audit?{query}")
    assert answer.status_code == 422
    assert "<main" in answer.text


def entry(action: str, path: str, **fields: object) -> AuditEntryJson:
    given = {"request_id": None, "model": None, "before": None, "after": None}
    at = "2026-01-01T00:00:00Z"
    actor = {"type": ActorType.CLI, "name": "root"}
    known = {"id": 1, "at": at, "action": action, "actor": actor, "object": path}
    return AuditEntryJson(**known, previous="", hash="", **(given | fields))


def test_what_a_deed_was_done_to_is_found() -> None:
    task = deed(entry("task.delete", "/tasks/1", before={"name": "buses"}))
    assert (task.what, task.href) == ("buses", None)
    old = deed(entry("held-out.delete", "/admin/models/pets/versions/3/held-out"))
    assert (old.did, old.what) == ("held-out.delete", "version 3")
    assert old.href == "/ui/models/pets/versions/3"
    hook = deed(entry("webhook.delete", "/admin/webhooks/7", before={"url": "https://x"}))
    assert (hook.what, hook.href) == ("7", None)
    given_up = deed(entry("upload.delete", "/uploads/1", before={"name": "pets.zip"}))
    assert (given_up.did, given_up.what, given_up.href) == ("Gave an upload up", "pets.zip", None)
    key = deed(entry("key.create", "/admin/keys/2", after={"name": "app", "models": []}))
    assert (key.what, key.href) == ("app", "/ui/keys")
    assert [(one.before, one.after) for one in key.changes] == [(None, "app"), (None, "[]")]


@EMBEDDED
def test_what_was_written_is_no_page_s_code(client: TestClient, engine: Engine) -> None:
    wish = {"name": "<script>alert(1)</script>", "scopes": ["admin"]}
    made = client.post("/admin/keys", json=wish).json()
    headers = {"Authorization": f"Bearer {made['key']}"}
    client.post("/login", data={"key": made["key"]})
    shown = client.get("/ui/audit").text
    assert "alert(1)" in shown
    assert "<script>alert" not in shown
    assert made["key"] not in shown
    assert client.get("/admin/audit", headers=headers).status_code == 200
