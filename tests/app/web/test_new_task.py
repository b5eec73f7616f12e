"""A zip is looked into, and posted."""

from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Route, expect
from sqlalchemy import Engine, select

from app.db import (
    DeviceKind,
    LargeUpload,
    LargeUploadState,
    Task,
    read_session,
    utc_now,
    write_session,
)
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.settings import Settings
from app.storage import BlobStore
from app.workers.needs import Resources
from sats_core.data.readers import EncodedPicture, write_voc_zip
from tests.app.segmentation.requests import encoded, left_red_right_green
from tests.app.tasks.posting import drawn
from tests.app.web.conftest import Open
from tests.app.web.showcase import furnish
from tests.app.web.test_pages import PHONE
from tests.fixtures.browser import barriers
from worker.device import Device
from worker.presence import Presence

CPU = Device("A processor", 1, Resources(DeviceKind.CPU, 16_000))
GPU = Device("NVIDIA X", 1, Resources(DeviceKind.CUDA, 24_000))

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
def test_the_pixels_of_a_class_are_told(client: TestClient, tmp_path: Path) -> None:
    label = np.zeros((32, 64), np.uint8)
    label[:, :32] = 1
    label[0] = 255
    picture = encoded(left_red_right_green())
    items = [EncodedPicture(f"p{number}", ".png", picture, label) for number in range(5)]
    write_voc_zip(tmp_path / "data.zip", items, ["cherry", "plum"])
    files = {"dataset": ("data.zip", (tmp_path / "data.zip").read_bytes())}
    upload = client.post("/uploads", files=files).json()["upload"]
    told = client.get(f"/ui/uploads/{upload}").text
    assert '<td class="number">5.0 k</td>' in told  # 5 x 31 x 32 = 4960
    assert '<td class="number">0</td>' in told


@embedded
def test_the_schedule_follows_what_is_asked_for(
    open_page: Open, engine: Engine, blobs: BlobStore, tmp_path: Path
) -> None:
    furnish(engine, blobs)
    page = open_page("/ui/tasks/new", viewport=PHONE, bypass_csp=True)
    page.get_by_label("A zip of labelled pictures").set_input_files(drawn(tmp_path, "lamp"))
    schedule = page.locator("#schedule")
    expect(schedule).to_contain_text("one; no batches")
    page.get_by_label("Method").select_option("sats_plus")
    expect(schedule).to_contain_text("Batch size16")
    page.get_by_label("Epochs").fill("7")
    page.get_by_label("Epochs").blur()
    expect(schedule).to_contain_text("Epochs7")
    page.get_by_text("More of the spec").click()
    page.get_by_label("As JSON").fill('{"batch_size": 4, "epochs": ')
    page.get_by_label("As JSON").blur()
    expect(schedule).to_contain_text("no JSON")
    page.get_by_label("As JSON").fill('{"batch_size": 4, "epochs": 9}')
    page.get_by_label("As JSON").blur()
    expect(schedule).to_contain_text("Batch size4")
    expect(schedule).to_contain_text("Epochs9")
    assert barriers(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@embedded
def test_what_was_sent_before_is_chosen(
    open_page: Open, client: TestClient, engine: Engine, blobs: BlobStore, tmp_path: Path
) -> None:
    content = drawn(tmp_path, "cat", "dog").read_bytes()
    token = client.post("/uploads", files={"dataset": ("data.zip", content)}).json()["upload"]
    kept = sha256(content).hexdigest()
    said = {"key_id": None, "bytes": len(content), "part_bytes": 1 << 20, "blob": kept}
    said["expires_at"] = utc_now() + timedelta(hours=1)
    with write_session(engine) as session:
        for name, state in (("pets.zip", "done"), ("half.zip", "open")):
            session.add(LargeUpload(name=name, state=LargeUploadState(state), fence=1, **said))
    page = open_page("/ui/tasks/new", viewport=PHONE, bypass_csp=True)
    before = page.get_by_label("Or choose one that was sent before")
    expect(before.locator("option")).to_have_count(2)
    before.select_option(index=1)
    found = page.get_by_role("heading", name="What is in it")
    expect(found).to_be_visible()
    expect(page.get_by_label("Name")).to_have_value("pets")
    assert barriers(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.goto(f"{page.url.partition('?')[0]}?upload={token}")
    expect(before).to_have_value(token)
    expect(found).to_be_visible()
    page.get_by_label("Name").fill("of a token")
    page.get_by_role("button", name="Post the task").click()
    expect(page.get_by_role("heading", name="of a token")).to_be_visible()


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
def test_a_task_asks_for_a_worker_and_those_that_are_there_are_named(
    open_page: Open, engine: Engine, tmp_path: Path
) -> None:
    for name, device in (("host:1-a", CPU), ("host:2-b", GPU)):
        Presence(engine, name, "1.2.3", device, 600.0).beat()
    page = open_page("/ui/tasks/new", viewport=PHONE, bypass_csp=True)
    page.get_by_label("A zip of labelled pictures").set_input_files(drawn(tmp_path, "cat"))
    expect(page.get_by_role("heading", name="What is in it")).to_be_visible()
    page.get_by_text("Which worker takes it").click()
    named = page.locator("#workers li")
    expect(named).to_have_text(
        ["host:2-b: NVIDIA X, cuda, 24000 MiB", "host:1-a: A processor, cpu, 16000 MiB"]
    )
    nobody = page.get_by_text("No worker that is alive may take it")
    expect(nobody).to_be_hidden()
    page.get_by_label("Least memory").fill("20000")
    expect(nobody).to_be_hidden()
    page.get_by_label("Device").select_option("cpu")
    expect(nobody).to_be_visible()
    expect(nobody).to_contain_text("fails where none has come for 24 hours")
    assert barriers(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.get_by_label("Device").select_option("cuda")
    expect(nobody).to_be_hidden()
    page.get_by_label("Priority").fill("-3")
    page.get_by_role("button", name="Post the task").click()
    expect(page.get_by_role("status")).to_have_text("Queued")
    with read_session(engine) as session:
        spec = session.scalars(select(Task)).one().spec
    asked = {name: spec[name] for name in ("device", "min_memory_mib", "priority")}
    assert asked == {"device": "cuda", "min_memory_mib": 20_000, "priority": -3}


@embedded
def test_who_is_bound_to_a_model_is_told_of_workers_and_not_of_their_hosts(
    client: TestClient, engine: Engine, settings: Settings
) -> None:
    assert "No worker that is alive may take it" in client.get("/ui/tasks/new").text
    Presence(engine, "host:1-a", "1.2.3", GPU, 600.0).beat()
    with write_session(engine) as session:
        key = create_key(session, read_secret(settings), "poster", [Scope.SUBMIT])
    client.post("/login", data={"key": key, "next": "/"}, follow_redirects=False)
    told = client.get("/ui/tasks/new").text
    assert "NVIDIA X, cuda, 24000 MiB" in told
    assert "host:1-a" not in told


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
