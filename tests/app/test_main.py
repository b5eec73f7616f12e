import subprocess
import sys

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from tests.conftest import shared_app


def test_import_is_light_and_touches_nothing(tmp_path):
    code = (
        "import app.main, sys; assert 'torch' not in sys.modules; assert 'timm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
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


@pytest.mark.parametrize("database_url", ["served"], indirect=True)
def test_an_app_has_what_the_tests_share_whatever_its_settings(settings: Settings):
    own = create_app(settings)
    assert described(own) == described(shared_app())
    assert own.openapi() == shared_app().openapi()


def described(app: FastAPI) -> list[object]:
    """Every route, and the very function of one that is ours."""
    return [
        (
            getattr(route, "path", None),
            getattr(route, "methods", None),
            route.endpoint if isinstance(route, APIRoute) else type(route),
        )
        for route in app.routes
    ]
