import pytest

from tests.worker.bench import Bench


@pytest.fixture
def bench(settings, engine, blobs, control) -> Bench:
    """A worker's surroundings, beside the service's."""
    control.plan(epochs=1)
    return Bench(settings, engine, blobs, control)
