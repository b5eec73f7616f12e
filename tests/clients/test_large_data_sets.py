"""Large data sets by the client, on a real service and over lines that break."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.main import create_app
from app.settings import Settings
from sats_client import Client
from tests.app.storage.places import S3Prefix
from tests.clients.cutting import cutting
from tests.fixtures.drawings import voc_zip
from tests.fixtures.faulty_s3 import drops, faulty
from tests.fixtures.processes import serving
from tests.fixtures.s3 import S3Server

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

COUNT = 4
"""Parts of the data set."""
SUBMIT = """
import sys
from sats_client import Client, SatsError, _calls, _flow

_calls.LARGE_BYTES, _flow.FIRST_WAIT = 1, 0.01
try:
    with Client(sys.argv[1], tries=1) as client:
        print(client.submit(sys.argv[2]).id)
except SatsError as error:
    sys.exit(f"cut off: {error}")
"""


@pytest.fixture
def settings(settings: Settings, dataset: Path) -> Settings:
    part = -(-dataset.stat().st_size // COUNT)
    return Settings(**settings.model_dump(exclude_unset=True) | {"upload_part_bytes": part})


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sats_client._calls.LARGE_BYTES", 1)
    monkeypatch.setattr("sats_client._flow.FIRST_WAIT", 0.02)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return voc_zip(tmp_path / "a.zip", ["circle"], size=96)


def parts_put(served: httpx.Client) -> int:
    """How many parts the service has taken."""
    pattern = r'sats_http_requests_total\{method="PUT",path="/uploads/\{upload\}/parts/\{number\}",'
    pattern += r'status="204"\} (\d+)'
    found = re.search(pattern, served.get("/metrics").text)
    return int(found[1]) if found else 0


def tasks(served: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = served.get("/tasks").json()["items"]
    return found


def test_both_clients_send_in_parts(
    client: Client, also_async: Callable[..., Any], served: httpx.Client, dataset: Path
) -> None:
    task = client.submit(dataset)
    assert parts_put(served) == COUNT
    other = also_async(lambda c: c.submit(dataset, name="again"))
    assert {one["id"] for one in tasks(served)} == {task.id, other.id}
    assert parts_put(served) == COUNT, "the same bytes are there"


def test_a_line_that_breaks_all_the_time(
    served: httpx.Client, dataset: Path, settings: Settings
) -> None:
    """A connection carries one and a half parts; what a part brought stays."""
    most = settings.upload_part_bytes * 3 // 2
    with (
        cutting(str(served.base_url), lambda _: most, lambda _: None) as proxy,
        Client(proxy.url, tries=8) as client,
    ):
        task = client.submit(dataset)
    assert proxy.connections > 3
    assert [one["id"] for one in tasks(served)] == [task.id]


def test_another_process_goes_on_where_the_last_one_was_cut_off(
    served: httpx.Client, dataset: Path, settings: Settings
) -> None:
    def submit(url: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", SUBMIT, url, str(dataset)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ)

    most = settings.upload_part_bytes * 5 // 2
    with cutting(str(served.base_url), lambda n: most if n == 0 else 0, lambda _: None) as proxy:
        first = submit(proxy.url)
    assert "cut off" in first.stderr, first
    before = parts_put(served)
    assert 1 <= before < COUNT
    second = submit(str(served.base_url))
    assert second.returncode == 0, second.stderr
    assert parts_put(served) == COUNT, "no part was sent twice"
    assert [one["id"] for one in tasks(served)] == [second.stdout.strip()]


@pytest.fixture
def on_s3(settings: Settings, s3: S3Server, tmp_path: Path) -> Callable[..., FastAPI]:
    def app(endpoint: str | None = None, **changes: Any) -> FastAPI:
        place = S3Prefix(s3, tmp_path)
        store = place.settings(store_seconds=2.0, **changes).model_dump(exclude_unset=True)
        given = store | settings.model_dump(exclude_unset=True)
        return create_app(Settings(**given, store_public_endpoint=endpoint))

    return app


def test_parts_go_past_the_service_into_a_bucket(
    on_s3: Callable[..., FastAPI], s3: S3Server, dataset: Path
) -> None:
    with (
        faulty(s3.endpoint) as line,
        serving(on_s3(line.endpoint)) as url,
        httpx.Client(base_url=url) as served,
        Client(url) as client,
    ):
        line.inject(drops, of="PUT /", times=1)
        task = client.submit(dataset)
        assert sum(one.startswith("PUT /") for one in line.seen) == COUNT + 1
        assert parts_put(served) == 0
        assert [one["id"] for one in tasks(served)] == [task.id]


def test_a_bucket_that_clients_do_not_reach_is_filled_by_the_service(
    on_s3: Callable[..., FastAPI], dataset: Path
) -> None:
    with (
        serving(on_s3("http://127.0.0.1:9")) as url,
        httpx.Client(base_url=url) as served,
        Client(url) as client,
    ):
        task = client.submit(dataset)
        assert parts_put(served) == COUNT
        assert [one["id"] for one in tasks(served)] == [task.id]
