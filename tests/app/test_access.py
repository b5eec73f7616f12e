"""Who may call what: a row for every operation that the app has, found by walking its routes.

Every row says what a caller needs, and what a key that is bound to another model gets.
"""

import re
from dataclasses import dataclass

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from app.db import write_session
from app.integrations.protocols.refusals import OPEN_INFERENCE
from app.keys.secret import read_secret
from app.keys.service import KeyLimits, Scope, create_key
from tests.app.tasks.posting import drawn, post

LABEL_STUDIO = "/integrations/label-studio"
ID = "00000000-0000-4000-8000-000000000000"

UNAUTHORIZED = "urn:sats:problem:unauthorized"

NAMED = 403, "default"  # refused, and the refusal names the model
NOT_THERE = 404, None
GONE = 422, "no such upload"
NOTHING = 200, None  # answered, with what the key may see: nothing
UNBOUND = 403, "bound to"  # not for any key that is bound to models


@dataclass(frozen=True)
class Row:
    """What an operation needs, and what a key gets that is bound to a model but `default`."""

    needs: Scope | None
    elsewhere: tuple[int, str | None]


def _rows(needs, elsewhere, *operations):
    return {tuple(one.split(" ")): Row(needs, elsewhere) for one in operations}


TABLE: dict[tuple[str, str], Row] = {
    **_rows(
        None,
        NOTHING,
        "GET /health/live",
        "GET /health/ready",
        "GET /metrics",
        "GET /v2",
        "GET /v2/health/live",
        "GET /v2/health/ready",
    ),
    **_rows(
        Scope.SEGMENT,
        NAMED,
        "GET /classes",
        "POST /segment",
        "POST /hf/{model}",
        "GET /v2/models/{model}",
        "GET /v2/models/{model}/ready",
        "POST /v2/models/{model}/infer",
        "GET /v2/models/{model}/versions/{number}",
        "GET /v2/models/{model}/versions/{number}/ready",
        "POST /v2/models/{model}/versions/{number}/infer",
    ),
    **_rows(
        Scope.SEGMENT,
        NAMED,
        *(
            f"{call.replace(' ', f' {LABEL_STUDIO}{model}')}"
            for model in ("", "/{model}")
            for call in ("GET /health", "GET /versions", "POST /setup", "POST /predict")
        ),
    ),
    **_rows(
        Scope.SUBMIT,
        NAMED,
        *(
            f"{call.replace(' ', f' {LABEL_STUDIO}{model}')}"
            for model in ("", "/{model}")
            for call in ("POST /webhook", "GET /projects/{project}")
        ),
    ),
    **_rows(Scope.SUBMIT, NAMED, "POST /tasks"),
    **_rows(Scope.SUBMIT, (415, None), "POST /uploads"),
    **_rows(Scope.SUBMIT, GONE, "GET /uploads/{upload}", "GET /uploads/{upload}/sheet"),
    **_rows(
        Scope.SUBMIT,
        NOT_THERE,
        "GET /uploads/{upload}/parts",
        "PUT /uploads/{upload}/parts/{number}",
        "POST /uploads/{upload}:complete",
        "DELETE /uploads/{upload}",
    ),
    **_rows(Scope.SUBMIT, NOTHING, "GET /tasks", "GET /events"),
    **_rows(
        Scope.SUBMIT,
        NOT_THERE,
        "GET /tasks/{task_id}",
        "GET /tasks/{task_id}/events",
        "POST /tasks/{task_id}/events/token",
        "GET /tasks/{task_id}/log",
        "POST /tasks/{task_id}:cancel",
        "POST /tasks/{task_id}:retry",
    ),
    **_rows(Scope.ADMIN, NOT_THERE, "DELETE /tasks/{task_id}"),
    **_rows(Scope.ADMIN, NOTHING, "GET /admin/models", "GET /admin/metrics", "GET /admin/overview"),
    **_rows(
        Scope.ADMIN,
        NAMED,
        "GET /admin/models/{model}",
        "GET /admin/models/{model}/gate",
        "PUT /admin/models/{model}/gate",
        "GET /admin/models/{model}/versions",
        "POST /admin/models/{model}/versions",
        "GET /admin/models/{model}/versions/{number}",
        "GET /admin/models/{model}/versions/{number}/files/{name}",
        "HEAD /admin/models/{model}/versions/{number}/files/{name}",
        "GET /admin/models/{model}/versions/{number}/fiftyone",
        "GET /admin/models/{model}/versions/{number}/forgetting",
        "GET /admin/models/{model}/versions/{number}/confusion",
        "DELETE /admin/models/{model}/versions/{number}",
        "DELETE /admin/models/{model}/versions/{number}/held-out",
        "DELETE /admin/models/{model}/versions/{number}/memory",
        "GET /admin/models/{model}/aliases/live",
        "GET /admin/models/{model}/aliases/live/moves",
        "PUT /admin/models/{model}/aliases/live",
        "POST /admin/models/{model}/versions/{number}:promote",
        "POST /admin/models/{model}/versions/{number}:retire",
        "POST /admin/models/{model}/versions/{number}:rollback",
    ),
    **_rows(
        Scope.ADMIN,
        UNBOUND,
        "GET /admin/keys",
        "POST /admin/keys",
        "DELETE /admin/keys/{key_id}",
        "GET /admin/audit",
        "GET /admin/workers",
        "POST /admin/webhooks",
        "GET /admin/webhooks",
        "DELETE /admin/webhooks/{webhook_id}",
        "GET /admin/webhooks/{webhook_id}/deliveries",
    ),
}
ASKED_AS_OTHERS = (OPEN_INFERENCE, "/uploads")
"""The protocol's metadata are for who segments; an upload is its sender's alone."""
READABLE = {
    *(
        one
        for one in TABLE
        if one[0] in ("GET", "HEAD")
        and not one[1].startswith(ASKED_AS_OTHERS)
        and not one[1].endswith("/fiftyone")  # pictures that a task brought
    ),
    ("POST", "/tasks/{task_id}/events/token"),  # it changes nothing
}
"""What scope `read` alone lets through to."""
PAGES = {
    *(
        ("GET", path)
        for path in ("/", "/try", "/docs", "/login", "/ui/tasks", "/ui/tasks/{task_id}")
    ),
    *(("GET", f"/ui/models{below}") for below in ("", "/{model}", "/{model}/curves")),
    ("GET", "/ui/models/{model}/versions/{number}"),
    ("GET", "/ui/models/{model}/versions/{number}/held-out"),
    ("GET", "/ui/models/{model}/versions/{number}/held-out/{position}/{what}"),
    ("GET", "/ui/compare"),
    ("GET", "/ui/compare/held-out"),
    ("GET", "/ui/tasks/new"),
    ("GET", "/ui/settings"),
    ("GET", "/ui/label-studio"),
    ("GET", "/ui/keys"),
    ("GET", "/ui/audit"),
    ("GET", "/ui/{path:path}"),
    ("GET", "/ui/schedule"),
    ("GET", "/ui/uploads/{upload}"),
    ("GET", "/ui/uploads/{upload}/seen"),
    ("POST", "/login"),
    ("POST", "/logout"),
    ("GET", "/static/{release}/{name:path}"),
    ("HEAD", "/static/{release}/{name:path}"),
}
"""tests/app/web says who may see them."""

FILTERED = [operation for operation, row in TABLE.items() if row.elsewhere == NOTHING and row.needs]


def operations(router):
    """Yield every operation under a router, those that the document hides too."""
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield from ((method, route.path) for method in route.methods)


def test_every_operation_has_a_row(service, document):
    found = set(operations(service.router))
    shown = document["paths"]
    found |= {(method.upper(), path) for path in shown for method in shown[path]}
    assert found == set(TABLE) | PAGES


def call(client, operation, header=None, task_id=ID):
    method, path = operation
    filled = path.format(
        task_id=task_id,
        model="default",
        number=1,
        name="model.onnx",
        key_id=99,
        webhook_id=ID,
        upload="x",
        project=3,
    )
    headers = {} if header is None else {"Authorization": header}
    return client.request(method, filled, headers=headers)


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def make(engine, settings):
    """Make a key."""
    secret = read_secret(settings)

    def make_one(name, scopes, **rules):
        with write_session(engine) as session:
            return create_key(session, secret, name, scopes, **rules)

    return make_one


@pytest.fixture
def keys(make):
    """A key of each scope alone."""
    return {scope: make(scope.value, [scope]) for scope in Scope}


def test_every_scope_on_every_operation(client, keys):
    wrong = []
    for operation, row in TABLE.items():
        for scope, key in keys.items():
            answer = call(client, operation, f"Bearer {key}")
            reads = scope is Scope.READ and operation in READABLE
            allowed = reads or row.needs in (None, scope) or scope is Scope.ADMIN
            if (answer.status_code == 403) == allowed or answer.status_code in (401, 500):
                wrong.append((operation, scope, answer.status_code))
    assert not wrong


def test_read_lets_through_to_nothing_that_changes_something(client, keys):
    opened = {
        one for one in TABLE if call(client, one, f"Bearer {keys[Scope.READ]}").status_code != 403
    }
    assert opened == READABLE | {one for one, row in TABLE.items() if row.needs is None}


def test_a_reader_sees_the_tasks_of_all_and_changes_none(client, make, tmp_path):
    owner, other = make("owner", [Scope.SUBMIT]), make("other", [Scope.SUBMIT])
    task = post(client, drawn(tmp_path, "cat"), Authorization=f"Bearer {owner}").json()["id"]
    for scopes in ([Scope.READ], [Scope.READ, Scope.SUBMIT]):
        reader = bearer(make("-".join(scopes), scopes))
        assert [one["id"] for one in client.get("/tasks", headers=reader).json()["items"]] == [task]
        for path in ("", "/log"):
            assert client.get(f"/tasks/{task}{path}", headers=reader).status_code == 200
        assert client.post(f"/tasks/{task}/events/token", headers=reader).status_code == 200
        for deed in ("cancel", "retry"):
            assert client.post(f"/tasks/{task}:{deed}", headers=reader).status_code == 403
        assert client.delete(f"/tasks/{task}", headers=reader).status_code == 403
        assert client.post("/segment", headers=reader).status_code == 403
    assert client.get("/tasks", headers=bearer(other)).json()["items"] == []
    assert client.get(f"/tasks/{task}", headers=bearer(other)).status_code == 404
    street = bearer(make("street", [Scope.READ], models=["street"]))
    assert client.get("/tasks", headers=street).json()["items"] == []
    assert client.get(f"/tasks/{task}", headers=street).status_code == 404
    assert client.post(f"/tasks/{task}:cancel", headers=bearer(owner)).status_code == 202


def test_a_request_is_counted_once_whatever_it_needs(client, make):
    """The one request that these keys may send a minute is refused by no operation."""
    for number, operation in enumerate(TABLE):
        key = make(f"one-{number}", [Scope.ADMIN], limits=KeyLimits(requests_per_minute=1))
        assert call(client, operation, f"Bearer {key}").status_code != 429, operation


@pytest.mark.parametrize(
    "header", [None, "Bearer sats_" + "x" * 43, "Bearer", "Basic c2F0czpzYXRz", "Bearer  ", "x"]
)
def test_no_key_or_a_wrong_one_is_401_everywhere(client, keys, header):
    for operation, row in TABLE.items():
        answer = call(client, operation, header)
        if row.needs is None:
            assert answer.status_code == 200
        else:
            assert answer.status_code == 401, operation
            assert answer.headers["www-authenticate"] == "Bearer"
            if operation[0] != "HEAD":
                named = {"error"} if operation[1].startswith(OPEN_INFERENCE) else {"type", "title"}
                assert named <= set(answer.json()), operation
                kinds = {UNAUTHORIZED}
                if operation[1].startswith(LABEL_STUDIO):  # there a password is a key
                    kinds.add("urn:sats:problem:key-mistyped")
                assert answer.json().get("type", UNAUTHORIZED) in kinds


def test_without_keys_another_machine_is_refused(service):
    with TestClient(service, base_url="http://127.0.0.1", client=("10.1.2.3", 5)) as far:
        for operation, row in TABLE.items():
            assert (call(far, operation).status_code == 403) == (row.needs is not None)


def test_a_key_of_another_model_reaches_nothing_of_this_one(client, make, tmp_path):
    pets = drawn(tmp_path, "cat")
    admin = make("admin", list(Scope))
    bound = make("bound", list(Scope), models=["street"])
    task = post(client, pets, Authorization=f"Bearer {admin}").json()["id"]
    assert client.get("/tasks", headers=bearer(admin)).json()["items"]
    wrong = []
    for operation, row in TABLE.items():
        if operation == ("POST", "/tasks"):
            answer = post(client, pets, Authorization=f"Bearer {bound}")
        else:
            answer = call(client, operation, f"Bearer {bound}", task)
        status, said = row.elsewhere
        if operation[0] == "HEAD":  # it says nothing
            said = None
        refused = answer.status_code >= 400 and operation[0] != "HEAD"
        body = answer.json() if refused else {}
        detail = body.get("detail", body.get("error", ""))
        if answer.status_code != status or (said and said not in detail):
            wrong.append((operation, answer.status_code, detail))
    assert not wrong
    for operation in FILTERED:
        listed = call(client, operation, f"Bearer {bound}").json()
        assert "default" not in str(listed), operation


@pytest.mark.parametrize("path", ["/tasks", "/admin/metrics"])
def test_a_list_of_a_model_that_a_key_may_not_use_is_refused(client, make, path):
    bound = make("bound", list(Scope), models=["street"])
    refused = client.get(path, params={"model": "default"}, headers=bearer(bound))
    assert refused.status_code == 403
    assert "'default'" in refused.json()["detail"]
    allowed = client.get(path, params={"model": "street"}, headers=bearer(bound))
    assert allowed.status_code in (200, 404)


def test_the_scopes_of_the_table_are_those_that_the_document_names(document):
    """Operations under one tag need one scope, and the tag says which."""
    named = {
        tag["name"]: re.search(r"Scope `(\w+)`", tag["description"]) for tag in document["tags"]
    }
    for (method, path), row in TABLE.items():
        documented = "get" if method == "HEAD" else method.lower()
        (tag,) = document["paths"][path][documented]["tags"]
        scope = named[tag]
        assert (scope and scope.group(1)) == row.needs, (method, path)
