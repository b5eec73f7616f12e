"""What lends a browser to the tests, tested."""

from pathlib import Path

import pytest

from tests.fixtures import browser
from tests.fixtures.browser import barriers, needed_browser


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a browser."""
    monkeypatch.setattr(browser, "NAMES", ("no-such-browser",))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))


@pytest.mark.usefixtures("bare")
def test_in_ci_a_missing_browser_is_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="make browser"), needed_browser():
        pass


@pytest.mark.usefixtures("bare")
def test_elsewhere_a_test_is_skipped_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no browser"), needed_browser():
        pass


PAGE = """<!doctype html><html lang="en"><title>A page</title>
<style>@media (prefers-color-scheme: dark) { p { color: #222; background: #333 } }</style>
<main><h1>A page</h1><p>Read me</p><img src="data:,"></main></html>"""


@pytest.mark.slow
def test_what_keeps_people_out_is_found_in_the_light_and_in_the_dark() -> None:
    with needed_browser() as started:
        page = started.new_page()
        page.set_content(PAGE)
        assert barriers(page) == [
            ("image-alt", '<img src="data:,">'),
            ("color-contrast", "<p>Read me</p>"),
        ]
