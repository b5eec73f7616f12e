"""The page of what became of Label Studio's projects."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from app.db import LabelStudioProject, ProjectState, utc_now, write_session
from app.integrations.label_studio.pages import MOST
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.settings import Settings
from tests.app.web.conftest import Open, chromium, open_page, site
from tests.app.web.test_pages import PHONE
from tests.fixtures.browser import barriers

__all__ = ["chromium", "open_page", "site"]
PAGE = "/ui/label-studio"


def tell(engine: Engine, number: int, state: ProjectState, **said: object) -> None:
    with write_session(engine) as session:
        asked = {"project": number, "model": "default", "asked_at": utc_now()}
        session.add(LabelStudioProject(state=state, **asked | said))


def furnish(engine: Engine) -> None:
    tell(engine, 3, ProjectState.WAITING)
    tell(engine, 4, ProjectState.FETCHING, pictures=7, pictures_in_all=246, wanted=True)
    tell(engine, 5, ProjectState.NOTHING_NEW, classes=["cup"], warnings=["task 17 is left out"])
    tell(engine, 6, ProjectState.FAILED, error="Label Studio does not answer: 503")


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_every_state_is_told_to_everybody_and_on_a_phone(open_page: Open, engine: Engine) -> None:
    page = open_page("/ui/tasks/new", viewport=PHONE, bypass_csp=True)
    page.get_by_role("link", name="how far that is").click()
    assert page.get_by_text("No training was asked for").is_visible()
    assert barriers(page) == []
    furnish(engine)
    page.reload()
    rows = [row.inner_text() for row in page.locator("tbody tr").all()]
    assert len(rows) == 4
    told = (
        ("Failed", "Label Studio does not answer: 503"),
        ("Nothing new", "1 left out"),
        ("Fetching", "7 of 246"),
        ("Waiting", "default"),
    )
    for row, said in zip(rows, told, strict=True):
        assert all(one in row for one in said), row
    assert barriers(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_key_sees_what_it_has_asked_for(
    client: TestClient, engine: Engine, settings: Settings
) -> None:
    furnish(engine)
    with write_session(engine) as session:
        secret = read_secret(settings)
        keys = {
            scope: create_key(session, secret, scope.value, [scope])
            for scope in (Scope.SUBMIT, Scope.READ)
        }
    tell(engine, 7, ProjectState.WAITING, key_id=1)
    seen = {}
    for scope, key in keys.items():
        client.post("/login", data={"key": key, "next": "/"}, follow_redirects=False)
        seen[scope] = client.get(PAGE).text.count('<th scope="row">')
    assert seen == {Scope.SUBMIT: 1, Scope.READ: 5}


def test_what_others_ask_for_takes_no_room_from_a_key(
    client: TestClient, engine: Engine, settings: Settings
) -> None:
    """Each as many rows as a page has, beside those of a key, and of a reader of one model."""
    with write_session(engine) as session:
        secret = read_secret(settings)
        keys = [
            create_key(session, secret, "camera", [Scope.SUBMIT]),
            create_key(session, secret, "farmer", [Scope.READ], models=["farm"]),
        ]
        create_key(session, secret, "other", [Scope.SUBMIT])
    tell(engine, 1, ProjectState.WAITING, key_id=1)
    tell(engine, 2, ProjectState.FETCHING, key_id=3, wanted=True, next_key_id=1)
    tell(engine, 3, ProjectState.WAITING, key_id=3, model="farm")
    with write_session(engine) as session:
        newer = {"model": "default", "asked_at": utc_now(), "key_id": 3}
        session.add_all(LabelStudioProject(project=n, **newer) for n in range(4, 4 + MOST))
    shown = []
    for key in keys:
        client.post("/login", data={"key": key, "next": "/"}, follow_redirects=False)
        shown.append(client.get(PAGE).text.count('<th scope="row">'))
    assert shown == [2, 1]
