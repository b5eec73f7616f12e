"""What a version takes classes for, over HTTP."""

import numpy as np
import pytest
from sqlalchemy import inspect, select

from app.admin.confusion import largest
from app.db import Version, read_session, write_session
from sats_core.evaluation.scores import Confusion
from tests.fixtures.versions import add_version

VERSIONS = "/admin/models/default/versions"
PAIRS = ("truth", "predicted", "pixels", "share", "share_before")
CONFUSION = Confusion(
    classes=("background", "cat", "dog"),
    pixels=((90, 10, 0), (5, 40, 5), (2, 6, 2)),
    before=((95, 5, 0), (10, 40, 0), (7, 3, 0)),
    pictures=4,
)


@pytest.fixture
def line(engine, blobs):
    """A version of before matrices were kept, one with both, and one without a parent's."""
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
        add_version(session, blobs, ["dog"], confusion=CONFUSION)
        alone = CONFUSION.model_copy(update={"before": None})
        add_version(session, blobs, ["cat", "dog"], model="other", confusion=alone)


@pytest.mark.usefixtures("line")
def test_the_matrix_and_what_is_confused_most(client):
    found = client.get(f"{VERSIONS}/2/confusion").json()
    pairs = [tuple(one[name] for name in PAIRS) for one in found.pop("largest")]
    assert pairs == [
        ("dog", "cat", 6, 0.6, 0.3),
        ("dog", "background", 2, 0.2, 0.7),
        ("background", "cat", 10, 0.1, 0.05),
        ("cat", "background", 5, 0.1, 0.2),
        ("cat", "dog", 5, 0.1, 0.0),
    ]
    stored = CONFUSION.model_dump(mode="json")
    assert found == {"version": 2, "parent": 1, **stored}
    two = client.get(f"{VERSIONS}/2/confusion", params={"limit": 2}).json()
    assert [one["predicted"] for one in two["largest"]] == ["cat", "background"]
    assert client.get(f"{VERSIONS}/2/confusion", params={"limit": 501}).status_code == 422


@pytest.mark.usefixtures("line")
def test_a_version_without_one_before_has_no_column_for_it(client):
    found = client.get("/admin/models/other/versions/1/confusion").json()
    assert found["parent"] is found["before"] is None
    assert {one["share_before"] for one in found["largest"]} == {None}


@pytest.mark.usefixtures("line")
def test_a_version_without_a_matrix_says_why(client, engine):
    old = client.get(f"{VERSIONS}/1/confusion")
    assert old.status_code == 404
    assert "made before they were kept" in old.json()["detail"]
    with write_session(engine) as session:
        version = session.scalars(select(Version).order_by(Version.id)).first()
        version.scores = {**version.scores, "pictures": 0}
    unscored = client.get(f"{VERSIONS}/1/confusion")
    assert "scored on no picture" in unscored.json()["detail"]


@pytest.mark.usefixtures("line")
def test_it_is_read_where_it_is_asked_for_alone(engine):
    with read_session(engine) as session:
        for version in session.scalars(select(Version)):
            assert "confusion" in inspect(version).unloaded


def test_of_many_classes_the_largest_pairs_alone_are_told():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 900, (151, 151))
    pixels[7] = 0  # shown by no picture
    classes = tuple(f"class {number}" for number in range(151))
    rows = tuple(map(tuple, pixels.tolist()))
    found = largest(Confusion(classes=classes, pixels=rows, before=None, pictures=3), 20)
    shares = [one.share for one in found]
    assert len(found) == 20
    assert shares == sorted(shares, reverse=True)
    assert "class 7" not in {one.truth for one in found}
    off = pixels / np.maximum(pixels.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(off, 0)
    assert shares == pytest.approx(np.sort(off, axis=None)[::-1][:20].tolist())
