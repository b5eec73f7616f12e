"""What was taken away from a version, on its page, and taking something away there."""

import pytest
from playwright.sync_api import expect
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.db import Task, Version, read_session, utc_now, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.retirement.receipts import signed
from app.retirement.records import Deleted, Person, Receipt, RetiredClass
from app.retirement.schemas import MOST_LOST
from app.settings import Settings
from app.storage import BlobStore
from tests.app.cli.test_retire import PROOF
from tests.app.web.conftest import Open
from tests.fixtures.browser import barriers
from tests.fixtures.versions import add_version

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

PHONE = {"width": 375, "height": 700}
PAGE = "/ui/models/default/versions/2"


@pytest.fixture(autouse=True)
def line(engine: Engine, blobs: BlobStore) -> None:
    """Version 2 was made without cows, whose pictures are deleted."""
    eva, worker = Person(type="key", name="eva"), Person(type="worker", name="gpu-1")
    deleted = Deleted(
        what="replay_pictures",
        version=1,
        task=None,
        place="blob_store",
        sha256="a" * 64,
        bytes=12,
        pictures=("b" * 64,),
        left=2,
        replaced_by="c" * 64,
        gone=True,
    )
    with write_session(engine) as session:
        add_version(session, blobs, ["cat", "dog"])
        made = session.get_one(Version, add_version(session, blobs, ["sheep"]).id)
        receipt = Receipt(
            model="default",
            version=2,
            parent=1,
            task=made.task_id,
            classes=(RetiredClass(name="cow", index=9),),
            asked_by=eva,
            deleted_by=worker,
            at=utc_now(),
            deleted=(deleted,),
            kept=("versions that know a class of these: 1",),
        )
        made.retirement = {
            "retired": ["cow"],
            "indices": [9],
            "depth": "forget",
            "proof": PROOF,
        }
        made.erasure = "done"
        made.receipt = signed(b"secret", receipt).model_dump(mode="json")


def test_the_page_says_what_was_measured(open_page: Open) -> None:
    page = open_page(PAGE, viewport=PHONE, bypass_csp=True)
    card = page.locator("#retirement")
    expect(card).to_contain_text("no guarantee")
    expect(card).to_contain_text("9, in no mask and given to no class again: its own IoU is 0")
    expect(card).to_contain_text("mIoU 70.0 before, 40.0 now; 35.0 on a version that never saw it")
    expect(card).to_contain_text("not measured")
    card.get_by_text("Receipt", exact=True).click()
    expect(card).to_contain_text("replay pictures of version 1: 1 picture, 2 stay")
    expect(card).to_contain_text("versions that know a class of these: 1.")
    assert barriers(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.goto(page.url.replace("/versions/2", "/versions/1"))
    expect(page.locator("#retirement")).to_have_count(0)


def test_what_will_happen_is_said_before_it_does(open_page: Open, engine: Engine) -> None:
    page = open_page(PAGE, bypass_csp=True)
    page.get_by_role("button", name="Take classes away…").click()
    page.get_by_role("button", name="Go on…").click()
    expect(page.get_by_role("alert")).to_contain_text("Choose a class")
    page.get_by_role("checkbox", name="sheep").check()
    page.get_by_role("radio", name="forget").check()
    assert barriers(page) == []
    page.get_by_role("button", name="Go on…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Take sheep away?")
    expect(dialog).to_contain_text("deleted for good, with a signed receipt")
    expect(dialog.get_by_text("can teach the same again with a few pictures")).to_be_hidden()
    assert barriers(page) == []
    dialog.get_by_role("button", name="Take it away").click()
    expect(page.get_by_role("heading", name="retire sheep")).to_be_visible()
    with read_session(engine) as session:
        spec = session.scalars(select(Task).where(Task.kind == "retire")).one().spec
    assert (spec["classes"], spec["depth"], spec["parent"]) == (["sheep"], "forget", 2)


@pytest.mark.parametrize(("lost", "said"), [(MOST_LOST, f"{100 * MOST_LOST:g}"), (0.015, "1.5")])
def test_what_it_may_cost_is_said_as_it_is_set(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, lost: float, said: str
) -> None:
    monkeypatch.setattr("app.web.models.MOST_LOST", lost)
    assert f"loses at most {said} hundredths of mIoU" in client.get(PAGE).text


def test_what_is_refused_is_said_in_the_dialog(open_page: Open) -> None:
    page = open_page(PAGE, allowed=("422",))
    page.get_by_role("button", name="Take classes away…").click()
    for name in ("cat", "dog", "sheep"):
        page.get_by_role("checkbox", name=name).check()
    page.get_by_role("button", name="Go on…").click()
    page.get_by_role("button", name="Take it away").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("one must stay")


def test_who_may_only_read_takes_nothing_away(
    open_page: Open, engine: Engine, settings: Settings
) -> None:
    with write_session(engine) as session:
        key = create_key(session, read_secret(settings), "reader", [Scope.READ])
    page = open_page(f"/login?next={PAGE}")
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    expect(page.locator("#retirement")).to_be_visible()
    expect(page.get_by_role("button", name="Take classes away…")).to_have_count(0)
