"""Classes that are taken away, and what is told of it."""

import json

import httpx
from conftest import TASK

from sats_client._reading import read
from sats_client.retirements import Retirement

PROOF = {
    "pictures": "kept",
    "miou_before": 0.7,
    "miou_after": 0.69,
    "to_background": 0.97,
    "piggyback": {
        "before": 0.7,
        "after": 0.4,
        "unaware": None,
        "gap_closed": None,
        "pictures": 8,
        "scored_pictures": 12,
    },
    "membership": None,
}


def test_classes_are_taken_away_with_json_and_with_pictures_by_a_form(through, tmp_path):
    asked = []

    def take(request: httpx.Request) -> httpx.Response:
        request.read()
        asked.append(request)
        return httpx.Response(202, json=TASK | {"kind": "retire", "classes": ["sheep"]})

    task = through(take, lambda c: c.retire("farm", 3, ["sheep"], depth="hide"))
    assert (task.kind, task.classes) == ("retire", ("sheep",))
    dataset = tmp_path / "sheep.zip"
    dataset.write_bytes(b"zip")
    through(
        take, lambda c: c.retire("farm", 3, ("cow",), depth="forget", dataset=dataset, epochs=4)
    )
    plain, form = asked
    assert plain.url.path == "/admin/models/farm/versions/3:retire"
    assert plain.headers["content-type"] == "application/json"
    assert json.loads(plain.content) == {"classes": ["sheep"], "depth": "hide"}
    assert plain.headers["idempotency-key"]
    assert form.headers["content-type"].startswith("multipart/form-data")
    assert b'{"classes": ["cow"], "depth": "forget", "epochs": 4}' in form.content
    assert b'filename="sheep.zip"' in form.content


def test_a_version_says_what_was_measured_of_what_went():
    said = {
        "retired": ["sheep"],
        "indices": [5],
        "depth": "unlearn",
        "proof": PROOF,
        "erasure": None,
        "receipt": None,
        "later": "a field of a later service",
    }
    found = read(Retirement, said)
    assert (found.retired, found.indices, found.depth) == (("sheep",), (5,), "unlearn")
    assert found.proof.piggyback is not None
    assert found.proof.piggyback.after == 0.4
    assert found.proof.membership is None
    assert hash(found)
