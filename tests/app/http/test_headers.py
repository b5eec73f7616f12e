"""What browsers are told, and which pages may read answers."""

import re

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from app.http.headers import SECURITY_HEADERS
from app.main import create_app
from app.settings import Settings

PAGE = "https://labels.example.org"
BEFORE = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}


def test_every_answer_says_what_a_browser_may_do_with_it(service, client):
    @service.get("/broken", include_in_schema=False)
    def broken() -> None:
        raise RuntimeError

    for method, path, status in (
        ("GET", "/health/live", 200),
        ("GET", "/admin/models", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/nothing", 404),
        ("OPTIONS", "/tasks", 405),
        ("POST", "/tasks", 415),
        ("GET", "/broken", 500),
    ):
        answer = client.request(method, path)
        assert answer.status_code == status, path
        for name, value in SECURITY_HEADERS.items():
            assert answer.headers.get_list(name) == [value], path
    assert SECURITY_HEADERS["X-Content-Type-Options"] == "nosniff"


def test_every_answer_has_the_id_of_its_request(service, client):
    @service.get("/broken", include_in_schema=False)
    def broken() -> None:
        raise RuntimeError

    wrong_ids = ("", "x" * 65, "a b", "a\tb", "{}")
    # A bug is logged with all that stood around it, which takes seconds: it gets one of them.
    for path, status, wrongs in (
        ("/health/live", 200, wrong_ids),
        ("/nothing", 404, wrong_ids),
        ("/broken", 500, wrong_ids[:1]),
    ):
        given = client.get(path, headers={"Request-Id": "ci-7.a_B"})
        assert given.status_code == status
        assert given.headers.get_list("request-id") == ["ci-7.a_B"]
        made = set()
        for wrong in wrongs:
            (found,) = client.get(path, headers={"Request-Id": wrong}).headers.get_list(
                "request-id"
            )
            assert re.fullmatch("[0-9a-f]{32}", found)
            made.add(found)
        assert len(made) == len(wrongs)


def test_no_page_of_another_origin_may_read_anything(client):
    answer = client.get("/health/live", headers={"Origin": PAGE})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert client.options("/tasks", headers=BEFORE).status_code == 405


def test_pages_of_the_origins_in_the_settings_may(settings):
    opened = settings.model_copy(update={"cors_origins": f"http://localhost:3000, {PAGE}"})
    with TestClient(
        create_app(opened), base_url="http://127.0.0.1", client=("127.0.0.1", 1)
    ) as client:
        asked = client.options(
            "/tasks",
            headers=BEFORE | {"Access-Control-Request-Headers": "authorization, idempotency-key"},
        )
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == PAGE
        assert asked.headers["x-content-type-options"] == "nosniff"
        read = client.get("/health/live", headers={"Origin": PAGE})
        assert read.headers["access-control-allow-origin"] == PAGE
        assert "Location" in read.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in read.headers
        other = client.get("/health/live", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        refused = client.get("/tasks", headers={"Origin": PAGE})
        assert refused.json()["type"] == "urn:sats:problem:local-callers-only", "no key, no call"


@pytest.mark.parametrize(
    "wrong", ["", "labels.example.org", f"{PAGE}/", f"{PAGE}/labels", f"*,{PAGE}", f"{PAGE},"]
)
def test_what_is_no_list_of_origins_is_refused(wrong):
    with pytest.raises(ValidationError, match="cors_origins"):
        Settings(cors_origins=wrong)


@pytest.mark.parametrize("right", ["*", PAGE, f"{PAGE},http://[::1]:3000"])
def test_what_is_one_is_read(right):
    assert Settings(cors_origins=right).allowed_origins == tuple(right.split(","))


def test_a_bug_ends_the_connection_and_says_so(service, served):
    @service.get("/broken", include_in_schema=False)
    def broken() -> None:
        raise RuntimeError

    assert served.get("/broken").headers["connection"] == "close"
    assert served.get("/health/live").status_code == 200
    assert "connection" not in served.get("/nothing").headers
