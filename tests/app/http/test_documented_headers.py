"""What the OpenAPI document says of headers is what real answers carry."""

import re
from urllib.parse import unquote

import pytest

from app.db import write_session
from app.keys.secret import read_secret
from app.keys.service import KeyLimits, Scope, create_key
from tests.fixtures.versions import add_version

FILE = "/admin/models/{model}/versions/{number}/files/{name}"
PROMOTE = "/admin/models/{model}/versions/{number}:promote"
FILLED = {"model": "default", "number": 1, "name": "config.json"}
EVERYWHERE = {"Request-Id", "RateLimit", "RateLimit-Policy"}


@pytest.fixture
def headers(engine, settings, blobs):
    """What an admin's key with a limit sends; there are two versions, the second one is live."""
    with write_session(engine) as session:
        for name in ("cat", "dog"):
            add_version(session, blobs, [name])
        key = create_key(
            session,
            read_secret(settings),
            "boss",
            [Scope.ADMIN],
            limits=KeyLimits(requests_per_minute=1000),
        )
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def ask(client, headers, document):
    """Ask, and return what the document declares beside the answer."""

    def asked(method, path, known=None, **filled):
        answer = client.request(method, path.format(**FILLED | filled), headers=known or headers)
        said = document["paths"][path][method]["responses"][str(answer.status_code)]
        for header in said["headers"].values():
            name = header.get("$ref", "").removeprefix("#/components/headers/")
            assert not name or name in document["components"]["headers"]
        return answer, set(said["headers"])

    return asked


def carried(answer, declared):
    return {name for name in declared if name in answer.headers}


def test_every_answer_of_the_document_declares_an_id(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for status, answer in operation["responses"].items():
                assert "Request-Id" in answer["headers"], (method, path, status)
                if status in ("429", "503"):
                    assert "Retry-After" in answer["headers"], (method, path, status)


def test_answers_carry_what_is_declared(ask, headers):
    for path, more in (
        ("/tasks", set()),
        ("/admin/models/{model}/aliases/live", {"ETag"}),
        (FILE, {"ETag", "Accept-Ranges"}),
    ):
        answer, declared = ask("get", path)
        assert answer.status_code == 200
        assert carried(answer, declared) == declared == EVERYWHERE | more
    etag = answer.headers["ETag"]
    for method in ("get", "head"):
        for known, status, more in (
            ({}, 200, {"ETag", "Accept-Ranges"}),
            ({"Range": "bytes=0-3"}, 206, {"ETag", "Accept-Ranges", "Content-Range"}),
            ({"If-None-Match": etag}, 304, {"ETag"}),
        ):
            answer, declared = ask(method, FILE, headers | known)
            assert answer.status_code == status
            assert carried(answer, declared) == declared == EVERYWHERE | more
        missing, declared = ask(method, FILE, name="no.json")
        assert missing.status_code == 404
        assert carried(missing, declared) == declared == EVERYWHERE


def test_what_is_deprecated_says_so_whatever_it_answers(ask):
    ended = EVERYWHERE | {"Deprecation", "Link"}
    for number, status in ((1, 200), (1, 409), (9, 404), ("x", 422)):
        answer, declared = ask("post", PROMOTE, number=number)
        assert answer.status_code == status
        assert carried(answer, declared) == declared - {"Idempotency-Replayed"} == ended
        assert answer.headers["Link"].startswith("</admin/models/default/aliases/live>")
    refused, _ = ask("post", PROMOTE, {"Authorization": "Bearer sats_nobody"})
    assert refused.status_code == 401
    assert re.fullmatch(r"@\d+", refused.headers["Deprecation"])


def test_who_asks_too_often_is_told_when_to_come_back(ask, engine, settings):
    with write_session(engine) as session:
        key = create_key(
            session,
            read_secret(settings),
            "slow",
            [Scope.ADMIN],
            limits=KeyLimits(requests_per_minute=1),
        )
    for status in (200, 429):
        answer, declared = ask("get", "/tasks", {"Authorization": f"Bearer {key}"})
        assert answer.status_code == status
        assert carried(answer, declared) == declared
    assert "Retry-After" in declared


@pytest.mark.parametrize("model", ["%F3%A2%A4%90", "a%0D%0ASet-Cookie:%20b=c", "a%3E;rel=x"])
def test_what_a_path_says_cannot_be_more_than_a_part_of_a_link(client, model):
    refused = client.post(f"/admin/models/{model}/versions/1:promote")
    assert refused.status_code == 422
    assert "set-cookie" not in refused.headers
    link = f'</admin/models/{model}/aliases/live>; rel="successor-version"'
    assert unquote(refused.headers["Link"]) == unquote(link)
    assert refused.headers["Link"].count(">") == 1
