import logging

import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.settings import get_settings
from tests.app.segmentation.conftest import register
from tests.fixtures.logs import plain_logs
from tests.fixtures.processes import environment

__all__ = ["register"]


@pytest.fixture
def run(settings, monkeypatch):
    """Run `sats ...` in this process on the test's settings."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    handlers = logging.root.handlers[:]
    yield lambda *words: CliRunner().invoke(cli, words)
    # The commands log to a stderr that ends with them.
    logging.root.handlers[:] = handlers
    plain_logs()
    get_settings.cache_clear()
