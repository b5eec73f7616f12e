import inspect
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route
from starlette.testclient import TestClient

from app.main import create_app

NOT_AT_START = {
    *("torch", "timm", "alembic", "celery", "kombu", "httpx", "jinja2", "onnx", "scipy", "yaml")
}
"""A process of the API answers without them: what needs one imports it when it does."""


@pytest.mark.parametrize("module", ["app.main", "app.cli.running"])
def test_import_is_light_and_touches_nothing(module: str, tmp_path: Path):
    code = f"import {module}, sys; print(*sorted(set(sys.modules) & {NOT_AT_START!r}))"
    found = subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path, text=True)
    assert found.split() == []
    assert list(tmp_path.iterdir()) == []


def test_unknown_path_is_a_problem(client: TestClient):
    answer = client.get("/nothing")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:sats:problem:not-found"
    assert answer.json()["request_id"] == answer.headers["Request-Id"]
    assert answer.json()["instance"] == "/nothing"


def test_a_real_server_answers(served: httpx.Client):
    assert served.get("/openapi.json").status_code == 200


def test_what_answers_a_problem_goes_to_no_thread() -> None:
    handlers = create_app().exception_handlers.values()
    assert all(inspect.iscoroutinefunction(one) for one in handlers)


def test_apps_share_routes_that_are_worked_out_once() -> None:
    """An included router works out anew, for every app, what each of its routes takes."""
    one, other = (create_app().routes for _ in range(2))
    ours = [route for route in one if isinstance(route, APIRoute)]
    assert [type(route) for route in one if route not in ours] == [Route]  # the document's own
    assert all(route in other for route in ours)
