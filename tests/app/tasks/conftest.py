import pytest
from starlette.testclient import TestClient

from app.main import create_app
from tests.app.tasks.posting import drawn, post


@pytest.fixture
def pets(tmp_path):
    """A data set of cat and dog."""
    return drawn(tmp_path, "cat", "dog")


@pytest.fixture
def task_id(settings, pets):
    """A task, posted to a service that is gone again."""
    with TestClient(create_app(settings), "http://127.0.0.1", client=("127.0.0.1", 1)) as client:
        return post(client, pets).json()["id"]
