"""Which held-out pictures a version keeps."""

import pytest

from app.db import HeldOutSet, utc_now, write_session
from app.errors import NotFoundProblem
from app.registry.held_out import standing_held_out
from tests.fixtures.versions import add_version


def test_what_was_deleted_or_never_kept_is_not_there(engine, blobs):
    with write_session(engine) as session:
        version = add_version(session, blobs, ["cat"])
        deleted = HeldOutSet(version_id=version.id, blob="0" * 64, classes=["cat"], pictures=10)
        deleted.deleted_at = utc_now()
        session.add(deleted)
        without = add_version(session, blobs, ["dog"])
        for one in (version, without):
            with pytest.raises(NotFoundProblem, match="keeps no held-out pictures"):
                standing_held_out(session, one)
