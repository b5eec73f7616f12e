"""Settings of an object store that cannot be right are refused at the start."""

import pytest
from pydantic import ValidationError

from app.settings import Settings

BUCKET = {"store_url": "s3://sats/blobs"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"store_key_id": "id\n", "store_secret": "secret"}, "store_key_id"),
        ({"store_key_id": "id", "store_secret": "secret\n"}, "SATS_STORE_SECRET holds a blank"),
        ({"store_key_id": "id", "store_secret": "sécret"}, "SATS_STORE_SECRET holds a blank"),
        ({"store_key_id": "id"}, "belong together"),
    ],
)
def test_keys_that_no_request_can_carry_are_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as refused:
        Settings(**BUCKET, **given)
    assert "secret" not in str(refused.value).replace("store_secret", "").replace("SECRET", "")


def test_googles_key_may_have_lines() -> None:
    settings = Settings(store_url="gs://sats", store_secret='{\n"a": 1}')
    assert settings.store_secret is not None
