"""Keys for sessions of browsers, and what a session may not do."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from app.db import utc_now, write_session
from app.http.sessions import COOKIE, TOKEN_HEADER, make_session, page_token, read_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key, digest, revoke_key
from app.settings import Settings
from app.storage import BlobStore
from app.web.attempts import MOST_FAILED
from app.web.login import own_path
from tests.app.web.showcase import furnish

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

Make = Callable[..., str]
OF_SERVICE = ("/ui/keys", "/ui/audit", "/ui/settings")
"""What belongs to no model."""


@pytest.fixture
def make(engine: Engine, settings: Settings) -> Make:
    """Return what makes a key."""

    def one(name: str = "someone", scope: Scope = Scope.ADMIN, **rules: object) -> str:
        with write_session(engine) as session:
            return create_key(session, read_secret(settings), name, [scope], **rules)

    return one


def log_in(client: TestClient, key: str, **fields: str):
    return client.post("/login", data={"key": key, **fields}, follow_redirects=False)


def token_of(client: TestClient, path: str = "/try") -> dict[str, str]:
    found = re.search(r'name="page-token" content="(\w+)"', client.get(path).text)
    assert found
    return {TOKEN_HEADER: found.group(1)}


def test_a_key_gives_a_session(client: TestClient, make: Make, settings: Settings) -> None:
    key = make()
    page = client.get("/ui/models?x=1", follow_redirects=False)
    assert page.status_code == 303
    assert page.headers["Location"] == "/login?next=%2Fui%2Fmodels%3Fx%3D1"
    answer = log_in(client, key, next="/ui/models?x=1")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/models?x=1")
    said = answer.headers["Set-Cookie"]
    for attribute in ("HttpOnly", "SameSite=strict", "Max-Age=43200", "Path=/"):
        assert attribute in said
    assert "Secure" not in said
    assert key not in said
    assert client.get("/ui/models").status_code == 200
    assert client.get("/admin/models").status_code == 200  # as our pages' scripts ask


@pytest.mark.parametrize("header", [{"X-Forwarded-Proto": "https"}, {}])
def test_over_https_the_cookie_goes_nowhere_else(
    service: FastAPI, make: Make, header: dict[str, str]
) -> None:
    base = "http://127.0.0.1" if header else "https://sats.example.org"
    with TestClient(service, base_url=base) as client:
        form = {"key": make(), "next": "/"}
        answer = client.post("/login", data=form, headers=header, follow_redirects=False)
    assert "; Secure" in answer.headers["Set-Cookie"]


def test_while_there_is_no_key_nobody_logs_in(client: TestClient) -> None:
    answer = client.get("/login?next=/ui/tasks", follow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/tasks")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("sats_" + "x" * 43, "not known or was revoked"),
        ("sats_mistyped_000000", "mistyped"),
        ("", "mistyped"),
        ("<script>alert(1)</script>", "mistyped"),
    ],
)
def test_a_wrong_key_is_told_plainly(client: TestClient, make: Make, key: str, said: str) -> None:
    make()
    answer = log_in(client, key, next="//evil.example")
    assert answer.status_code == 401
    assert said in answer.text
    assert "Set-Cookie" not in answer.headers
    assert "<script>alert" not in answer.text
    assert "evil" not in answer.text


def test_an_expired_key_gives_none(client: TestClient, make: Make) -> None:
    make("admin")
    key = make("old", expires_at=utc_now() - timedelta(seconds=1))
    answer = log_in(client, key)
    assert (answer.status_code, "expired" in answer.text) == (401, True)


@pytest.mark.parametrize(
    "asked",
    [
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example/",
        "/\t/evil.example",
        "/ \n/evil",
        "javascript:alert(1)",
        "evil",
        "",
    ],
)
def test_nobody_is_led_to_another_site(client: TestClient, make: Make, asked: str) -> None:
    assert own_path(asked) == "/"
    assert log_in(client, make(), next=asked).headers["Location"] == "/"


def forged(secret: bytes, holder: str) -> list[str]:
    good = make_session(secret, holder)
    ends, rest = good.split(".", 1)
    other = make_session(b"another secret", holder)
    return [
        other,
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        f"{int(ends) + 1}.{rest}",
        good.replace(holder, "0" * 64),
        f"{ends}.{page_token(secret, good)}",
        page_token(secret, good),
        "",
        ".",
        "..",
        "...",
        "é",
        "9" * 5000,
    ]


def test_a_forged_cookie_is_none(client: TestClient, make: Make, settings: Settings) -> None:
    secret = read_secret(settings)
    for value in forged(secret, digest(secret, make())):
        assert read_session(secret, value) is None, value
        client.cookies.clear()
        headers = {"Cookie": f"{COOKIE}={value}".encode()}
        page = client.get("/ui/models", headers=headers, follow_redirects=False)
        assert page.status_code == 303, value
        assert client.get("/admin/models", headers=headers).status_code == 401, value


def test_a_session_ends_with_its_key(
    client: TestClient, make: Make, engine: Engine, service: FastAPI
) -> None:
    log_in(client, make())
    assert client.get("/ui/models").url.path == "/ui/models"
    with write_session(engine) as session:
        revoke_key(session, "someone")
    service.state.services.callers.clear()
    assert client.get("/ui/models", follow_redirects=False).status_code == 303
    assert client.get("/admin/models").status_code == 401


def test_what_changes_something_needs_the_page_s_token(client: TestClient, make: Make) -> None:
    log_in(client, make())
    token = token_of(client)
    wish = {"name": "another", "scopes": ["segment"]}
    for headers in ({}, {TOKEN_HEADER: ""}, {TOKEN_HEADER: token[TOKEN_HEADER][:-1] + "x"}):
        assert client.post("/admin/keys", json=wish, headers=headers).status_code == 403
        assert client.delete("/admin/keys/1", headers=headers).status_code == 403
    assert client.post("/admin/keys", json=wish, headers=token).status_code == 201


def test_a_token_is_of_one_session(client: TestClient, make: Make, service: FastAPI) -> None:
    log_in(client, make())
    mine = token_of(client)
    log_in(client, make("another"))
    assert token_of(client) != mine
    wish = {"name": "third", "scopes": ["segment"]}
    assert client.post("/admin/keys", json=wish, headers=mine).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_uses_no_session(client: TestClient, make: Make, site: str) -> None:
    """Also of the same machine at another port, which is the same site."""
    key = make()
    log_in(client, key)
    token = token_of(client)
    headers = {"Sec-Fetch-Site": site}
    assert client.get("/admin/models", headers=headers).status_code == 403
    wish = {"name": "another", "scopes": ["segment"]}
    assert client.post("/admin/keys", json=wish, headers=headers | token).status_code == 403
    assert client.post("/login", data={"key": key}, headers=headers).status_code == 403
    assert client.post("/logout", headers=headers | token).status_code == 403


def test_a_link_of_another_site_leads_here(client: TestClient, make: Make) -> None:
    followed = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    assert client.get("/ui/models", headers=followed).status_code == 200  # while there is no key
    log_in(client, make())
    token = token_of(client)
    assert client.get("/ui/models", headers=followed).status_code == 200
    for changed in ({"Sec-Fetch-Dest": "iframe"}, {"Sec-Fetch-Mode": "no-cors"}):
        assert client.get("/ui/models", headers=followed | changed).status_code == 403
    wish = {"name": "another", "scopes": ["segment"]}
    assert client.post("/admin/keys", json=wish, headers=followed | token).status_code == 403


def test_without_fetch_metadata_the_origin_counts(client: TestClient, make: Make) -> None:
    key = make()
    for origin, status in (("http://evil.example", 403), ("http://127.0.0.1", 303), ("null", 403)):
        sent = {"data": {"key": key}, "headers": {"Origin": origin}}
        assert client.post("/login", **sent, follow_redirects=False).status_code == status


def test_a_key_in_the_header_goes_before_the_session(client: TestClient, make: Make) -> None:
    log_in(client, make())
    weak = make("weak", Scope.SEGMENT)
    headers = {"Authorization": f"Bearer {weak}"}
    assert client.get("/admin/models", headers=headers).status_code == 403


def test_logging_out_makes_the_browser_forget(client: TestClient, make: Make) -> None:
    log_in(client, make())
    assert client.post("/logout").status_code == 403
    answer = client.post("/logout", headers=token_of(client))
    assert answer.status_code == 204
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert client.get("/ui/models", follow_redirects=False).status_code == 303


def test_too_many_wrong_keys_have_to_wait(client: TestClient, make: Make) -> None:
    key = make()
    for _ in range(MOST_FAILED):
        assert log_in(client, "sats_" + "y" * 43).status_code == 401
    refused = log_in(client, key)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert "Too many attempts" in refused.text


def test_a_form_is_not_read_without_end(client: TestClient, make: Make) -> None:
    make()
    assert log_in(client, "x" * 100_000).status_code == 413
    body = b"a" * 20_000
    multipart = {"Content-Type": "multipart/form-data; boundary=x"}
    assert client.post("/login", content=body[:100], headers=multipart).status_code in (400, 401)


@pytest.mark.parametrize(
    ("scope", "pages"),
    [
        (Scope.SEGMENT, ["/try"]),
        (Scope.SUBMIT, ["/", "/ui/tasks", "/ui/tasks/new"]),
        (Scope.READ, ["/", "/ui/tasks", "/ui/models", *OF_SERVICE]),
        (Scope.ADMIN, ["/", "/ui/tasks", "/ui/tasks/new", "/ui/models", "/try", *OF_SERVICE]),
    ],
)
def test_a_scope_decides_what_is_shown(
    client: TestClient, make: Make, scope: Scope, pages: list[str]
) -> None:
    log_in(client, make(scope=scope))
    every = ["/", "/ui/tasks", "/ui/tasks/new", "/ui/models", "/try", *OF_SERVICE]
    home = client.get(pages[0]).text
    for path in every:
        if path != "/" or scope != Scope.SEGMENT:
            assert (client.get(path).status_code == 200) == (path in pages), path
        assert (f'<a href="{path}"' in home) == (path in pages), path


def test_a_key_sees_its_own_tasks_and_models_alone(
    client: TestClient, make: Make, engine: Engine, blobs: BlobStore
) -> None:
    ids = furnish(engine, blobs)
    log_in(client, make(scope=Scope.SUBMIT))
    assert client.get(f"/ui/tasks/{ids['buses']}").status_code == 404
    assert "buses" not in client.get("/ui/tasks").text + client.get("/").text
    log_in(client, make("bound", models=["street"]))
    for path in (f"/ui/tasks/{ids['buses']}", "/ui/tasks?model=default", "/ui/models/default"):
        assert client.get(path).status_code in (403, 404), path
    assert "default" not in client.get("/ui/models").text
    assert "buses" not in client.get("/").text


def test_a_key_of_one_model_sees_nothing_of_the_service(client: TestClient, make: Make) -> None:
    log_in(client, make("bound", models=["street"]))
    home = client.get("/").text
    for path in OF_SERVICE:
        refused = client.get(path)
        assert refused.status_code == 403
        assert "not for keys that are bound to models" in refused.text
        assert f'<a href="{path}"' not in home


def test_who_may_only_read_is_offered_nothing_else(
    client: TestClient, make: Make, engine: Engine, blobs: BlobStore
) -> None:
    ids = furnish(engine, blobs)
    log_in(client, make(scope=Scope.READ))
    token = token_of(client, "/")
    offered = (f"/ui/tasks/{ids['buses']}", "/ui/models/default/versions/3", "/ui/keys")
    for path in offered:
        shown = client.get(path)
        assert shown.status_code == 200
        assert "data-action" not in shown.text.replace('data-action="/logout"', ""), path
        assert "data-dialog" not in shown.text, path
    assert client.post(f"/tasks/{ids['buses']}:cancel", headers=token).status_code == 403
    with client.stream("GET", f"/tasks/{ids['version 5']}/events") as events:
        assert events.status_code == 200
