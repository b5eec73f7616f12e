"""`/ui/keys` in a browser: a key is made, shown once, used, revoked."""

from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from playwright.sync_api import Page, expect
from sqlalchemy import Engine

from app.db import ApiKey, Task, utc_now, write_session
from app.keys.secret import read_secret
from app.keys.service import KeyLimits, Scope, create_key, revoke_key
from app.settings import Settings
from app.storage import BlobStore
from app.web import keys
from tests.app.web.conftest import Open
from tests.app.web.showcase import furnish
from tests.fixtures.browser import barriers

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
PHONE = {"width": 390, "height": 800}
Make = Callable[..., str]


@pytest.fixture
def make(engine: Engine, settings: Settings) -> Make:
    """Return what makes a key."""

    def one(name: str, *scopes: Scope, **rules: object) -> str:
        with write_session(engine) as session:
            return create_key(session, read_secret(settings), name, scopes, **rules)

    return one


def status(site: str, key: str, path: str = "/admin/models") -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.get(site + path, headers=headers).status_code


def log_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()


def test_the_first_key_is_made_and_logged_in_with(open_page: Open, site: str) -> None:
    page = open_page("/ui/keys", allowed=("401",))
    expect(page.get_by_text("None was ever made")).to_be_visible()
    page.get_by_role("button", name="New key…").click()
    expect(page.get_by_role("dialog")).to_contain_text("It is the first one")
    expect(page.get_by_role("checkbox", name="admin")).to_be_checked()
    page.get_by_label("Name").fill("operator")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("heading", name="“operator” is made")).to_be_visible()
    key = page.get_by_label("Its text").input_value()
    for _ in range(3):  # it is not lost by a slip
        page.keyboard.press("Escape")
    expect(page.get_by_label("Its text")).to_have_value(key)
    assert status(site, key) == 200
    page.get_by_role("button", name="I have kept it").click()
    log_in(page, key)
    expect(page.locator("tbody tr")).to_contain_text("yours")
    assert key not in page.content()


def test_a_key_is_made_with_all_that_it_may_have(
    open_page: Open, site: str, make: Make, engine: Engine
) -> None:
    operator = make("operator", Scope.ADMIN)
    page = open_page("/ui/keys", allowed=("409", "422"), timezone_id="Asia/Tokyo")
    log_in(page, operator)
    page.get_by_role("button", name="New key…").click()
    page.get_by_role("checkbox", name="segment").uncheck()
    page.get_by_label("Name").fill("operator")
    page.get_by_role("button", name="Make it").click()
    wrong = page.locator("#make").get_by_role("alert")
    expect(wrong).to_contain_text("scopes")
    page.get_by_role("checkbox", name="submit").check()
    page.get_by_role("checkbox", name="read").check()
    page.get_by_role("button", name="Make it").click()
    expect(wrong).to_contain_text("a key named 'operator' already")
    page.get_by_label("Name").fill("yard")
    page.get_by_label("Its models").fill("street, pets")
    page.get_by_label("Ends").fill("2099-12-31T09:00")
    page.get_by_text("Limits").click()
    page.get_by_label("Requests a minute").fill("60")
    page.get_by_label("Bytes its tasks keep").fill("5000000000")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("heading", name="“yard” is made")).to_be_visible()
    key = page.get_by_label("Its text").input_value()
    page.get_by_role("button", name="I have kept it").click()
    row = page.locator("tbody tr", has_text="yard")
    for said in ("submit", "read", "only pets, street", "60 requests a minute", "5.0 GB", "never"):
        expect(row).to_contain_text(said)
    with write_session(engine) as session:
        made = session.query(ApiKey).filter_by(name="yard").one()
        assert made.expires_at is not None
        assert made.expires_at.isoformat() == "2099-12-31T00:00:00+00:00"
        assert made.made_by is not None
        assert made.made_by.name == "operator"
    assert status(site, key, "/tasks") == 200


def test_a_key_is_revoked_and_what_ends_is_told(
    open_page: Open, site: str, make: Make, engine: Engine, blobs: BlobStore
) -> None:
    ids = furnish(engine, blobs)
    app = make("phone-app", Scope.SUBMIT)
    with write_session(engine) as session:
        owner = session.query(ApiKey).filter_by(name="phone-app").one().id
        for name in ("buses", "bicycles from the yard", "tables"):
            session.get_one(Task, ids[name]).key_id = owner
    page = open_page("/ui/keys", allowed=("401",))
    log_in(page, make("operator", Scope.ADMIN))
    assert status(site, app, "/tasks") == 200
    page.get_by_role("button", name="Revoke… phone-app").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("within 5 seconds by others")
    expect(dialog).to_contain_text("2 of its tasks wait or run and go on")
    expect(dialog).not_to_contain_text("logged in with it: you")
    expect(dialog).not_to_contain_text("No other key")
    page.get_by_role("button", name="Revoke", exact=True).click()
    row = page.locator("tbody tr", has_text="phone-app")
    expect(row.locator(".state")).to_have_text("Revoked")
    expect(row).to_contain_text("by operator")
    assert status(site, app, "/tasks") == 401
    page.get_by_role("button", name="Revoke… operator").click()
    expect(dialog).to_contain_text("you are logged out, too")
    expect(dialog).to_contain_text("No other key that works has admin")
    page.get_by_role("button", name="Revoke", exact=True).click()
    expect(page.get_by_label("API key")).to_be_visible()


def test_nobody_is_kept_out(open_page: Open, make: Make, engine: Engine) -> None:
    make("old", Scope.READ, expires_at=utc_now() - timedelta(days=1))
    make("gone", Scope.SEGMENT)
    with write_session(engine) as session:
        revoke_key(session, "gone")
    page = open_page("/ui/keys", viewport=PHONE, bypass_csp=True)
    log_in(page, make("operator", Scope.ADMIN))
    expect(page.locator("tr", has_text="old")).to_contain_text("Expired")
    expect(page.get_by_role("button", name="Revoke…")).to_have_count(1)
    assert barriers(page) == []
    for button in ("New key…", "Revoke… operator"):
        page.get_by_role("button", name=button).click()
        assert barriers(page) == [], button
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        page.keyboard.press("Escape")


def test_keys_are_read_by_the_page(
    client: TestClient, make: Make, monkeypatch: pytest.MonkeyPatch, service: FastAPI
) -> None:
    monkeypatch.setattr(keys, "A_PAGE", 2)
    texts = [make(f"key-{number}", Scope.ADMIN) for number in range(3)]
    client.post("/login", data={"key": texts[0]})
    first = client.get("/ui/keys").text
    assert "key-2" in first
    assert "key-1" in first
    older = first.split('rel="next" href="')[1].split('"')[0]
    assert ">key-0 " in client.get(older).text
    assert client.get("/ui/keys?cursor=x").status_code == 422
    assert not any(text in first for text in texts)


def test_the_limits_of_a_key_are_shown(client: TestClient, make: Make) -> None:
    limits = KeyLimits(requests_per_minute=60, concurrent_requests=2, queued_tasks=1)
    make("few", Scope.SEGMENT, limits=limits)
    client.post("/login", data={"key": make("operator", Scope.ADMIN)})
    shown = client.get("/ui/keys").text
    for limit in ("60 requests a minute", "2 requests with pictures at a time", "1 waiting task<"):
        assert limit in shown
    assert 'id="concurrent_requests"' in shown
