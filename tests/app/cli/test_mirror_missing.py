"""A service that is to mirror to MLflow and has no client of it says so, and does not start."""

import pytest

from app.integrations.mlflow import client
from app.settings import Settings
from worker.factory import make_worker

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(client, "find_spec", lambda _name: None)
    return settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:5000"})


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_command_says_what_is_to_be_installed(run, monkeypatch, command):
    monkeypatch.setenv("SATS_MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    answer = run(command)
    assert answer.exit_code == 2
    assert "pip install -e '.[mlflow]'" in answer.stderr


def test_a_worker_that_celery_starts_ends(settings):
    with pytest.raises(client.MissingClientError, match="mlflow"):
        make_worker(settings)
