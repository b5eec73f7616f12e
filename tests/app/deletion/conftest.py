import pytest

from tests.worker.bench import Bench
from tests.worker.scripted_child import Control


@pytest.fixture
def bench(settings, engine, blobs, tmp_path) -> Bench:
    """A worker's surroundings, beside the service's."""
    control = Control(tmp_path / "control")
    control.plan(epochs=1)
    return Bench(settings, engine, blobs, control)
