"""Held-out pictures on a version's page: as they are labelled, and as versions see them."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from playwright.sync_api import expect
from sqlalchemy import Engine

from app.db import HeldOutSet, Version, utc_now, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.settings import Settings
from app.storage import BlobStore
from sats_core.classes import IGNORE
from sats_core.data.readers import EncodedPicture, write_voc_zip
from sats_core.evaluation.picture_scores import HELD_OUT_SCORES, PictureScores, SetScores
from tests.app.inference.colour_graph import BACKGROUND, GREEN, RED, write_version
from tests.app.segmentation.requests import encoded
from tests.app.web.conftest import Open
from tests.app.web.showcase import furnish
from tests.app.web.test_login import log_in

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

PAGE = "/ui/models/default/versions/2"
HELD_OUT = f"{PAGE}/held-out"
DARK_RED, DARK_GREEN = (200, 40, 40), (40, 200, 40)
MIDDLE = """(canvas, x) => [...canvas.getContext("2d").getImageData(x, 16, 1, 1).data]"""


@pytest.fixture
def kept(engine: Engine, blobs: BlobStore, tmp_path: Path) -> None:
    """Versions 1, which knows red, and 2, which knows green too, with pictures of both."""
    furnish(engine, blobs)
    items = [_picture(number, edge) for number, edge in enumerate((32, 16, 48))]
    write_voc_zip(tmp_path / "held-out.zip", items, ["red", "green"])
    blob = blobs.put_file(tmp_path / "held-out.zip")
    with write_session(engine) as session:
        for number, classes in ((1, [BACKGROUND, RED]), (2, [BACKGROUND, RED, GREEN])):
            version = session.query(Version).filter_by(number=number).one()
            version.classes = [
                {"index": c.index, "name": c.name, "colour": list(c.colour), "step": c.step}
                for c in classes
            ]
            version.confusion = None
            version.files = {
                file.name: {"blob": blobs.put_file(file).key, "bytes": file.stat().st_size}
                for file in write_version(tmp_path / str(number), classes)
            }
            held_out = session.query(HeldOutSet).filter_by(version_id=version.id).one()
            held_out.blob, held_out.classes, held_out.pictures = blob.key, ["red", "green"], 3


def _picture(number: int, edge: int, labelled: int | None = None) -> EncodedPicture:
    """Draw red, and green from an edge on; labels may have the edge elsewhere."""
    label = np.full((32, 64), 1, np.uint8)
    label[:, labelled or edge :] = 2
    label[0] = 255
    image = Image.new("RGB", (64, 32), DARK_RED)
    image.paste(DARK_GREEN, (edge, 0, 64, 32))
    return EncodedPicture(f"picture-{number}", ".png", encoded(image), label)


def pixels(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.usefixtures("kept")
def test_a_picture_and_its_labels(client: TestClient) -> None:
    picture = client.get(f"{HELD_OUT}/2/picture")
    assert picture.headers["Content-Type"] == "image/png"
    assert picture.headers["Cache-Control"] == "no-store"
    assert pixels(picture.content).getpixel((5, 16)) == DARK_RED
    truth = pixels(client.get(f"{HELD_OUT}/2/truth").content)
    assert truth.size == (64, 32)
    assert truth.getpixel((5, 16)) == (*RED.colour, 255)
    assert truth.getpixel((60, 16)) == (*GREEN.colour, 255)
    assert truth.getpixel((5, 0))[3] == 0  # ignored
    assert client.get(f"{HELD_OUT}/3/picture").status_code == 404
    assert client.get("/ui/models/default/versions/3/held-out/0/picture").status_code == 404
    assert client.get(f"{HELD_OUT}/-1/picture").status_code == 404
    assert client.get(f"{HELD_OUT}/0/secret").status_code == 404
    labels = pixels(client.get(f"{HELD_OUT}/2/labels").content)
    assert (labels.mode, labels.size) == ("L", (64, 32))
    found = [labels.getpixel(at) for at in ((5, 16), (60, 16), (5, 0))]
    assert found == [RED.index, GREEN.index, IGNORE]
    # The version before knows no green: of what it does not know labels say nothing.
    before = pixels(client.get("/ui/models/default/versions/1/held-out/2/labels").content)
    assert [before.getpixel(at) for at in ((5, 16), (60, 16))] == [RED.index, IGNORE]


@pytest.mark.usefixtures("kept")
def test_deleted_pictures_are_shown_to_nobody(client: TestClient, engine: Engine) -> None:
    with write_session(engine) as session:
        for one in session.query(HeldOutSet):
            one.deleted_at = utc_now()
    assert client.get(f"{HELD_OUT}/0/picture").status_code == 404
    assert 'id="held-out"' not in client.get(PAGE).text


@pytest.mark.usefixtures("kept")
def test_admins_alone_see_them(client: TestClient, engine: Engine, settings: Settings) -> None:
    shown = client.get(PAGE).text
    assert 'id="held-out"' in shown
    assert "the worst first, of all 6 that are kept" in shown
    with write_session(engine) as session:
        key = create_key(session, read_secret(settings), "reader", [Scope.READ])
    log_in(client, key)
    assert 'id="held-out"' not in client.get(PAGE).text
    assert client.get(HELD_OUT).status_code == 403
    assert client.get(f"{HELD_OUT}/0/picture").status_code == 403


@pytest.mark.usefixtures("kept")
def test_of_a_class_that_was_taught_again_older_pictures_say_nothing(
    client: TestClient, engine: Engine
) -> None:
    def told() -> dict[int, list[str]]:
        pictures = client.get(HELD_OUT).json()["pictures"]
        return {one["version"]: one["classes"] for one in pictures}

    def teach(**indices: int) -> None:
        with write_session(engine) as session:
            version = session.query(Version).filter_by(number=2).one()
            was = version.classes
            version.classes = [{**c, "index": indices.get(c["name"], c["index"])} for c in was]

    with write_session(engine) as session:
        first, second = session.query(Version).filter(Version.number < 3).order_by(Version.number)
        first.classes = second.classes
        mine, own = session.query(HeldOutSet).order_by(HeldOutSet.version_id)[:2]
        own.classes = ["green"]
    assert told() == {1: ["red", "green"], 2: ["green"]}
    teach(red=7)
    assert told() == {1: ["green"], 2: ["green"]}
    with write_session(engine) as session:
        session.get_one(HeldOutSet, mine.id).classes = ["red"]
    assert set(told()) == {2}
    assert "the worst first, of all 3 that are kept" in client.get(PAGE).text


def score(engine: Engine, blobs: BlobStore, path: Path, *sets: SetScores, number: int = 2) -> None:
    """Store what pictures say of a version."""
    path.write_text(PictureScores(sets=sets).model_dump_json())
    blob = blobs.put_file(path)
    with write_session(engine) as session:
        version = session.query(Version).filter_by(number=number).one()
        entry = {"blob": blob.key, "bytes": blob.size}
        version.files = {**version.files, HELD_OUT_SCORES: entry}


@pytest.mark.usefixtures("kept")
def test_every_picture_has_its_place(
    client: TestClient, engine: Engine, blobs: BlobStore, tmp_path: Path
) -> None:
    classes = ("red", "green")
    own = SetScores(version=None, classes=classes, iou=((0.5, 0.29), (None, None), (0.2, None)))
    many = tuple((0.3 + place / 100, 1.0) for place in range(20))
    score(engine, blobs, tmp_path / "scores", own, SetScores(version=1, classes=classes, iou=many))
    with write_session(engine) as session:
        first = session.query(HeldOutSet).order_by(HeldOutSet.version_id).first()
        assert first
        first.pictures = len(many)

    def told(**asked: object) -> list[tuple[int, int]]:
        """Return the whole order, page after page."""
        found: list[tuple[int, int]] = []
        begin: int | None = 0
        while begin is not None:
            page = client.get(HELD_OUT, params={**asked, "begin": begin}).json()
            assert page["classes"] == ["green", "red"]
            found += [(one["version"], one["position"]) for one in page["pictures"]]
            begin = page["following"]
        assert len(found) == page["out_of"]
        return found

    # Picture 1 of version 2 shows nothing, and it sees nothing in it; version 1 knew no green.
    others = [(1, place) for place in range(20)]
    assert told() == [(2, 2), *others[:10], (2, 0), *others[10:]]
    assert told(by="red") == [(2, 2), *others, (2, 0)]
    assert told(by="green") == [(2, 0)]
    assert told(by="blue") == []
    with write_session(engine) as session:  # one of them was deleted since: which, nobody knows
        first = session.query(HeldOutSet).order_by(HeldOutSet.version_id).first()
        assert first
        first.pictures = len(many) - 1
    assert told() == [(2, 2), (2, 0), *others[:-1]]
    unscored = client.get(HELD_OUT, params={"begin": 2}).json()["pictures"]
    assert {one["iou"] for one in unscored} == {None}


@pytest.mark.usefixtures("kept")
def test_a_deleted_version_ranks_nothing(client: TestClient, engine: Engine) -> None:
    with write_session(engine) as session:
        session.query(Version).filter_by(number=2).one().deleted_at = utc_now()
    assert client.get(HELD_OUT).status_code == 404
    assert 'id="held-out"' not in client.get(PAGE).text


@pytest.mark.usefixtures("kept")
def test_truth_before_and_after_stand_side_by_side(open_page: Open) -> None:
    page = open_page(PAGE)
    page.get_by_role("button", name="Show what it sees").click()
    figures = page.locator("#held-out figure")
    expect(figures).to_have_count(6)  # three of version 2's task, three of version 1's
    canvases = figures.first.locator("canvas")
    expect(canvases).to_have_count(3)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    said = "not scored by itself, of version 2's task, labelled for red, green alone"
    expect(figures.first.locator("figcaption")).to_have_text(said)
    drawn = [canvases.nth(place).evaluate(MIDDLE, 60)[:3] for place in range(3)]
    assert drawn[0] == drawn[2]
    assert drawn[0][1] > DARK_GREEN[1]  # green over dark green
    assert drawn[1] == list(DARK_GREEN)  # the version before knew no green


@pytest.mark.usefixtures("kept")
def test_the_worst_come_first_by_all_classes_or_by_one(
    open_page: Open, engine: Engine, blobs: BlobStore, tmp_path: Path
) -> None:
    edges = enumerate((16, 56, *[32] * 5))
    items = [_picture(number, 32, labelled) for number, labelled in edges]
    write_voc_zip(tmp_path / "mislabelled.zip", items, ["red", "green"])
    with write_session(engine) as session:
        first, second = session.query(HeldOutSet).order_by(HeldOutSet.version_id)[:2]
        first.deleted_at = utc_now()
        second.blob = blobs.put_file(tmp_path / "mislabelled.zip").key
        second.pictures = 7
    right, few_red, few_green = (1.0, 1.0), (0.5, 0.6667), (0.5714, 0.25)
    iou = (few_red, few_green, *(right for _ in range(5)))
    own = SetScores(version=None, classes=("red", "green"), iou=iou)
    score(engine, blobs, tmp_path / "scores", own)
    page = open_page(PAGE)
    page.get_by_role("button", name="Show what it sees").click()
    said = page.locator("#held-out figure .share")
    few_green_said, few_red_said = "IoU green 25.0, red 57.1", "IoU red 50.0, green 66.7"
    right_said = ["IoU red 100.0, green 100.0"] * 5
    expect(said).to_have_text([few_green_said, few_red_said, *right_said[:4]])
    expect(page.locator("#held-out").get_by_role("status")).to_have_text("6 of 7 are shown.")
    page.get_by_role("button", name="Show more").click()
    expect(said).to_have_text([few_green_said, few_red_said, *right_said])
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    page.get_by_label("Worst first, by").select_option("red")
    expect(said).to_have_text([few_red_said, few_green_said, *right_said[:4]])
    expect(page.get_by_role("button", name="Show more")).to_be_visible()
    expect(page.locator("#held-out figure").first.locator("canvas")).to_have_count(3)


@pytest.mark.usefixtures("kept")
def test_after_the_session_has_ended_pictures_lead_to_the_login(
    open_page: Open, engine: Engine, settings: Settings
) -> None:
    with write_session(engine) as session:
        key = create_key(session, read_secret(settings), "operator", [Scope.ADMIN])
    page = open_page(f"/login?next={PAGE}", allowed=("401",))
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    show = page.get_by_role("button", name="Show what it sees")
    expect(show).to_be_visible()
    page.context.clear_cookies()
    show.click()
    page.wait_for_url("**/login?next=**")
    expect(page.get_by_label("API key")).to_be_visible()


@pytest.mark.usefixtures("kept")
def test_what_failed_is_tried_again_and_one_choice_is_shown_at_a_time(open_page: Open) -> None:
    page = open_page(PAGE, allowed=("503",))
    before = re.compile("/segment[?].*version=1")
    page.route(before, lambda route: route.fulfill(status=503, body="{}"))
    press = page.get_by_role("button", name="Show what it sees")
    press.click()
    expect(page.locator("#held-out .wrong")).to_have_text("the service answers 503")
    page.unroute(before)
    press.click()
    expect(press).to_be_hidden()
    choice = page.get_by_label("Worst first, by")
    expect(choice.locator("option")).to_have_text(["all classes", "green", "red"])
    expect(choice).to_be_enabled()
    page.evaluate("""() => {
        const select = document.querySelector("#held-out select");
        window.wasDisabled = [];
        new MutationObserver(() => window.wasDisabled.push(select.disabled))
            .observe(select, { attributes: true, attributeOldValue: true });
        select.addEventListener("change", () => window.wasDisabled.push(select.disabled));
    }""")
    choice.select_option("red")
    page.wait_for_function("window.wasDisabled.includes(true)")
    expect(choice).to_be_enabled()
    expect(choice).to_have_value("red")
