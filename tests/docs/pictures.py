"""`make screenshots`: takes the pictures of the pages that the quickstart shows.

    python -m tests.docs.pictures [FOLDER]

A service with the pages' showcase is served from a new folder, by default settings, and a browser
looks at it page by page. Its live version tells classes by their colours.
"""

import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import Page, expect
from sqlalchemy import Engine, select

from app.db import LabelStudioProject, ProjectState, Version, make_engine, utc_now, write_session
from app.db.migrate import upgrade
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.main import create_app
from app.settings import Settings
from app.storage import LocalBlobStore
from demo.pictures import draw_dataset
from demo.textures import grass
from sats_core.classes import ClassInfo, Colour
from tests.app.inference.colour_graph import config_json, write_version
from tests.app.web.showcase import furnish
from tests.fixtures.browser import browser
from tests.fixtures.processes import serving

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
WINDOW = {"width": 1200, "height": 800}
QUALITY = 80
"""Of WebP: letters stay sharp, and a page takes some 30 kB."""
VERSIONS = "/ui/models/default"
PATIENCE_MS = 60_000
LOOKS = {
    "background": (70, 100, 45),
    "sheep": (232, 228, 216),
    "cow": (150, 70, 30),
    "person": (52, 96, 190),
}
"""RGB of what the live version takes for each of its classes."""
UNSEEN = (255, 0, 255)
"""That of the others."""


def take(folder: Path) -> None:
    """Take a picture of every page."""
    folder.mkdir(exist_ok=True)
    with _service() as (url, key, tasks), browser() as chromium:
        page = chromium.new_page(viewport=WINDOW, color_scheme="light", bypass_csp=True)
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        page.goto(f"{url}/login")
        _keep(page, folder, "login")
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{url}/")
        paths = {
            "home": "/",
            "tasks": "/ui/tasks",
            "task-training": f"/ui/tasks/{tasks['bicycles from the yard']}",
            "task-held": f"/ui/tasks/{tasks['version 3']}",
            "versions": VERSIONS,
            "version": f"{VERSIONS}/versions/5",
            "compare": "/ui/compare?model=default&version=3&other=4",
            "keys": "/ui/keys",
            "audit": "/ui/audit",
            "settings": "/ui/settings",
            "reference": "/docs",
            "label-studio": "/ui/label-studio",
        }
        for name, path in paths.items():
            page.goto(url + path)
            _keep(page, folder, name)
        page.goto(f"{url}/ui/tasks/new")
        draw_dataset(Path("cups.zip"), ("cup",), 24, 128, 0)
        page.get_by_label("A zip of labelled pictures").set_input_files("cups.zip")
        page.wait_for_function("document.querySelector('img.sheet')?.naturalWidth > 0")
        expect(page.get_by_text("Version 5 already sees")).to_be_visible()
        _keep(page, folder, "new-task")
        page.goto(f"{url}/try")
        _photo().save("farm.png")
        page.get_by_label("A picture").set_input_files("farm.png")
        expect(page.locator("#said")).to_have_text("Version 5 of default.")
        page.locator("#picture").hover(position={"x": 170, "y": 225})
        _keep(page, folder, "try")


@contextmanager
def _service() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Serve the showcase; gives its URL, a key, and the ids of its tasks by name."""
    for name in [one for one in os.environ if one.startswith("SATS_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as scratch, chdir(scratch):
        settings = Settings()
        settings.data_dir.mkdir()
        engine = make_engine(settings.resolved_database_url)
        upgrade(engine)
        blobs = LocalBlobStore(settings.blob_dir)
        tasks = furnish(engine, blobs)
        _let_it_see(engine, blobs)
        _label(engine)
        secret = read_secret(settings)
        with write_session(engine) as session:
            key = create_key(session, secret, "operator", [Scope.ADMIN])
            create_key(session, secret, "annotation tool", [Scope.SUBMIT], models=["default"])
            create_key(session, secret, "camera", [Scope.SEGMENT], models=["default"])
        with serving(create_app(settings)) as url:
            yield url, key, tasks
        engine.dispose()


def _let_it_see(engine: Engine, blobs: LocalBlobStore) -> None:
    """Give the live version a graph; the showcase's files are none."""
    with write_session(engine) as session:
        version = session.scalars(select(Version).order_by(Version.number.desc()).limit(1)).one()
        known = [
            ClassInfo(one["index"], one["name"], tuple(one["colour"]), one["step"])
            for one in version.classes
        ]
        seen = [replace(one, colour=LOOKS.get(one.name, UNSEEN)) for one in known]
        config, graph = write_version(Path("graph"), seen, 512)
        config.write_text(json.dumps(config_json(known, 512)))
        for file in (config, graph):
            stored = {"blob": blobs.put_file(file).key, "bytes": file.stat().st_size}
            version.files = version.files | {file.name: stored}


def _label(engine: Engine) -> None:
    """Have projects of Label Studio ask for training."""
    told: dict[ProjectState, dict[str, object]] = {
        ProjectState.NOTHING_NEW: {"classes": ["sheep"], "pictures": 58, "pictures_in_all": 58},
        ProjectState.FAILED: {"error": "Label Studio does not answer: 503"},
        ProjectState.FETCHING: {"pictures": 86, "pictures_in_all": 240, "annotations": 12},
        ProjectState.WAITING: {},
    }
    with write_session(engine) as session:
        for number, (state, said) in enumerate(told.items(), 3):
            asked = {"project": number, "model": "default", "asked_at": utc_now()}
            session.add(LabelStudioProject(state=state, **asked, **said))


def _photo() -> Image.Image:
    """Draw a sheep, a cow and a person in a meadow, each in about the colour of `LOOKS`."""
    meadow = grass(np.random.default_rng(3), 560)[100:460]
    drawn = Image.fromarray((255 * (0.75 * meadow + 0.05).clip(0, 1)).astype(np.uint8))
    pen = ImageDraw.Draw(drawn)

    def round_about(x: int, y: int, wide: int, high: int, colour: Colour) -> None:
        pen.ellipse((x - wide, y - high, x + wide, y + high), fill=colour)

    wool, hide = LOOKS["sheep"], LOOKS["cow"]
    for x in (105, 135, 205, 230):
        pen.rectangle((x, 215, x + 11, 268), fill=tuple(part - 30 for part in wool))
    for x, y in ((95, 185), (120, 160), (160, 150), (200, 155), (235, 180), (215, 215), (120, 215)):
        round_about(x, y, 42, 34, wool)
    round_about(165, 190, 80, 45, wool)
    round_about(262, 160, 24, 30, tuple(part - 25 for part in wool))
    for x in (345, 372, 440, 466):
        pen.rectangle((x, 130, x + 13, 200), fill=hide)
    pen.rounded_rectangle((330, 70, 490, 150), 34, fill=hide)
    pen.rounded_rectangle((296, 54, 346, 100), 16, fill=tuple(part + 12 for part in hide))
    coat = LOOKS["person"]
    pen.rectangle((398, 290, 414, 350), fill=(52, 66, 150))
    pen.rectangle((424, 290, 440, 350), fill=(52, 66, 150))
    pen.rounded_rectangle((390, 222, 448, 304), 16, fill=coat)
    round_about(419, 200, 19, 22, tuple(part + 14 for part in coat))  # a hood, from behind
    return drawn.filter(ImageFilter.GaussianBlur(0.8))


def _keep(page: Page, folder: Path, name: str) -> None:
    """Write what a page shows, once what it loads is there."""
    if page.locator(".plot").count():
        expect(page.locator(".plot canvas").first).to_be_visible()
    if name == "reference":
        expect(page.locator(".opblock").first).to_be_visible()
    page.evaluate("document.fonts.ready")
    page.wait_for_timeout(500)  # what moves when it is shown has come to rest
    with Image.open(io.BytesIO(page.screenshot())) as taken:
        taken.convert("RGB").save(folder / f"{name}.webp", quality=QUALITY, method=6)


if __name__ == "__main__":
    take(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else PICTURES)
