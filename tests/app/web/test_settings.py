"""`/ui/settings`: all of them, and nothing secret."""

import pytest
from playwright.sync_api import expect

from app.settings import Settings
from app.web.settings import GROUPS, grouped, said
from tests.app.web.conftest import Open
from tests.fixtures.browser import barriers

SECRETS = {
    "database_url": "postgresql+psycopg://sats:hunter2@db:5432/sats?password=hunter2",
    "redis_url": "redis://:hunter2@cache:6379/0",
    "key_secret": "hunter2",
    "label_studio_api_key": "hunter2",
}


def test_every_setting_is_shown_once_in_its_order() -> None:
    names = list(Settings.model_fields)
    assert sorted(GROUPS, key=names.index) == list(GROUPS)
    assert names[0] in GROUPS
    shown = [one.variable for group in grouped(Settings()).values() for one in group]
    assert shown == [f"SATS_{name.upper()}" for name in names]


def test_no_secret_is_shown() -> None:
    groups = grouped(Settings(**SECRETS))
    assert "hunter2" not in str(groups)
    found = {one.variable: one for group in groups.values() for one in group}
    assert found["SATS_DATABASE_URL"].value == "postgresql+psycopg://…@db:5432/sats?…"
    assert found["SATS_KEY_SECRET"].value == "set"
    assert found["SATS_KEY_SECRET"].given
    assert not found["SATS_GATE_MIN_IOU"].given


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("redis+socket:///run/redis.sock?password=hunter2", "redis+socket:///run/redis.sock?…"),
        ("postgresql+psycopg://u:hun/ter2@db/sats", "set"),
        ("postgresql+psycopg://u:hun?ter2@db/sats", "set"),
        ("postgresql+psycopg://u:hun#ter2@db/sats", "set"),
        ("postgresql+psycopg://u:hun@ter2@db/sats", "set"),
        ("postgresql+psycopg://db/sats?user=a@b&password=hunter2", "set"),
        ("https://a.example,https://u:hunter2@b.example", "set"),
        ("*", "*"),
    ],
)
def test_of_a_url_who_logs_in_is_not_shown(value: str, shown: str) -> None:
    assert said(value) == shown


def test_never_is_told_from_nothing() -> None:
    assert said(None, 90.0) == "never"
    assert said(None) is None


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_settings_are_read_on_a_phone(open_page: Open) -> None:
    size = {"width": 390, "height": 800}
    page = open_page("/ui/settings", viewport=size, bypass_csp=True)
    row = page.locator("tr", has_text="SATS_DATA_DIR")
    expect(row.locator(".tag")).to_have_text("set")
    expect(page.locator("tr", has_text="SATS_MAX_PICTURES")).to_contain_text("default")
    assert barriers(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
