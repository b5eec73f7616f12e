"""A zip is looked into, and posted."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Route, expect
from sqlalchemy import Engine

from app.db import write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.settings import Settings
from app.storage import BlobStore
from tests.app.tasks.posting import drawn
from tests.app.web.conftest import Open
from tests.app.web.showcase import furnish
from tests.app.web.test_pages import PHONE
from tests.fixtures.browser import barriers

embedded = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)


@embedded
def test_what_an_upload_holds_is_told(
    client: TestClient, engine: Engine, blobs: BlobStore, tmp_path: Path
) -> None:
    furnish(engine, blobs)
    files = {"dataset": ("data.zip", drawn(tmp_path, "cat", "bus").read_bytes())}
    upload = client.post("/uploads", files=files).json()["upload"]
    told = client.get(f"/ui/uploads/{upload}").text
    assert "version 5 of default" in told
    assert told.count(">known<") == told.count(">new<") == 1
    assert f"/uploads/{upload}/sheet" in told
    base = client.get(f"/ui/uploads/{upload}", params={"model": "another"}).text
    assert "the base step of another" in base
    gone = client.get("/ui/uploads/nothing")
    assert (gone.status_code, "wrong" in gone.text) == (200, True)


@embedded
def test_what_is_no_data_set_is_told(client: TestClient) -> None:
    upload = client.post("/uploads", files={"dataset": ("a.zip", b"no zip")}).json()["upload"]
    assert "cannot be used" in client.get(f"/ui/uploads/{upload}").text


@embedded
def test_a_zip_is_dropped_looked_into_and_posted(open_page: Open, tmp_path: Path) -> None:
    page = open_page("/ui/tasks/new", allowed=("422",), viewport=PHONE, bypass_csp=True)
    assert barriers(page) == []
    page.get_by_label("A zip of labelled pictures").set_input_files(drawn(tmp_path, "cat", "dog"))
    expect(page.get_by_role("heading", name="What is in it")).to_be_visible()
    expect(page.locator("#found tbody tr")).to_have_count(2)
    sheet = page.locator("img.sheet")
    page.wait_for_function("document.querySelector('img.sheet').naturalWidth > 0")
    expect(sheet).to_be_visible()
    assert barriers(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    expect(page.get_by_label("Name")).to_have_value("cat-dog-0")
    page.get_by_label("Epochs").fill("3")
    page.get_by_text("More of the spec").click()
    page.get_by_label("As JSON").fill('{"size": ')
    page.get_by_role("button", name="Post the task").click()
    expect(page.locator("#wrong")).to_contain_text("no JSON")
    page.get_by_label("As JSON").fill('{"size": 7, "sise": 32}')
    page.get_by_role("button", name="Post the task").click()
    expect(page.locator("#wrong")).to_contain_text("spec.sise")
    page.get_by_label("As JSON").fill('{"size": 64}')
    page.get_by_role("button", name="Post the task").click()
    expect(page.get_by_role("heading", name="cat-dog-0")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("Queued")


@embedded
def test_a_lost_answer_posts_no_second_task(open_page: Open, tmp_path: Path) -> None:
    page = open_page("/ui/tasks/new", allowed=("ERR_FAILED",))
    page.get_by_label("A zip of labelled pictures").set_input_files(drawn(tmp_path, "cat"))
    expect(page.get_by_role("heading", name="What is in it")).to_be_visible()
    keys: list[str] = []

    def lost(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        route.abort()

    page.route("**/tasks", lost)
    post = page.get_by_role("button", name="Post the task")
    for name in ("one", "one", "two"):
        page.get_by_label("Name").fill(name)
        post.click()
        expect(page.locator("#wrong")).to_contain_text("does not answer")
        expect(post).to_be_enabled()
    assert keys[0] == keys[1] != keys[2]


@embedded
def test_a_look_that_fails_says_why(open_page: Open, tmp_path: Path) -> None:
    page = open_page("/ui/tasks/new", allowed=("503", "422", "ERR_FAILED"))
    page.route("**/ui/uploads/**", lambda route: route.abort())
    page.get_by_label("A zip of labelled pictures").set_input_files(drawn(tmp_path, "cat"))
    expect(page.locator("#found")).to_have_text("The service does not answer.")
    page.unroute("**/ui/uploads/**")
    page.get_by_label("Model").fill("no/name")
    page.get_by_label("Model").blur()
    expect(page.locator("#found")).to_contain_text("model")
    expect(page.locator("#found nav")).to_have_count(0)


@embedded
def test_after_the_session_has_ended_a_look_leads_to_the_login(
    open_page: Open, engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    with write_session(engine) as session:
        key = create_key(session, read_secret(settings), "operator", [Scope.ADMIN])
    page = open_page("/login?next=/ui/tasks/new", allowed=("401",))
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    page.get_by_label("A zip of labelled pictures").set_input_files(drawn(tmp_path, "cat"))
    expect(page.get_by_role("heading", name="What is in it")).to_be_visible()
    page.context.clear_cookies()
    page.get_by_label("Model").fill("another")
    page.get_by_label("Model").blur()
    page.wait_for_url("**/login?next=**")
    expect(page.get_by_label("API key")).to_be_visible()
