import pytest

from app.db import Place
from app.storage import LocalBlobStore


@pytest.fixture
def stores(blobs, tmp_path):
    """Every place that blobs lie in."""
    return {
        Place.BLOB_STORE: blobs,
        Place.MEMORY_FOLDER: LocalBlobStore(tmp_path / "private"),
    }
