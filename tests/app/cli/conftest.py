import logging

import pytest
import structlog
from typer.testing import CliRunner

from app.cli import cli
from app.settings import get_settings
from tests.app.segmentation.conftest import register
from tests.fixtures.logs import plain_logs
from tests.fixtures.processes import environment

__all__ = ["register"]


def printed(done):
    """Return what a command printed: the log of a service that it asked is in this process too."""
    return "\n".join(line for line in done.stdout.splitlines() if "request_id=" not in line)


@pytest.fixture
def run(settings, monkeypatch, tmp_path):
    """Run `sats ...` in this process on the test's settings, logged in nowhere."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    handlers = logging.root.handlers[:]
    yield lambda *words, said=None: CliRunner().invoke(cli, words, input=said)
    # The commands log to a stderr that ends with them.
    logging.root.handlers[:] = handlers
    plain_logs()
    get_settings.cache_clear()


@pytest.fixture
def logs_of_its_own():
    """Let a command say where its log goes, as it does outside of tests."""
    structlog.reset_defaults()
    yield
    plain_logs()
