import subprocess
import sys

import httpx
from starlette.testclient import TestClient


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
    assert answer.json()["instance"] == "/nothing"


def test_a_real_server_answers(served: httpx.Client):
    assert served.get("/openapi.json").status_code == 200
