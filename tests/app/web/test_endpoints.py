"""What pages are made of, asked for without a browser."""

import re
from importlib.resources import files

import pytest
from fastapi.testclient import TestClient

from app.web.rendering import POLICY, templates
from app.web.static_files import FILES, FOR_EVER, RELEASE, TYPES, static_url

OURS = sorted(name for name in FILES if not name.startswith("vendor/"))

embedded = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)


@embedded
@pytest.mark.parametrize("path", ["/", "/try", "/ui/tasks", "/ui/models", "/ui/compare", "/docs"])
def test_a_page_may_run_and_load_what_is_ours_alone(client: TestClient, path: str) -> None:
    page = client.get(path)
    assert page.status_code == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Content-Security-Policy"] == POLICY
    assert page.headers["Cache-Control"] == "no-store"
    assert not re.search(r" style=| on\w+=|<style|(src|href)=\"(https?:)?//", page.text)
    for script in re.findall(r"<script\b[^>]*>", page.text):
        assert "src=" in script or "application/json" in script
    assert "unsafe" not in POLICY


@embedded
def test_files_are_kept_for_ever_under_this_release_s_name(client: TestClient) -> None:
    for name, found in FILES.items():
        answer = client.get(static_url(name))
        assert answer.headers["Cache-Control"] == FOR_EVER
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.content == found.place.read_bytes()
        again = client.get(static_url(name), headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    head = client.head(static_url("style.css"))
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["Content-Length"]) == len(client.get(static_url("style.css")).content)


@embedded
def test_a_page_of_an_older_release_keeps_nothing(client: TestClient) -> None:
    older = client.get("/static/0123456789ab/style.css")
    assert older.headers["Cache-Control"] == "no-cache"
    assert older.content == client.get(static_url("style.css")).content


@embedded
@pytest.mark.parametrize(
    "name", ["try.html", "..%2Fendpoints.py", "../endpoints.py", "vendor", "%2Fetc%2Fpasswd", ""]
)
def test_nothing_else_is_a_file(client: TestClient, name: str) -> None:
    assert client.get(f"/static/{RELEASE}/{name}").status_code == 404


def test_every_file_of_ours_is_of_a_kind_that_is_served() -> None:
    folder = files("app.web") / "static"
    assert {one.name for one in folder.iterdir() if one.is_file()} == set(OURS)
    assert {f".{name.rsplit('.', 1)[1]}" for name in FILES} <= set(TYPES)


@pytest.mark.parametrize("name", OURS)
def test_nothing_is_loaded_from_elsewhere(name: str) -> None:
    text = FILES[name].place.read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|[\"\'(]//", text)
    assert {f"{one}" for one in re.findall(r'from "\./([\w./-]+)"', text)} <= set(FILES)


def test_every_vendored_file_has_its_licence_beside_it() -> None:
    folders = {name.rsplit("/", 1)[0] for name in FILES if name.count("/") == 2}
    listed = FILES["vendor/README.txt"].place.read_text()
    assert folders
    for folder in folders:
        assert f"{folder}/LICENSE.txt" in FILES
        assert folder.rsplit("-", 1)[1] in listed


@pytest.mark.parametrize("name", templates().list_templates())
def test_every_template_can_be_read(name: str) -> None:
    assert templates().get_template(name).name == name
    text = templates().loader.get_source(templates(), name)[0]
    assert "|safe" not in text  # what a template shows is text
