"""The load on a real service, for seconds and by few: that it works, not how fast."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.load import main, memory_summary
from benchmarks.load_services import SERVICES


@pytest.mark.parametrize("service", SERVICES)
def test_no_errors_under_a_little_load(service: str, tmp_path: Path) -> None:
    main(seconds=7.5, clients=4, pause=0.2, steps=600, service=[service], results=tmp_path)
    seen = json.loads((tmp_path / "load.json").read_text())["runs"][service]
    assert seen["errors"] == []
    assert seen["calls"]["segment"]["count"]
    assert seen["calls"]["promote"]["count"]
    assert set(seen["small_steps"]) <= {"queued", "validating", "training", "evaluating", "live"}
    assert all(process["mib_last"] for process in seen["api_processes"])


def test_the_slope_is_that_of_the_second_half() -> None:
    seconds = np.arange(3600.0)
    grown = np.minimum(seconds, 600.0)
    assert memory_summary(seconds, 100 + grown)["mib_per_hour_second_half"] == 0
    assert memory_summary(seconds, 100 + seconds / 60)["mib_per_hour_second_half"] == 60
