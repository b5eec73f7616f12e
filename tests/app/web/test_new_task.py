"""A zip is looked into, and posted."""

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import expect
from sqlalchemy import Engine

from app.storage import BlobStore
from app.web.looking import look
from sats_core.errors import DatasetError
from sats_core.settings import Limits
from tests.app.tasks.posting import drawn
from tests.app.web.conftest import Open
from tests.app.web.showcase import furnish
from tests.app.web.test_pages import PHONE
from tests.app.web.test_pages import look as axe_of
from tests.fixtures.drawings import voc_zip

embedded = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)


def test_every_class_is_counted_and_shown(tmp_path: Path) -> None:
    path = voc_zip(tmp_path / "pets.zip", ["cat", "dog"], pictures=60, size=32)
    found = look(path, Limits(), ["dog"])
    assert found.pictures == 60
    assert found.looked_at == 30  # every second one
    assert [(one.name, one.known) for one in found.classes] == [("cat", False), ("dog", True)]
    for one in found.classes:
        assert 0 < one.pictures <= 30
        assert 0 < one.share < 1
    assert len(found.samples) == 8
    assert {name for one in found.samples for name in one.classes} == {"cat", "dog"}
    assert all(one.url.startswith("data:image/jpeg;base64,") for one in found.samples)


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.zip"
    path.write_bytes(b"no zip")
    with pytest.raises(DatasetError):
        look(path, Limits(), [])


def ask(client: TestClient, path: Path, **spec: object):
    files = {"dataset": ("data.zip", path.read_bytes(), "application/zip")}
    return client.post("/ui/tasks/look", files=files, data={"spec": json.dumps(spec)})


@embedded
def test_looking_keeps_nothing(client: TestClient, tmp_path: Path, blobs: BlobStore) -> None:
    answer = ask(client, drawn(tmp_path, "cat"), name="cats")
    assert answer.status_code == 200
    assert "data-refused" not in answer.text
    assert client.get("/tasks").json()["items"] == []
    assert client.get("/ui/models").status_code == 200
    assert list(blobs.entries()) == []


@embedded
def test_what_would_be_refused_is_told_before(
    client: TestClient, engine: Engine, blobs: BlobStore, tmp_path: Path
) -> None:
    furnish(engine, blobs)
    answer = ask(client, drawn(tmp_path, "cat"), name="cats")
    assert "data-refused" in answer.text
    assert "knows every class" in answer.text
    (tmp_path / "no.zip").write_bytes(b"no zip")
    assert "data-refused" in ask(client, tmp_path / "no.zip", name="nothing").text
    assert ask(client, drawn(tmp_path, "cat"), name="x", epochs=-1).status_code == 422


@embedded
def test_a_zip_is_dropped_looked_into_and_posted(open_page: Open, tmp_path: Path) -> None:
    page = open_page("/ui/tasks/new", viewport=PHONE, bypass_csp=True)
    assert axe_of(page) == []
    page.get_by_label("A zip of labelled pictures").set_input_files(drawn(tmp_path, "cat", "dog"))
    expect(page.get_by_role("heading", name="What is in it")).to_be_visible()
    expect(page.locator("#found tbody tr")).to_have_count(2)
    expect(page.locator(".sheet img").first).to_be_visible()
    assert page.locator(".sheet img").first.evaluate("(one) => one.naturalWidth") > 0
    assert axe_of(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    expect(page.get_by_label("Name")).to_have_value("cat-dog-0")
    page.get_by_label("Epochs").fill("3")
    page.get_by_role("button", name="Post the task").click()
    expect(page.get_by_role("heading", name="cat-dog-0")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("Queued")
