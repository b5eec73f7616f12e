"""Every operation against every scope; a new operation has to be added to the table."""

import pytest

from app.db import write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key

ID = "00000000-0000-4000-8000-000000000000"
VERSION = "/admin/models/default/versions"

SCOPES: dict[tuple[str, str], Scope | None] = {
    ("get", "/health/live"): None,
    ("get", "/health/ready"): None,
    ("get", "/metrics"): None,
    ("get", "/classes"): Scope.SEGMENT,
    ("post", "/segment"): Scope.SEGMENT,
    ("post", "/tasks"): Scope.SUBMIT,
    ("get", "/tasks"): Scope.SUBMIT,
    ("get", "/tasks/{task_id}"): Scope.SUBMIT,
    ("get", "/tasks/{task_id}/events"): Scope.SUBMIT,
    ("post", "/tasks/{task_id}/events/token"): Scope.SUBMIT,
    ("get", "/tasks/{task_id}/log"): Scope.SUBMIT,
    ("post", "/tasks/{task_id}:cancel"): Scope.SUBMIT,
    ("post", "/tasks/{task_id}:retry"): Scope.SUBMIT,
    ("get", "/admin/models"): Scope.ADMIN,
    ("get", "/admin/models/{model}/versions"): Scope.ADMIN,
    ("post", "/admin/models/{model}/versions"): Scope.ADMIN,
    ("get", "/admin/models/{model}/versions/{number}"): Scope.ADMIN,
    ("get", "/admin/models/{model}/versions/{number}/files/{name}"): Scope.ADMIN,
    ("get", "/admin/models/{model}/versions/{number}/forgetting"): Scope.ADMIN,
    ("delete", "/admin/models/{model}/versions/{number}/memory"): Scope.ADMIN,
    ("get", "/admin/models/{model}/aliases/live"): Scope.ADMIN,
    ("post", "/admin/models/{model}/versions/{number}:promote"): Scope.ADMIN,
    ("post", "/admin/models/{model}/versions/{number}:rollback"): Scope.ADMIN,
    ("post", "/admin/webhooks"): Scope.ADMIN,
    ("get", "/admin/webhooks"): Scope.ADMIN,
    ("delete", "/admin/webhooks/{webhook_id}"): Scope.ADMIN,
    ("get", "/admin/webhooks/{webhook_id}/deliveries"): Scope.ADMIN,
    ("get", "/admin/metrics"): Scope.ADMIN,
}


def _call(client, method, path, **headers):
    filled = path.format(task_id=ID, webhook_id=ID, model="default", number=1, name="model.onnx")
    return client.request(method, filled, headers=headers)


def test_the_table_is_complete(service):
    paths = service.openapi()["paths"]
    assert {(method, path) for path in paths for method in paths[path]} == set(SCOPES)


@pytest.fixture
def keys(engine, settings):
    """A key of each scope alone."""
    with write_session(engine) as session:
        secret = read_secret(settings)
        return {scope: create_key(session, secret, scope, [scope]) for scope in Scope}


def test_every_scope_on_every_operation(client, keys):
    wrong = []
    for (method, path), needed in SCOPES.items():
        for scope, key in keys.items():
            answer = _call(client, method, path, Authorization=f"Bearer {key}")
            allowed = needed in (None, scope) or scope is Scope.ADMIN
            if (answer.status_code == 403) == allowed or answer.status_code in (401, 500):
                wrong.append((method, path, scope, answer.status_code))
    assert not wrong


@pytest.mark.parametrize(
    "header", [None, "Bearer sats_wrong", "Bearer", "Basic c2F0czpzYXRz", "Bearer  ", "x"]
)
def test_no_key_or_a_wrong_one_is_401_everywhere(client, keys, header):
    headers = {} if header is None else {"Authorization": header}
    for (method, path), needed in SCOPES.items():
        answer = _call(client, method, path, **headers)
        if needed is None:
            assert answer.status_code == 200
        else:
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["type"] == "urn:sats:problem:unauthorized"


def test_without_keys_another_machine_is_refused(service):
    from starlette.testclient import TestClient

    with TestClient(service, base_url="http://127.0.0.1", client=("10.1.2.3", 5)) as far:
        for (method, path), needed in SCOPES.items():
            assert (_call(far, method, path).status_code == 401) == (needed is not None)
