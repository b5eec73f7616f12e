"""Where a version came from: drawn among those beside it, and the data set that it learned."""

import re

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from app.db import Task, TaskEvent, TaskKind, write_session
from app.storage import BlobStore
from app.web.lineage import ANCESTORS, CHILDREN, family
from tests.app.web.showcase import furnish

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

PAGE = "/ui/models/default/versions/"


@pytest.fixture
def tasks(engine: Engine, blobs: BlobStore) -> dict[str, str]:
    return furnish(engine, blobs)


def drawn(page: str) -> list[str]:
    """Return the versions of a drawing, as they stand from top to bottom."""
    found = re.search(r'<ol class="family".*?</ol>', page, re.S)
    return re.findall(r"Version (\d+)<", found.group()) if found else []


def test_a_version_stands_between_its_children_and_its_ancestors(
    client: TestClient, tasks: dict[str, str]
) -> None:
    assert drawn(client.get(f"{PAGE}4").text) == ["5", "4", "2", "1"]
    page = client.get(f"{PAGE}2").text
    assert drawn(page) == ["4", "3", "2", "1"]
    assert '<strong aria-current="true">Version 2</strong>' in page
    assert "not drawn" not in page
    five = client.get(f"{PAGE}5").text
    assert five.count('<circle cx="9" cy="22" r="4.5" class="live"/>') == 1


@pytest.mark.usefixtures("database_url")
def test_children_have_lanes_of_their_own_that_meet_in_their_parent() -> None:
    found = family([1, 2, 4], [5, 7])
    assert [number for number, _ in found.rows] == [7, 5, 4, 2, 1]
    assert [place.lane for _, place in found.rows] == [0, 1, 0, 0, 0]
    assert found.lanes == 2
    assert (1, 0, "top") in found.rows[2][1].lines
    assert not [part for _, _, part in found.rows[-1][1].lines if part == "bottom"]


@pytest.mark.usefixtures("database_url")
def test_a_drawing_is_bounded_and_says_what_it_leaves_out() -> None:
    found = family(list(range(1, 41)), list(range(50, 62)))
    numbers = [number for number, _ in found.rows]
    assert numbers == [*range(61, 61 - CHILDREN, -1), *range(40, 39 - ANCESTORS, -1)]
    assert (found.more_children, found.more_ancestors) == (12 - CHILDREN, 39 - ANCESTORS)
    assert (0, 0, "bottom") in found.rows[-1][1].lines, "its parent is not drawn"


def test_a_page_says_what_is_not_drawn(
    client: TestClient, engine: Engine, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.web import lineage

    monkeypatch.setattr(lineage, "ANCESTORS", 1)
    monkeypatch.setattr(lineage, "CHILDREN", 1)
    furnish(engine, blobs)
    assert "1 older ancestor not drawn" in client.get(f"{PAGE}4").text
    assert "1 older child not drawn" in client.get(f"{PAGE}2").text


def test_it_says_what_it_was_learned_from(
    client: TestClient, engine: Engine, tasks: dict[str, str]
) -> None:
    before = client.get(f"{PAGE}5").text
    assert "Trained on" not in before
    with write_session(engine) as session:
        task = session.get_one(Task, tasks["version 5"])
        task.dataset, task.dataset_bytes = "ab" * 32, 5_300_000
        for pictures in (95, 96):  # it was tried twice
            session.add(TaskEvent(task_id=task.id, kind="labels", data={"pictures": pictures}))
            session.flush()
    page = client.get(f"{PAGE}5").text
    assert f'<a href="/ui/tasks/{tasks["version 5"]}">chair, sofa</a>' in page
    assert f'title="{"ab" * 32}"' in page
    assert "5.3 MB" in page
    assert "96 pictures" in page
    assert "<dd>chair, sofa</dd>" in page


def test_of_what_no_step_made_there_is_no_data_set(
    client: TestClient, engine: Engine, tasks: dict[str, str]
) -> None:
    with write_session(engine) as session:
        session.get_one(Task, tasks["version 1"]).kind = TaskKind.IMPORT
    page = client.get(f"{PAGE}1").text
    assert "its task" in page
    assert "Data set" not in page
