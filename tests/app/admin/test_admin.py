import hashlib
import io
import re

import pytest
from sqlalchemy import select

from app.db import Version, write_session
from app.registry.memory import add_memory
from app.registry.service import ensure_model
from app.storage import BlobMissingError
from sats_core.evaluation.forgetting import ForgettingReport, readings
from sats_core.job import MemoryRecord
from tests.fixtures.statements import Statements
from tests.fixtures.versions import FILES, add_version, content

VERSIONS = "/admin/models/default/versions"


@pytest.fixture
def line(engine, blobs):
    """Two live versions and a held one."""
    with write_session(engine) as session:
        add_version(session, blobs, ["cat", "dog"])
        add_version(session, blobs, ["sheep"], iou={"cat": 0.77})
        add_version(session, blobs, ["cow"], iou={"cow": 0.1}, live=False)


def test_nothing_is_there_at_first(client):
    assert client.get("/admin/models").json()["items"] == []
    assert client.get("/admin/metrics").json() == {"models": []}
    assert client.get(VERSIONS).status_code == 404
    assert client.get("/admin/models/default/aliases/live").status_code == 404


def test_models(client, line):
    (model,) = client.get("/admin/models").json()["items"]
    assert model["name"] == "default"
    assert (model["live"], model["versions"]) == (2, 3)
    assert model["classes"] == ["cat", "dog", "sheep"]


def test_versions_show_lineage_classes_and_scores(client, line):
    found = client.get(VERSIONS).json()["items"]
    assert [version["number"] for version in found] == [3, 2, 1]
    assert [version["live"] for version in found] == [False, True, False]
    assert [version["parent"] for version in found] == [2, 1, None]
    assert found[0]["lineage"] == [1, 2, 3]
    second = client.get(f"{VERSIONS}/2").json()
    assert second == found[1]
    assert [c["name"] for c in second["classes"]] == ["background", "cat", "dog", "sheep"]
    assert second["classes"][1] == {"index": 1, "name": "cat", "color": "#800000", "step": 0}
    assert second["new_classes"] == ["sheep"]
    assert second["scores"]["iou"]["cat"] == 0.77
    assert second["gate"]["passed"]
    assert second["backbone"] == "pvt_v2_b0"


def test_versions_come_in_pages(client, line):
    every = client.get(VERSIONS).json()["items"]
    first = client.get(VERSIONS, params={"limit": 2}).json()
    assert first["items"] == every[:2]
    rest = client.get(VERSIONS, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert rest == {"items": every[2:], "next_cursor": None}


def test_models_come_in_pages_by_name(client, engine):
    with write_session(engine) as session:
        for name in ("c", "a", "b"):
            ensure_model(session, name)
    names, cursor = [], None
    for _ in range(3):
        query = {"limit": 1} | ({"cursor": cursor} if cursor else {})
        page = client.get("/admin/models", params=query).json()
        names += [model["name"] for model in page["items"]]
        cursor = page["next_cursor"]
    assert (names, cursor) == (["a", "b", "c"], None)


def test_versions_cost_no_query_each(client, line, engine, blobs):
    first = client.get(VERSIONS).json()["items"]
    with Statements(client.app.state.services.engine) as few:
        client.get(VERSIONS)
    with write_session(engine) as session:
        for name in ("horse", "bird", "fish"):
            add_version(session, blobs, [name])
    with Statements(client.app.state.services.engine) as many:
        assert len(client.get(VERSIONS).json()["items"]) == len(first) + 3
    with Statements(client.app.state.services.engine) as page:
        client.get(VERSIONS, params={"limit": 1})
    assert asked(few) == asked(many) == asked(page)


def asked(sent):
    """How many statements; who calls is asked anew whenever that is due."""
    return len([statement for statement, _ in sent.seen if "api_keys" not in statement])


def test_files_can_be_downloaded(client, line):
    files = client.get(f"{VERSIONS}/1").json()["files"]
    assert {file["name"] for file in files} == set(FILES)
    for file in files:
        answer = client.get(file["href"])
        assert answer.content == content(file["name"], 1)
        assert len(answer.content) == file["bytes"]
        assert hashlib.sha256(answer.content).hexdigest() == file["sha256"]
        assert answer.headers["ETag"] == f'"{file["sha256"]}"'
    assert client.get(f"{VERSIONS}/1/files/other").status_code == 404


@pytest.mark.parametrize("how", ["missing", "damaged"])
@pytest.mark.parametrize("seen", [False, True])
def test_a_damaged_file_is_not_sent(client, line, blobs, how, seen):
    href = f"{VERSIONS}/2/files/model.onnx"
    if seen:  # what was found whole before is not believed to be whole for ever
        assert client.get(href).status_code == 200
    whole = content("model.onnx", 2)
    path = blobs.path(hashlib.sha256(whole).hexdigest())
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(whole[:-1] + b"!!")
    answer = client.get(href)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "urn:sats:problem:damaged-version"
    code = {"missing": "missing", "damaged": "invalid"}
    message = f"file 'model.onnx' of version 2 is {how} in the blob store"
    assert problem["detail"] == message
    assert problem["errors"] == [{"file": "model.onnx", "code": code[how], "message": message}]
    assert client.get(f"{VERSIONS}/2/files/config.json").status_code == 200


def test_promote_and_roll_back_keep_history(client, line):
    moved = client.post(f"{VERSIONS}/3:promote")
    assert (moved.status_code, moved.json()["version"], moved.json()["kind"]) == (200, 3, "promote")
    assert client.get(f"{VERSIONS}/3").json()["live"]
    assert client.post(f"{VERSIONS}/3:promote").status_code == 409
    assert client.post(f"{VERSIONS}/2:rollback").status_code == 409
    back = client.post(f"{VERSIONS}/3:rollback").json()
    assert (back["version"], back["kind"]) == (2, "rollback")
    assert client.post(f"{VERSIONS}/2:rollback").json()["version"] == 1
    assert client.post(f"{VERSIONS}/1:rollback").status_code == 409
    history = client.get("/admin/models/default/aliases/live/moves").json()["items"]
    assert [(m["sequence"], m["version"], m["kind"]) for m in history] == [
        (5, 1, "rollback"),
        (4, 2, "rollback"),
        (3, 3, "promote"),
        (2, 2, "gate"),
        (1, 1, "gate"),
    ]


@pytest.mark.parametrize("number", ["0", "-1", "x", str(2**31), "9" * 40])
def test_a_number_that_cannot_be_one_is_refused(client, line, number):
    assert client.get(f"{VERSIONS}/{number}").status_code == 422
    assert client.post(f"{VERSIONS}/{number}:promote").status_code == 422


def test_an_unknown_version_is_404(client, line):
    for call in (client.get(f"{VERSIONS}/4"), client.post(f"{VERSIONS}/4:promote")):
        assert call.status_code == 404
        assert call.json()["detail"] == "the model has no version 4"


def test_why_a_version_forgot(client, line, engine):
    assert client.get(f"{VERSIONS}/1/forgetting").status_code == 404
    assert client.get(f"{VERSIONS}/9/forgetting").status_code == 404
    figures = {
        "forgetting": {"cat": 0.03},
        "lost": {"share": 0.1, "to_background": 0.75, "to_new": 0.25, "to_old": 0.0},
        "false_positives": {"on_old": 0.02, "on_background": 0.0},
        "norm_ratio": 1.0,
        "regained": {
            "as_is": 0.7,
            "new_masked": 0.75,
            "background_masked": 0.9,
            "parent_background_masked": 0.9,
        },
        "alignment": [{"old": 0.99, "background": 0.98, "new": None}],
        "background_shift": 0.4,
    }
    report = {**figures, "pictures": 4, "readings": readings(figures)}
    with write_session(engine) as session:
        found = session.scalars(select(Version).where(Version.number == 2)).one()
        found.forgetting_report = ForgettingReport.model_validate(report).model_dump(mode="json")
    answer = client.get(f"{VERSIONS}/2/forgetting")
    assert answer.status_code == 200
    assert answer.json() == report
    assert "most went to background" in answer.json()["readings"]["lost"]


def test_replay_pictures_are_shown_and_deleted(client, line, engine, blobs):
    blob = blobs.put(io.BytesIO(b"pictures"))
    with write_session(engine) as session:
        found = session.scalars(select(Version).where(Version.number == 2)).one()
        record = MemoryRecord(pictures=3, classes={"cat": 2, "dog": 1})
        add_memory(session, found, record, blob.key, blob.size, "blob store")
    shown = client.get(f"{VERSIONS}/2").json()["memory"]
    assert shown == {
        "pictures": 3,
        "classes": {"cat": 2, "dog": 1},
        "bytes": 8,
        "sha256": blob.key,
        "place": "blob_store",
        "deleted_at": None,
        "deleted_by": None,
    }
    gone = client.delete(f"{VERSIONS}/2/memory")
    assert gone.status_code == 200
    assert gone.json()["deleted_at"]
    with pytest.raises(BlobMissingError):
        blobs.path(blob.key)
    assert client.delete(f"{VERSIONS}/2/memory").json() == gone.json()
    assert client.get(f"{VERSIONS}/2").json()["memory"] == gone.json()
    refused = client.delete(f"{VERSIONS}/1/memory")
    assert refused.status_code == 404
    assert "keeps no training pictures" in refused.json()["detail"]


def test_metrics_are_a_curve_per_model(client, line, engine, blobs):
    with write_session(engine) as session:
        add_version(session, blobs, ["car"], model="street")
    curves = client.get("/admin/metrics").json()["models"]
    assert [curve["model"] for curve in curves] == ["default", "street"]
    points = curves[0]["points"]
    assert [point["version"] for point in points] == [1, 2, 3]
    assert [point["classes"] for point in points] == [2, 3, 4]
    assert points[0]["miou_old"] is None
    for point in points:
        shown = client.get(f"{VERSIONS}/{point['version']}").json()["scores"]
        assert point["iou"] == shown["iou"]
        assert point["miou_all"] == shown["miou_all"]
    assert len(points[2]["iou"]) == 5, "background too"
    only = client.get("/admin/metrics", params={"model": "street"}).json()["models"]
    assert only == [curves[1]]
    last = client.get("/admin/metrics", params={"newest": 2}).json()["models"]
    assert last == [curves[0] | {"points": points[1:], "next_before": 2}, curves[1]]
    assert client.get("/admin/metrics", params={"newest": 2**31 - 1}).json()["models"] == curves
    for wrong in (0, 2**31):
        for name in ("newest", "before"):
            assert client.get("/admin/metrics", params={name: wrong}).status_code == 422
    assert client.get("/admin/metrics", params={"model": "none"}).status_code == 404


def test_of_many_versions_metrics_has_the_newest_and_leads_to_the_others(client, line, monkeypatch):
    def seen(**params):
        (curve,) = client.get("/admin/metrics", params=params).json()["models"]
        return [point["version"] for point in curve["points"]], curve["next_before"]

    assert seen() == ([1, 2, 3], None)
    assert seen(newest=1) == ([3], 3)
    assert seen(newest=1, before=3) == ([2], 2)
    assert seen(newest=5, before=2) == ([1], None)
    assert seen(before=1) == ([], None)
    assert seen(before=99) == ([1, 2, 3], None)
    monkeypatch.setattr("app.admin.endpoints.MOST_POINTS", 2)
    assert seen() == ([2, 3], 2), "whatever is asked for"
    assert seen(newest=2**31 - 1, before=2) == ([1], None)


def test_metrics_are_bounded_where_nobody_says_how_many(document):
    (operation,) = document["paths"]["/admin/metrics"].values()
    defaults = {one["name"]: one["schema"].get("default") for one in operation["parameters"]}
    assert defaults["newest"] == 200


LIVE = "/admin/models/default/aliases/live"


def moves(client):
    return [move["version"] for move in client.get(f"{LIVE}/moves").json()["items"]]


def test_live_is_moved_by_whoever_knows_where_it_stands(client, line):
    shown = client.get(LIVE)
    assert (shown.json()["version"], shown.headers["etag"]) == (2, '"2"')
    moved = client.put(LIVE, json={"version": 3}, headers={"If-Match": '"2"'})
    assert (moved.status_code, moved.json()["version"]) == (200, 3)
    assert moved.headers["etag"] == client.get(LIVE).headers["etag"] == '"3"'
    for etag in ('"2"', '"1", "2"', 'W/"3"', '""', "3", "x", '"*"'):
        late = client.put(LIVE, json={"version": 1}, headers={"If-Match": etag})
        assert (late.status_code, late.json()["type"]) == (412, "urn:sats:problem:moved-meanwhile")
    for etag in ("*", '"2", "3"'):
        again = client.put(LIVE, json={"version": 3}, headers={"If-Match": etag})
        assert (again.status_code, again.json()) == (200, moved.json()), "repeated, not moved"
    assert client.put(LIVE, json={"version": 1}).json()["sequence"] == 4
    assert moves(client) == [1, 3, 2, 1]


def test_json_that_breaks_off_is_the_body_s_fault(client, line):
    headers = {"Content-Type": "application/json"}
    answer = client.put(LIVE, content='{"version":', headers=headers)
    assert answer.status_code == 422
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [("body", "unreadable")]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"version": 0},
        {"version": "x"},
        {"version": True},
        {"version": "1"},
        {"version": 1.0},
        {"version": 1, "by": "me"},
    ],
)
def test_a_wrong_target_is_named(client, line, body):
    answer = client.put(LIVE, json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"]


def test_live_points_at_versions_that_are_there(client, line, engine):
    assert client.put(LIVE, json={"version": 99}).status_code == 404
    with write_session(engine) as session:
        ensure_model(session, "empty")
    where = "/admin/models/empty/aliases/live"
    assert client.get(where).status_code == 404
    first = client.put(where, json={"version": 1}, headers={"If-Match": "*"})
    assert first.status_code == 412, "nothing was live"


def test_the_old_way_to_move_live_says_what_takes_its_place(client, line):
    moved = client.post(f"{VERSIONS}/3:promote")
    assert re.fullmatch(r"@\d{10}", moved.headers["deprecation"])
    assert moved.headers["link"] == f'<{LIVE}>; rel="successor-version"'
