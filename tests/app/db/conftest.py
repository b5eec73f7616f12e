import pytest

from tests.app.tasks.posting import drawn


@pytest.fixture
def pets(tmp_path):
    """A data set of cat and dog."""
    return drawn(tmp_path, "cat", "dog")
