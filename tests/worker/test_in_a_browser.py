"""From a zip to a version and back, by nothing but the pages, with a real worker behind them."""

import base64
import json

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.app.web.conftest import chromium as chromium
from tests.fixtures.browser import Seen
from tests.fixtures.drawings import draw, encoded
from tests.worker.test_end_to_end import WORKER, pictures, post, wait

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("database_url", ["embedded"], indirect=True),
]

DROPPED = """(bytes) => {
    const dropped = new DataTransfer();
    const data = Uint8Array.from(atob(bytes), (one) => one.charCodeAt(0));
    dropped.items.add(new File([data], "stars.zip", { type: "application/zip" }));
    return dropped;
}"""
LEARNED_MS = 400_000


def test_drop_a_zip_watch_it_learn_try_it_and_roll_back(bench, served, chromium, tmp_path):
    site = str(served.base_url).rstrip("/")
    photo = tmp_path / "photo.png"
    photo.write_bytes(encoded(draw(np.random.default_rng(5), ["circle", "star"], 64)[0], "png"))
    with bench.worker(WORKER), chromium.new_context() as context:
        base = wait(served, post(served, pictures(tmp_path, ["circle", "square"], 1), None))
        assert base["outcome"] == "live"
        page = context.new_page()
        seen = Seen(page, site)

        page.goto(f"{site}/ui/tasks/new")
        data = base64.b64encode(pictures(tmp_path, ["star"], 2)).decode()
        page.dispatch_event("#drop", "drop", {"dataTransfer": page.evaluate_handle(DROPPED, data)})
        expect(page.get_by_role("heading", name="What is in it")).to_be_visible(timeout=LEARNED_MS)
        expect(page.locator("#found tbody tr")).to_contain_text("star")
        page.get_by_text("When may its version go live?").click()
        page.get_by_label("Most IoU an old class may lose").fill("1")
        page.get_by_label("Least IoU of a new class").fill("0")
        page.get_by_text("More of the spec").click()
        page.get_by_label("As JSON").fill(json.dumps({"batch_size": 2}))
        page.get_by_role("button", name="Post the task").click()

        expect(page.get_by_role("heading", name="stars")).to_be_visible()
        went_live = page.get_by_role("heading", name="Version 2 went live")
        expect(went_live).to_be_visible(timeout=LEARNED_MS)
        expect(page.get_by_role("status")).to_have_text("Went live")
        expect(page.locator("#now table")).to_contain_text("star")

        page.goto(f"{site}/try")
        page.get_by_label("A picture").set_input_files(photo)
        expect(page.locator("#said")).to_have_text("Version 2 of default.")
        page.goto(f"{site}/ui/models/default/versions/2")
        page.get_by_role("button", name="Roll back…").click()
        expect(page.get_by_role("dialog")).to_contain_text("does not know star")
        page.get_by_role("button", name="Roll back", exact=True).click()
        expect(page.get_by_role("button", name="Promote…")).to_be_visible()
        page.goto(f"{site}/try")
        page.get_by_label("A picture").set_input_files(photo)
        expect(page.locator("#said")).to_have_text("Version 1 of default.")
    assert not seen.complaints
    assert not seen.elsewhere
