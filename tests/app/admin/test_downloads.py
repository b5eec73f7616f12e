"""A version's file over HTTP: whole, in part, its head alone, or only if it changed."""

import hashlib

import pytest

from app.db import write_session
from tests.fixtures.versions import add_version

CONFIG = "/admin/models/default/versions/1/files/config.json"


@pytest.fixture(autouse=True)
def version(engine, blobs):
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])


@pytest.mark.parametrize(
    ("asked", "status", "kind"),
    [
        ("bytes=0-3", 206, "application/json"),
        ("bytes=-4", 206, "application/json"),
        ("bytes=3-0", 416, "application/problem+json"),
        ("bytes=999999-", 416, "application/problem+json"),
        ("bytes=-0", 416, "application/problem+json"),
        ("bytes=0-1,3-4", 200, "application/json"),
        ("bytes=0-1, -4", 200, "application/json"),
        ("bytes=0-1,x", 422, "application/problem+json"),
        ("bytes=x", 422, "application/problem+json"),
        ("Bytes=0-3", 206, "application/json"),
        ("lines=1", 200, "application/json"),
        ("nothing", 200, "application/json"),
    ],
)
def test_a_part_of_a_file(client, asked, status, kind):
    answer = client.get(CONFIG, headers={"Range": asked})
    assert (answer.status_code, answer.headers["content-type"]) == (status, kind)
    whole = client.get(CONFIG).content
    if status in (200, 206):
        assert (
            answer.content == {200: whole, 206: whole[-4:] if "=-" in asked else whole[:4]}[status]
        )
    if status == 416:
        assert answer.headers["content-range"] == f"bytes */{len(whole)}"
    if status == 422:
        assert answer.json()["errors"][0]["field"] == "header.Range"


def test_the_head_says_what_would_come(client):
    whole, head = client.get(CONFIG), client.head(CONFIG)
    assert (head.status_code, head.content) == (200, b"")
    told = ("content-length", "etag", "content-type", "accept-ranges")
    assert {name: head.headers[name] for name in told} == {
        name: whole.headers[name] for name in told
    }
    assert client.head(CONFIG + "x").status_code == 404


def test_a_file_that_the_caller_has_is_not_sent_again(client):
    whole = client.get(CONFIG)
    etag = f'"{hashlib.sha256(whole.content).hexdigest()}"'
    assert whole.headers["etag"] == etag
    for known in (etag, f'"other", W/{etag}', "*"):
        for method in ("GET", "HEAD"):
            answer = client.request(method, CONFIG, headers={"If-None-Match": known})
            assert (answer.status_code, answer.content) == (304, b""), known
            assert answer.headers["etag"] == etag
    assert client.get(CONFIG, headers={"If-None-Match": '"other"'}).content == whole.content
    assert client.get(CONFIG + "x", headers={"If-None-Match": "*"}).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", CONFIG, "GET, HEAD"),
        ("POST", "/admin/models/default/gate", "GET, PUT"),
        ("GET", "/admin/models/default/versions/1/held-out", "DELETE"),
        ("DELETE", "/health/live", "GET"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(client, method, path, allowed):
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert sorted(answer.headers["allow"].split(", ")) == allowed.split(", ")
