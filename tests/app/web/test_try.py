"""The page on which a picture is tried, in a real browser."""

import re
import shlex
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from sqlalchemy import Engine

from app.db import write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.settings import Settings
from tests.app.inference.colour_graph import BACKGROUND, GREEN, RED
from tests.app.segmentation.conftest import Register
from tests.app.segmentation.requests import encoded, left_red_right_green
from tests.app.web.conftest import Open
from tests.fixtures.browser import barriers

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

WIDTH, HEIGHT = 64, 32
DARK_RED, DARK_GREEN = (200, 40, 40), (40, 200, 40)
PIXEL = """([x, y]) => {
    const copy = new OffscreenCanvas(1, 1).getContext("2d");
    copy.drawImage(document.getElementById("picture"), x, y, 1, 1, 0, 0, 1, 1);
    return [...copy.getImageData(0, 0, 1, 1).data];
}"""
COUNTED = """() => {
    const ask = window.fetch;
    let now = (window.mostAtOnce = 0);
    window.fetch = async (...asked) => {
        window.mostAtOnce = Math.max(window.mostAtOnce, (now += 1));
        return ask(...asked).finally(() => (now -= 1));
    };
}"""
"""Counts how many requests the page has under way at a time."""
GIVEN = """([how, picture]) => {
    const bytes = Uint8Array.from(atob(picture), (one) => one.charCodeAt(0));
    const given = new DataTransfer();
    given.items.add(new File([bytes], "given.png", { type: "image/png" }));
    const on = how === "drop" ? document.getElementById("drop") : document.body;
    on.dispatchEvent(how === "drop"
        ? new DragEvent("drop", { dataTransfer: given, bubbles: true, cancelable: true })
        : new ClipboardEvent("paste", { clipboardData: given, bubbles: true }));
}"""
"""Does with a picture what a hand does that drops or pastes it."""
PHONE = {"width": 375, "height": 700}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / 'it\'s red; and, "so".png'
    image = Image.new("RGB", (WIDTH, HEIGHT), DARK_RED)
    image.paste(DARK_GREEN, (WIDTH // 2, 0, WIDTH, HEIGHT))
    path.write_bytes(encoded(image))
    return path


def choose(page: Page, picture: Path) -> None:
    page.get_by_label("A picture").set_input_files(picture)


def slide(page: Page, label: str, value: int) -> None:
    page.get_by_label(label).fill(str(value))


def pixel(page: Page, x: int, y: int) -> list[int]:
    found: list[int] = page.evaluate(PIXEL, [x, y])
    return found[:3]


def test_a_picture_is_shown_as_the_live_version_sees_it(
    open_page: Open, register: Register, picture: Path, tmp_path: Path
) -> None:
    register()
    page = open_page("/try")
    choose(page, picture)
    expect(page.locator("#said")).to_have_text("Version 1 of default.")
    slide(page, "Opacity", 100)
    assert pixel(page, 5, 5) == list(RED.colour)
    assert pixel(page, WIDTH - 5, 5) == list(GREEN.colour)
    rows = page.locator("#classes label")
    expect(rows).to_have_text(["red50.0 %", "green50.0 %"])
    command = page.locator("#curl").text_content()
    asked = shlex.split(command.replace("\\\n", ""))
    overlay = tmp_path / "overlay.png"
    asked[asked.index("overlay.png")] = str(overlay)
    subprocess.run(asked, cwd=picture.parent, check=True, timeout=60)
    assert Image.open(overlay).getpixel((5, 5)) != DARK_RED


def test_what_lies_under_the_pointer_is_told(
    open_page: Open, register: Register, picture: Path
) -> None:
    register()
    page = open_page("/try")
    choose(page, picture)
    canvas = page.locator("#picture")
    expect(canvas).to_be_visible()
    box = canvas.bounding_box()
    canvas.hover(position={"x": box["width"] / 4, "y": box["height"] / 2})
    expect(page.locator("#here")).to_have_text(re.compile(r": red [01]\.\d\d \(version 1\)$"))
    canvas.focus()
    for _ in range(WIDTH):
        page.keyboard.press("ArrowRight")
    at_the_edge = re.compile(rf"^{WIDTH - 1}, \d+: green [01]\.\d\d ")
    expect(page.locator("#here")).to_have_text(at_the_edge)


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted(
    open_page: Open, register: Register, picture: Path, how: str
) -> None:
    register()
    page = open_page("/try")
    page.evaluate(GIVEN, [how, b64encode(picture.read_bytes()).decode()])
    expect(page.locator("#said")).to_have_text("Version 1 of default.")
    expect(page.locator("#classes label")).to_have_text(["red50.0 %", "green50.0 %"])


def test_a_class_is_switched_off_and_on(open_page: Open, register: Register, picture: Path) -> None:
    register()
    page = open_page("/try")
    choose(page, picture)
    slide(page, "Opacity", 100)
    page.get_by_label("green").uncheck()
    assert pixel(page, 5, 5) == list(RED.colour)
    assert pixel(page, WIDTH - 5, 5) == list(DARK_GREEN)
    page.get_by_label("green").check()
    assert pixel(page, WIDTH - 5, 5) == list(GREEN.colour)
    slide(page, "Opacity", 0)
    assert pixel(page, 5, 5) == list(DARK_RED)


def test_two_versions_stand_side_by_side(
    open_page: Open, register: Register, picture: Path
) -> None:
    register([BACKGROUND, RED], live=True)
    register(live=True)
    page = open_page("/try")
    page.evaluate(COUNTED)
    page.get_by_label("Beside it, version").fill("1")
    choose(page, picture)
    expect(page.locator("#said")).to_have_text("Version 2 beside 1 of default.")
    assert page.evaluate("mostAtOnce") == 1  # a key may be limited to that
    page.locator("#picture").focus()
    page.keyboard.press("Shift+ArrowRight")
    found = re.compile(r": green [01]\.\d\d \(version 2\), .+ \(version 1\)$")
    expect(page.locator("#here")).to_have_text(found)
    slide(page, "Opacity", 100)
    assert pixel(page, WIDTH - 5, 5) != list(GREEN.colour)  # version 1 knows no green
    slide(page, "Version 2 left, 1 right", 100)
    assert pixel(page, WIDTH - 5, 5) == list(GREEN.colour)


def test_who_has_logged_in_needs_no_key(
    open_page: Open, register: Register, settings: Settings, engine: Engine, picture: Path
) -> None:
    register()
    with write_session(engine) as session:
        made = create_key(session, read_secret(settings), "browser", [Scope.SEGMENT])
    page = open_page("/try")
    page.get_by_label("API key").fill(made)
    page.keyboard.press("Enter")
    page.wait_for_url("**/try")
    choose(page, picture)
    expect(page.locator("#said")).to_have_text("Version 1 of default.")
    expect(page.locator("#curl")).to_contain_text("$SATS_API_KEY")
    assert made not in page.content()


def test_what_goes_wrong_is_told(open_page: Open, register: Register, tmp_path: Path) -> None:
    page = open_page("/try", allowed=("404",))
    page.get_by_role("button", name="Segment").click()
    expect(page.locator("#said")).to_have_text("Choose a picture first.")
    text = tmp_path / "text.png"
    text.write_bytes(b"no picture")
    choose(page, text)
    expect(page.locator("#said")).to_contain_text("cannot show this file")
    good = tmp_path / "good.png"
    good.write_bytes(encoded(left_red_right_green()))
    choose(page, good)
    expect(page.locator("#said")).to_contain_text("default")


def test_nobody_is_kept_out(open_page: Open, register: Register, picture: Path) -> None:
    register()
    page = open_page("/try", viewport=PHONE, bypass_csp=True)
    choose(page, picture)
    expect(page.locator("#picture")).to_be_visible()
    assert barriers(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
