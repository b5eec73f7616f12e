"""What tests of the service share: its contract, and an object store that a test can break."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.main import create_app
from app.settings import Settings
from tests.app.storage.places import S3Prefix
from tests.fixtures.faulty_s3 import Faults, faulty
from tests.fixtures.s3 import S3Server


@pytest.fixture(scope="session")
def document() -> Any:
    """The OpenAPI document. To make it takes as long as ten requests; no setting changes it."""
    return create_app(Settings()).openapi()


@pytest.fixture
def line(s3: S3Server) -> Iterator[Faults]:
    """What happens on the way to the bucket of `place`."""
    with faulty(s3.endpoint) as faults:
        yield faults


@pytest.fixture
def place(s3: S3Server, line: Faults, tmp_path: Path) -> S3Prefix:
    """A place of its own in a bucket, which its hosts reach by `line`."""
    return S3Prefix(s3, tmp_path, line.endpoint)
