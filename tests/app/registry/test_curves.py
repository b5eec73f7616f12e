"""Scores over versions: one source for the API and for the page's chart."""

import pytest
from sqlalchemy import select

from app.db import Model, Version, read_session, write_session
from app.registry.curves import curves, learned
from app.web.curves import chart
from tests.fixtures.statements import Statements
from tests.fixtures.versions import add_version


def two_models(session, blobs):
    """Four versions of one model, one of which nobody scored, and one of another."""
    for name in ("cat", "dog", "cow", "fox"):
        last = add_version(session, blobs, [name], iou={name: 0.61234})
    last.scores = {**last.scores, "iou": {}, "miou_all": None}
    add_version(session, blobs, ["car"], model="street")
    return list(session.scalars(select(Model).order_by(Model.name)))


def test_points_are_of_each_model_and_the_newest_of_them(engine, blobs):
    with write_session(engine) as session:
        models = two_models(session, blobs)
        with Statements(engine) as sent:
            found = curves(session, models)
        assert len([one for one in sent.seen if "versions" in one[0]]) == 1
        default, street = (found[model.id] for model in models)
        assert [point.number for point in default] == [1, 2, 3, 4]
        assert [point.classes for point in default] == [1, 2, 3, 4]
        assert default[2].iou == session.get_one(Version, default[2].id).scores["iou"]
        assert (default[3].iou, default[3].means["miou_all"]) == ({}, None)
        assert [point.number for point in street] == [1]
        newest = curves(session, models, 2)
        assert [[p.number for p in newest[model.id]] for model in models] == [[3, 4], [1]]
        earlier = curves(session, models, 2, before=4)
        assert [[p.number for p in earlier[model.id]] for model in models] == [[2, 3], [1]]
        assert curves(session, []) == {}


def test_a_chart_has_the_means_and_a_line_for_each_scored_class(engine, blobs):
    with write_session(engine) as session:
        models = two_models(session, blobs)
    with read_session(engine) as session:
        drawn = chart(curves(session, models)[models[0].id], learned(session, models[0]))
    assert drawn.versions == [1, 2, 3, 4]
    names = ["all classes", "old classes", "new classes", "cat", "dog", "cow"]
    assert [line.name for line in drawn.lines] == names
    cow = drawn.lines[-1]
    assert cow.values == [None, None, 0.6123, None]
    assert cow.colour == "#808000"


@pytest.mark.parametrize(
    ("scores", "miou"),
    [
        ({"miou_all": 0.5}, 0.5),
        ({"miou_all": 0.5, "iou": None}, 0.5),
        ({"iou": 3}, None),
        (7, None),
    ],
)
def test_scores_that_an_older_row_does_not_say_are_none(engine, blobs, scores, miou):
    with write_session(engine) as session:
        version = add_version(session, blobs, ["cat"])
        version.scores = scores
        version_id, model = version.id, version.model
        session.flush()
        (point,) = curves(session, [model])[model.id]
    assert (point.id, point.iou) == (version_id, {})
    assert point.means == {
        "miou_old": None,
        "miou_new": None,
        "miou_all": miou,
        "mean_forgetting": None,
    }
