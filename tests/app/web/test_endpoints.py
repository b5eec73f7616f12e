"""What pages are made of, asked for without a browser."""

import re
from importlib.resources import files
from typing import get_args

import pytest
from fastapi.testclient import TestClient

from app.web.endpoints import POLICY, File

STATIC = files("app.web") / "static"
NAMES = sorted(one.name for one in STATIC.iterdir())
PAGES = [name for name in NAMES if name.endswith(".html")]

embedded = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)


@embedded
def test_the_service_s_address_leads_to_a_page(client: TestClient) -> None:
    page = client.get("/")
    assert page.url.path == "/try"
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Content-Security-Policy"] == POLICY
    assert "unsafe" not in POLICY


@embedded
def test_every_file_is_served_and_no_other(client: TestClient) -> None:
    assert {*get_args(File), *PAGES} == set(NAMES)
    for name in get_args(File):
        answer = client.get(f"/static/{name}")
        assert answer.content == (STATIC / name).read_bytes()
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for name in ("try.html", "..%2Fendpoints.py", "__init__.py"):
        assert client.get(f"/static/{name}").status_code in (404, 422)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_loaded_from_elsewhere(name: str) -> None:
    text = (STATIC / name).read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|[\"\'(]//", text)
    loaded = re.findall(r'/static/([\w.-]+)|from "\./([\w.-]+)"', text)
    assert {one or other for one, other in loaded} <= set(NAMES)
