"""`sats retire`, and `sats show` of what came of it."""

import json

import pytest

from app.db import Task, write_session
from app.db.version import Version
from tests.app.cli.conftest import printed
from tests.fixtures.processes import serving
from tests.fixtures.versions import add_version

PROOF = {
    "pictures": "kept",
    "miou_before": 0.8,
    "miou_after": 0.79,
    "to_background": 0.97,
    "piggyback": {
        "before": 0.7,
        "after": 0.4,
        "unaware": 0.35,
        "gap_closed": 0.857,
        "pictures": 8,
        "scored_pictures": 12,
    },
    "membership": None,
}


@pytest.fixture
def asked(service, engine, blobs, run):
    """Run a command on a service whose version 2 was made without something."""
    with write_session(engine) as session:
        add_version(session, blobs, ["cat", "dog"])
        made = add_version(session, blobs, ["sheep"])
        session.get_one(Version, made.id).retirement = {
            "retired": ["cow"],
            "indices": [9],
            "depth": "unlearn",
            "proof": PROOF,
        }
    with serving(service) as url:
        yield lambda *words: run(*words, "--url", url)


def test_a_class_is_taken_away(asked, engine):
    done = asked("retire", "default@2", "sheep", "dog", "--depth", "hide", "-o", "json")
    assert done.exit_code == 0, done.output
    task = json.loads(printed(done))
    assert (task["kind"], task["classes"]) == ("retire", ["sheep", "dog"])
    with write_session(engine) as session:
        spec = session.get_one(Task, task["id"]).spec
    assert (spec["parent"], spec["depth"]) == (2, "hide")


def test_what_is_refused_is_said(asked):
    refused = asked("retire", "default@2", "bus", "--depth", "hide")
    assert refused.exit_code == 4
    assert "version 2 does not know 'bus'" in refused.stderr
    unnamed = asked("retire", "default", "sheep", "--depth", "hide")
    assert (unnamed.exit_code, "name the version" in unnamed.stderr) == (2, True)
    assert asked("retire", "default@2", "sheep").exit_code == 2
    assert asked("retire", "default@2", "--depth", "hide").exit_code == 2
    assert asked("retire", "default@2", "sheep", "--depth", "burn").exit_code == 2


def test_what_was_measured_is_shown(asked):
    told = asked("show", "default@2").stdout
    assert "retired" in told
    for said in (
        "cow",
        "unlearn",
        "0.800 before, 0.790 now",
        "0.700 before, 0.400 now",
        "0.857",
        "no guarantee",
    ):
        assert said in told
    assert "retired" not in asked("show", "default@1").stdout
