"""`make screenshots`: takes the pictures of the pages that the quickstart shows.

    python -m tests.docs.pictures [FOLDER]

A service with the pages' showcase is served from a new folder, by default settings, and a browser
looks at it page by page. Its live version tells classes by their colours.
"""

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
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
from sats_core.classes import ClassInfo
from tests.app.inference.colour_graph import write_version
from tests.app.web.showcase import furnish
from tests.fixtures.browser import browser
from tests.fixtures.processes import serving

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
WINDOW = {"width": 1200, "height": 800}
QUALITY = 80
"""Of WebP: letters stay sharp, and a page takes some 30 kB."""
VERSIONS = "/ui/models/default"
PATIENCE_MS = 60_000


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
        for file in write_version(Path("graph"), known, 256):
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
    """Draw three of its classes on a field, each in about its colour."""
    grain = np.random.default_rng(0).normal(0, 6, (360, 560, 3))
    drawn = Image.new("RGB", (560, 360), (22, 26, 20))
    pen = ImageDraw.Draw(drawn)
    pen.ellipse((60, 130, 250, 270), fill=(118, 14, 120))  # a sheep
    pen.ellipse((220, 110, 290, 180), fill=(132, 10, 126))
    pen.ellipse((330, 60, 500, 170), fill=(10, 118, 122))  # a cow
    pen.ellipse((300, 50, 360, 110), fill=(8, 132, 126))
    pen.polygon([(360, 330), (400, 215), (440, 330)], fill=(122, 10, 14))  # a person
    pen.ellipse((380, 190, 420, 230), fill=(130, 8, 8))
    soft = np.asarray(drawn.filter(ImageFilter.GaussianBlur(1)), np.float64)
    return Image.fromarray((soft + grain).clip(0, 255).astype(np.uint8))


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
