"""The library's client of a bucket, made of what the settings say."""

from datetime import timedelta
from typing import Any

from obstore.store import AzureStore, GCSStore, S3Store

from app.settings import Settings

TRANSFER_SECONDS = 3600.0
"""Longest that the bytes of one blob may take to come, as long as some do."""
CONNECT_SECONDS = 5.0
PROBE_SECONDS = 3.0
"""How long a bucket that is only asked whether it answers may take."""
RETRIES = 10
LONGEST_WAIT = 5.0
"""Seconds between two tries."""

Client = S3Store | GCSStore | AzureStore


def client_of(
    settings: Settings,
    url: str,
    *,
    patient: bool,
    lasts: float = TRANSFER_SECONDS,
    silent: float | None = None,
    endpoint: str | None = None,
) -> Client:
    """Return the library's store for a bucket, and the prefix, that a URL names.

    Args:
        settings: of the process.
        url: `s3://bucket/prefix`, or with `gs` or `az`.
        patient: whether it is tried again for `store_seconds`; else it is asked once, for seconds.
        lasts: longest that a request of a patient one may take.
        silent: longest that it may wait for the next byte; None: as long as it tries.
        endpoint: in place of the settings'.

    Endpoint and keys are the settings', where their own bucket is of the same kind. Whatever is
    left out is read from the provider's own variables and the machine's role.
    """
    scheme, _, place = url.partition("://")
    bucket, _, prefix = place.partition("/")
    alike = (settings.store_url or "").startswith(f"{scheme}://")
    endpoint = (endpoint or settings.store_endpoint) if alike else None
    name = settings.store_key_id if alike else None
    key = settings.store_secret.get_secret_value() if alike and settings.store_secret else None
    seconds = settings.store_seconds if patient else min(PROBE_SECONDS, settings.store_seconds)
    options: Any = {
        "prefix": prefix.strip("/") or None,
        "client_options": {
            "allow_http": (endpoint or "").startswith("http://"),
            "connect_timeout": timedelta(seconds=min(CONNECT_SECONDS, seconds)),
            "read_timeout": timedelta(seconds=silent or seconds),
            "timeout": timedelta(seconds=lasts if patient else seconds),
        },
        "retry_config": {
            "max_retries": RETRIES if patient else 0,
            "retry_timeout": timedelta(seconds=seconds),
            "backoff": {"max_backoff": timedelta(seconds=min(LONGEST_WAIT, seconds / 4))},
        },
    }
    if scheme == "gs":
        google = {"service_account_key": key, "base_url": endpoint}
        return GCSStore(bucket, config=_given(google), **options)
    if scheme == "az":
        azure = {"account_name": name, "account_key": key, "endpoint": endpoint}
        return AzureStore(bucket, config=_given(azure), **options)
    amazon = {
        "access_key_id": name,
        "secret_access_key": key,
        "endpoint": endpoint,
        "region": settings.store_region if alike else None,
        "virtual_hosted_style_request": settings.store_virtual_host,
        "copy_if_not_exists": "multipart",
        "disable_bulk_delete": True,  # not every S3 has it, and one object goes at a time
    }
    return S3Store(bucket, config=_given(amazon), **options)


def _given(config: dict[str, Any]) -> Any:
    return {name: value for name, value in config.items() if value is not None}
