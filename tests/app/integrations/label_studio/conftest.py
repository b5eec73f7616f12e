"""A service that works with a small Label Studio."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.settings import Settings
from tests.app.segmentation.conftest import register
from tests.fixtures.label_studio import FakeLabelStudio, label_studio

__all__ = ["register"]


@pytest.fixture
def fake() -> Iterator[FakeLabelStudio]:
    with label_studio() as made:
        yield made


@pytest.fixture
def settings(settings: Settings, fake: FakeLabelStudio) -> Settings:
    """The settings of everywhere, and where Label Studio is."""
    return with_settings(settings, **fake.settings())


def with_settings(settings: Settings, **values: Any) -> Settings:
    """Return settings with some other values, checked as those of the environment are."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return Settings(**given | values)
