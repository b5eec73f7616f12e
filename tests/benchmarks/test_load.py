"""The load on a real service, for seconds and by few: that it works, not how fast."""

import json
from pathlib import Path

import numpy as np
import psutil
import pytest

from app.main import create_app
from app.settings import Settings
from benchmarks.load import main, memory_summary, put_under_load
from benchmarks.load_report import is_flat, page
from benchmarks.load_services import SERVICES, Running, stock
from tests.fixtures.drawings import voc_zip
from tests.fixtures.processes import serving


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_what_is_seen_of_a_service_that_is_asked_for_a_moment(
    settings: Settings, tmp_path: Path
) -> None:
    data_set = voc_zip(tmp_path / "d.zip", ["cat"], pictures=2, size=32).read_bytes()
    keys = stock(settings, tmp_path)
    with serving(create_app(settings)) as url:
        running = Running((url,), (psutil.Process(),), keys, settings.resolved_database_url)
        seen = put_under_load(running, data_set, seconds=2.5, clients=2, pause=0.1, steps=600)
    assert seen["errors"] == []
    assert seen["answered"] >= seen["calls"]["segment"]["count"] > 0
    assert seen["calls"]["promote"]["count"]
    assert set(seen["small_steps"]) <= {"queued"}, "there is no worker"
    assert all(process["mib_last"] for process in seen["api_processes"])


@pytest.mark.parametrize("service", SERVICES)
def test_no_errors_under_a_little_load(service: str, tmp_path: Path) -> None:
    main(seconds=7.5, clients=4, pause=0.2, steps=600, service=[service], results=tmp_path)
    written = json.loads((tmp_path / "load.json").read_text())
    assert (tmp_path / "load.md").read_text() == page(written)
    seen = written["runs"][service]
    assert seen["errors"] == []
    assert seen["calls"]["segment"]["count"]
    assert seen["calls"]["promote"]["count"]
    assert set(seen["small_steps"]) <= {"queued", "running", "live"}
    assert all(process["mib_last"] for process in seen["api_processes"])


def test_the_slope_is_that_of_the_second_half() -> None:
    seconds = np.arange(3600.0)
    grown = np.minimum(seconds, 600.0)
    assert memory_summary(seconds, 100 + grown)["mib_per_hour_second_half"] == 0
    assert memory_summary(seconds, 100 + seconds / 60)["mib_per_hour_second_half"] == 60


def test_memory_that_grows_on_is_not_called_flat() -> None:
    grows, stays = {"mib_half": 200.0, "mib_last": 220.0}, {"mib_half": 200.0, "mib_last": 203.0}
    assert is_flat({"api_processes": [stays, stays]})
    assert not is_flat({"api_processes": [stays, grows]})
