import pytest

from tests.worker.bench import Bench
from tests.worker.scripted_child import Control


@pytest.fixture
def bench(settings, engine, blobs, tmp_path) -> Bench:
    """A worker's surroundings, on SQLite with files and on Postgres with Redis in turn."""
    control = Control(tmp_path / "control")
    control.plan()
    return Bench(settings, engine, blobs, control)
