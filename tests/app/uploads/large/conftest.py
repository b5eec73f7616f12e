"""A service that takes parts, wherever they go, and who may send some."""

import threading

import pytest

from app.db import write_session
from app.keys.secret import read_secret
from app.keys.service import KeyLimits, Scope, create_key
from app.settings import Settings
from app.storage import open_store
from tests.app.storage.places import S3Prefix
from tests.app.uploads.sending import PART


@pytest.fixture
def kind(request):
    return request.param


@pytest.fixture
def settings(settings, kind, request, tmp_path):
    own = settings.model_dump(exclude_unset=True) | {"upload_part_bytes": PART}
    if kind == "s3":
        place = S3Prefix(request.getfixturevalue("s3"), tmp_path)
        own = place.settings(store_seconds=2.0).model_dump(exclude_unset=True) | own
    return Settings(**own)


@pytest.fixture
def blobs(settings):
    return open_store(settings, None)


@pytest.fixture
def keys(engine, settings):
    """Headers of two keys that may post."""
    secret = read_secret(settings)
    with write_session(engine) as session:
        made = [create_key(session, secret, name, [Scope.SUBMIT]) for name in "ab"]
    return [{"Authorization": f"Bearer {key}"} for key in made]


@pytest.fixture
def gate(client, monkeypatch):
    """A gate that everybody waits at who reads parts; says when somebody does."""
    parts = client.app.state.services.blobs.parts
    opened, reached, read = threading.Event(), threading.Event(), parts.read

    def waits(upload, number):
        reached.set()
        assert opened.wait(60)
        return read(upload, number)

    monkeypatch.setattr(parts, "read", waits)
    opened.reached = reached
    yield opened
    opened.set()


@pytest.fixture
def bounded(engine, settings):
    """Headers of a key whose tasks may keep four parts' bytes."""
    with write_session(engine) as session:
        key = create_key(
            session,
            read_secret(settings),
            "a",
            [Scope.SUBMIT],
            limits=KeyLimits(stored_bytes=4 * PART),
        )
    return {"Authorization": f"Bearer {key}"}
