"""`make screenshots`: takes the pictures of the pages that the quickstart shows.

    python -m tests.docs.pictures [FOLDER]

A service with the pages' showcase is served from a new folder, by default settings, and a browser
looks at it page by page.
"""

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect

from app.db import make_engine, write_session
from app.db.migrate import upgrade
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.main import create_app
from app.settings import Settings
from app.storage import LocalBlobStore
from demo.pictures import draw_dataset
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
            "try": "/try",
            "keys": "/ui/keys",
            "audit": "/ui/audit",
            "settings": "/ui/settings",
            "reference": "/docs",
        }
        for name, path in paths.items():
            page.goto(url + path)
            _keep(page, folder, name)
        page.goto(f"{url}/ui/tasks/new")
        draw_dataset(Path("cups.zip"), ("cup",), 24, 128, 0)
        page.get_by_label("A zip of labelled pictures").set_input_files("cups.zip")
        page.wait_for_function("document.querySelector('img.sheet')?.naturalWidth > 0")
        _keep(page, folder, "new-task")


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
        tasks = furnish(engine, LocalBlobStore(settings.blob_dir))
        secret = read_secret(settings)
        with write_session(engine) as session:
            key = create_key(session, secret, "operator", [Scope.ADMIN])
            create_key(session, secret, "annotation tool", [Scope.SUBMIT], models=["default"])
            create_key(session, secret, "camera", [Scope.SEGMENT], models=["default"])
        with serving(create_app(settings)) as url:
            yield url, key, tasks
        engine.dispose()


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
