"""Two versions side by side."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import expect
from sqlalchemy import Engine

from app.db import HeldOutSet, Task, Version, utc_now, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.registry.service import ensure_model
from app.settings import Settings
from app.storage import BlobStore
from sats_core.evaluation.picture_scores import SetScores
from tests.app.web.conftest import Open
from tests.app.web.showcase import furnish
from tests.app.web.test_held_out import DARK_GREEN, MIDDLE, score
from tests.app.web.test_held_out import kept as kept
from tests.app.web.test_login import log_in

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

PAGE = "/ui/compare?model=default&version={}&other={}"
RANKED = "/ui/compare/held-out?model=default&other_model=default&version={}&other={}"
SHARES = ("75.0", "50.0", "25.0")
UNSCORED = (
    "The last {} are drawn evenly out of the {} held-out pictures that not both versions are "
    "scored on one by one, and stand by how many pixels differ."
)


@pytest.fixture
def versions(engine: Engine, blobs: BlobStore) -> dict[str, str]:
    return furnish(engine, blobs)


def rows(page: str, title: str) -> list[str]:
    """Return the text of the rows of a table, a line each."""
    (table,) = re.findall(rf'aria-label="{title}">(.*?)</table>', page, re.DOTALL)
    body = table.partition("<tbody>")[2]
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in body.split("</tr>")][:-1]


@pytest.mark.usefixtures("versions")
def test_classes_of_both_come_first_the_largest_loss_before_all(client: TestClient) -> None:
    page = client.get(PAGE.format(3, 5)).text
    assert rows(page, "Classes") == [
        "person 70.0 69.0 −1.0",
        "dog 64.0 63.0 −1.0",
        "background 91.0 91.0 ±0.0",
        "cat 72.0 72.0 ±0.0",
        "sheep 55.0 57.0 +2.0",
        "cow 52.0 54.0 +2.0",
        "horse 41.0 58.0 +17.0",
        "chair Version 5 only 33.0",
        "sofa Version 5 only 47.0",
    ]
    assert rows(page, "Mean IoU")[0] == "The 7 measured in both 63.6 66.3 +2.7"
    back = rows(client.get(PAGE.format(5, 3)).text, "Classes")
    assert back[0] == "horse 58.0 41.0 −17.0"
    assert back[-1] == "sofa Version 5 only 47.0"


@pytest.mark.usefixtures("versions")
def test_what_differs_of_how_they_were_made_is_told(client: TestClient, engine: Engine) -> None:
    with write_session(engine) as session:
        version = session.query(Version).filter_by(number=5).one()
        was = version.settings
        version.settings = {**was, "method": "sats", "epochs": 3}
    page = client.get(PAGE.format(4, 5)).text
    made = rows(page, "How they were made")
    assert "Method sats_plus sats" in made
    assert "Started from version 2 version 4" in made
    assert "epochs 30 3" in made
    assert "1 setting differs" in page
    assert "All settings are the same" in client.get(PAGE.format(2, 3)).text


@pytest.mark.usefixtures("versions")
def test_versions_of_two_models(client: TestClient, engine: Engine) -> None:
    with write_session(engine) as session:
        last = session.query(Version).filter_by(number=5).one()
        task = session.get_one(Task, last.task_id)
        other = ensure_model(session, "street")
        posted = Task(
            model=other, spec=task.spec, dataset="", dataset_bytes=0, request_digest="", warnings=[]
        )
        session.add(posted)
        session.flush()
        session.add(
            Version(
                model=other,
                number=1,
                task_id=posted.id,
                classes=[last.classes[0], {**last.classes[1], "colour": [1, 2, 3]}],
                new_classes=["person"],
                settings=last.settings,
                backbone_start="scratch",
                scores={**last.scores, "iou": {"background": 0.9, "person": None}},
                files={},
                seconds=1.0,
            )
        )
    page = client.get("/ui/compare?model=default&version=1&other_model=street&other=1").text
    assert rows(page, "Classes")[:3] == [
        "background 91.0 90.0 −1.0",
        "person 71.0 –",
        "dog default 1 only 66.0",
    ]
    assert 'fill="#010203"' in page
    assert 'fill="#800000"' in page


@pytest.mark.usefixtures("versions")
def test_without_two_numbers_the_newest_are_proposed(client: TestClient) -> None:
    def proposed(query: str) -> list[str]:
        page = client.get(f"/ui/compare?{query}").text
        assert "How they were made" not in page
        return re.findall(r'type="number"[^>]* value="(\d*)"', page)

    assert proposed("") == ["4", "5"]
    assert proposed("model=default&other=2") == ["5", "2"]
    assert proposed("version=5") == ["5", "4"]


def test_where_nothing_is_there_yet_that_is_said(client: TestClient) -> None:
    assert "No versions yet" in client.get("/ui/compare").text


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("version=1&other=99", 404),
        ("version=1&other_model=nobody&other=1", 404),
        ("version=0&other=1", 422),
        ("version=&other=1", 422),
        ("version=1&other=2147483648", 422),
        ("model=..&version=1&other=1", 422),
    ],
)
def test_what_is_not_there_is_told(client: TestClient, query: str, status: int) -> None:
    answer = client.get(f"/ui/compare?{query}")
    assert answer.status_code == status
    assert "<h1" in answer.text


@pytest.mark.usefixtures("versions")
def test_both_models_must_be_the_visitor_s(
    client: TestClient, engine: Engine, settings: Settings
) -> None:
    with write_session(engine) as session:
        secret = read_secret(settings)
        key = create_key(session, secret, "street", [Scope.READ], models=["street"])
    log_in(client, key)
    for query in ("", "version=1&other=2"):  # its model is not there yet
        assert "No versions yet" in client.get(f"/ui/compare?{query}").text
    assert client.get(PAGE.format(1, 2)).status_code == 403
    with write_session(engine) as session:
        ensure_model(session, "street")
    for query in (
        "model=default&version=1&other=2",
        "model=street&version=1&other_model=default&other=1",
        "model=default",
    ):
        assert client.get(f"/ui/compare?{query}").status_code == 403, query
    alone = client.get("/ui/compare")
    assert alone.status_code == 200
    assert "default" not in alone.text


@pytest.mark.usefixtures("kept")
def test_pictures_are_for_admins_and_versions_that_answer(
    client: TestClient, engine: Engine, settings: Settings
) -> None:
    page, pictures = PAGE.format(1, 2), RANKED.format(1, 2)
    assert "out of 6 held-out pictures" in client.get(page).text
    with write_session(engine) as session:
        secret = read_secret(settings)
        key = create_key(session, secret, "reader", [Scope.READ])
        bound = create_key(session, secret, "street", [Scope.ADMIN], models=["street"])
        admin = create_key(session, secret, "admin", [Scope.ADMIN])
    log_in(client, key)
    assert 'id="differing"' not in client.get(page).text
    assert client.get(pictures).status_code == 403
    log_in(client, bound)
    assert client.get(pictures).status_code == 403
    log_in(client, admin)
    assert 'id="differing"' in client.get(page).text
    assert client.get(RANKED.format(1, 99)).status_code == 404
    assert client.get(pictures).status_code == 200
    with write_session(engine) as session:
        session.query(Version).filter_by(number=1).one().deleted_at = utc_now()
    assert 'id="differing"' not in client.get(page).text
    assert client.get(pictures).status_code == 404


@pytest.mark.usefixtures("kept")
def test_pages_of_what_is_ranked_come_before_what_is_drawn(
    client: TestClient, engine: Engine, blobs: BlobStore, tmp_path: Path
) -> None:
    many = 8
    with write_session(engine) as session:
        session.query(HeldOutSet).order_by(HeldOutSet.version_id)[0].pictures = many
    before = tuple((0.5,) for _ in range(many))
    after = tuple((0.5 - place / 100,) for place in range(many))
    old, new = (SetScores(version=of, classes=("red",), iou=before) for of in (None, 1))
    score(engine, blobs, tmp_path / "scores", old, number=1)
    score(engine, blobs, tmp_path / "scores", new.model_copy(update={"iou": after}))

    def told(**asked: object) -> list[list[tuple[int, int]]]:
        """Return what is on each page."""
        found = []
        begin: int | None = 0
        while begin is not None:
            url = client.build_request("GET", RANKED.format(1, 2)).url
            answer = client.get(url.copy_merge_params({**asked, "begin": begin})).json()
            found.append([(one["version"], one["position"]) for one in answer["pictures"]])
            assert answer["classes"] == ["green", "red"]
            begin = answer["following"]
            assert (answer["unscored"] > 0) == (begin is None)
        assert sum(map(len, found)) == answer["out_of"]
        return found

    worst = [(1, place) for place in reversed(range(many))]
    assert told(by="red") == [worst[:6], worst[6:], [(2, 0), (2, 1), (2, 2)]]
    assert told(by="green") == [[(2, 0), (2, 1), (2, 2)]]
    assert told() == told(by="red")
    first = client.get(RANKED.format(1, 2)).json()["pictures"][0]
    assert first["iou"] == {"red": [0.5, 0.43]}
    assert first["model"] == "default"


@pytest.mark.usefixtures("kept")
def test_where_their_scores_differ_most_is_shown_first(
    open_page: Open, engine: Engine, blobs: BlobStore, tmp_path: Path
) -> None:
    # The edges of the pictures are at 32, 16 and 48 of 64: the first version names all red.
    right = ((1.0,), (1.0,), (1.0,))
    all_red = SetScores(version=None, classes=("red",), iou=((0.5,), (0.25,), (0.75,)))
    score(engine, blobs, tmp_path / "scores", all_red, number=1)
    score(engine, blobs, tmp_path / "scores", SetScores(version=1, classes=("red",), iou=right))
    page = open_page("/ui/compare?model=default")
    page.get_by_label("Version").first.fill("1")
    page.get_by_label("Version").last.fill("2")
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("button", name="Look for differences").click()
    said = page.locator("#differing figure .share")
    differ = [f"{share} % of pixels differ, most background → green" for share in SHARES]
    before = ("25.0", "50.0", "75.0")
    ranked = [f"IoU red {iou} → 100.0; {seen}" for iou, seen in zip(before, differ, strict=True)]
    expect(said).to_have_text(ranked)
    unscored = page.locator("#differing .unscored")
    expect(unscored).to_be_hidden()
    more = page.get_by_role("button", name="Show more")
    more.click()
    expect(said).to_have_text([*ranked, *differ])
    expect(more).to_be_hidden()
    expect(unscored).to_have_text(UNSCORED.format(3, 3))
    page.get_by_label("Largest difference first, by").select_option("green")
    expect(said).to_have_text(differ)
    canvases = page.locator("#differing figure").first.locator("canvas")
    drawn = [canvases.nth(place).evaluate(MIDDLE, 60)[:3] for place in range(3)]
    assert drawn[0] == drawn[2]
    assert drawn[1] == list(DARK_GREEN)  # the first version knows no green


@pytest.mark.usefixtures("kept")
def test_of_versions_without_scores_some_are_drawn_and_that_is_said(open_page: Open) -> None:
    page = open_page(PAGE.format(1, 2))
    button = page.get_by_role("button", name="Look for differences")
    button.click()
    said = page.locator("#differing figure .share")
    shares = sorted([*SHARES, *SHARES], key=float, reverse=True)
    differ = [f"{share} % of pixels differ, most background → green" for share in shares]
    expect(said).to_have_text(differ)
    expect(page.locator("#differing .unscored")).to_have_text(UNSCORED.format(6, 6))
    expect(page.locator("#differing button")).to_be_hidden()


@pytest.mark.usefixtures("kept")
def test_what_versions_see_the_same_is_told(open_page: Open) -> None:
    page = open_page(PAGE.format(2, 2))
    page.get_by_role("button", name="Look for differences").click()
    said = page.locator("#differing figure .share")
    expect(said).to_have_text(["they see the same"] * 6)
