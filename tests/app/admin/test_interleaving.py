"""Promotions, roll-backs and registrations that meet: each takes its turn, whoever is first."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from app.db import AliasMove, Model, Version, read_session, write_session
from app.registry.service import find_model, lock_model
from tests.app.db.test_limits import calling
from tests.fixtures.blocked import blocked
from tests.fixtures.versions import add_version
from tests.worker.bench import eventually

VERSIONS = "/admin/models/default/versions"


@pytest.fixture
def acts(engine, blobs):
    """What may meet, by name; each gives an HTTP status."""
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
        add_version(session, blobs, ["dog"])
        add_version(session, blobs, ["cow"], live=False)

    def register(_client):
        with write_session(engine) as session:
            lock_model(session, find_model(session, "default").id)
            add_version(session, blobs, ["sheep"])
        return 200

    return {
        "promote": lambda client: client.post(f"{VERSIONS}/3:promote").status_code,
        "rollback": lambda client: client.post(f"{VERSIONS}/2:rollback").status_code,
        "register": register,
    }


@pytest.mark.parametrize("database_url", ["served"], indirect=True)
@pytest.mark.parametrize("order", [*itertools.permutations(["promote", "rollback", "register"])])
def test_whoever_waits_moves_live_from_where_the_one_before_left_it(settings, engine, acts, order):
    with (
        calling(settings, database_lock_seconds=60.0) as client,
        ThreadPoolExecutor(len(order)) as pool,
        blocked(engine) as waiting,
    ):
        begun = []
        with engine.begin() as holding:
            holding.execute(select(Model.id).with_for_update())
            for place, name in enumerate(order, start=1):
                begun.append(pool.submit(acts[name], client))
                eventually(lambda place=place: waiting() == place)
        statuses = dict(zip(order, [one.result() for one in begun], strict=True))
    # Version 2 can be taken back only while nothing else went live.
    expected = dict.fromkeys(order, 200)
    if order[0] != "rollback":
        expected["rollback"] = 409
    assert statuses == expected
    with read_session(engine) as session:
        sequences = session.scalars(select(AliasMove.sequence).order_by(AliasMove.id)).all()
        numbers = session.scalars(select(Version.number).order_by(Version.id)).all()
    assert sequences == list(range(1, 3 + list(statuses.values()).count(200)))
    assert numbers == [1, 2, 3, 4]
