"""Of two who delete the same thing at once, one does."""

import io
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.audit.service import Action, Wanted, list_entries
from app.db import HeldOutSet, Place, Version, read_session, write_session
from app.deletion.service import Removal, delete_held_out, delete_memory, delete_version
from app.registry.memory import add_memory
from sats_core.job import MemoryRecord
from tests.fixtures.blocked import blocked
from tests.fixtures.versions import add_version
from tests.worker.bench import eventually

PLACES = [Place.BLOB_STORE]


@pytest.fixture
def with_held_out(engine, blobs):
    """The id of a held version with held-out and replay pictures."""
    pictures, replay = (blobs.put(io.BytesIO(data)) for data in (b"held out", b"replay"))
    with write_session(engine) as session:
        version = add_version(session, blobs, ["cat"], live=False)
        session.add(
            HeldOutSet(version_id=version.id, blob=pictures.key, classes=["cat"], pictures=1)
        )
        kept = MemoryRecord(pictures=1, classes={"cat": 1})
        add_memory(session, version, kept, replay.key, replay.size, Place.BLOB_STORE)
        return version.id


@pytest.mark.parametrize("database_url", ["served"], indirect=True)
@pytest.mark.parametrize(
    ("action", "delete"),
    [
        (
            Action.VERSION_DELETE,
            lambda session, one: delete_version(session, PLACES, one.model, one.number),
        ),
        (Action.HELD_OUT_DELETE, delete_held_out),
        (Action.MEMORY_DELETE, lambda session, one: delete_memory(session, PLACES, one)),
    ],
)
def test_whoever_comes_second_deletes_nothing(engine, with_held_out, action, delete):
    def second():
        with write_session(engine) as session:
            return delete(session, session.get_one(Version, with_held_out))

    with (
        ThreadPoolExecutor(1) as pool,
        blocked(engine) as waiting,
    ):
        with write_session(engine) as session:
            assert delete(session, session.get_one(Version, with_held_out)).deleted
            begun = pool.submit(second)
            eventually(lambda: waiting() == 1)
        assert begun.result() == Removal()
    with read_session(engine) as session:
        assert len(list_entries(session, Wanted(action), 9)) == 1
