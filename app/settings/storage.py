"""Settings of where blobs are kept, read like all the others."""

import re
from typing import Self

from pydantic import Field, SecretStr, model_validator

from app.settings.base import MIB, SettingsBase

_PLACE = r"(s3|gs|az)://[A-Za-z0-9][A-Za-z0-9._-]{1,254}(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*"
_GIB = 1024 * MIB
_WORD = "[!-~]+"
"""What a header can hold: a secret that was stored with the newline behind it cannot."""


class StorageSettings(SettingsBase):
    """Settings of the blob store, which API, worker and command line read."""

    store_url: str | None = Field(
        None,
        pattern=rf"^{_PLACE}/?$",
        description="Bucket that blobs are kept in, as `s3://bucket/prefix`, `gs://bucket/prefix` "
        "or `az://container/prefix`; default: a directory in data_dir.",
    )
    store_endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#@]*)?$",
        description="Where the bucket's service answers, if not at its provider's own address, as "
        "`https://s3.example.org`. Only where it begins with `http://` is anything sent "
        "unencrypted.",
    )
    store_public_endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#@]*)?$",
        description="Where clients reach the bucket's service, which they put parts of large "
        "uploads into; default: store_endpoint.",
    )
    upload_to_store: bool = Field(
        True,
        description="Whether parts of large uploads go straight into the bucket, by URLs that are "
        "good for an hour; else they come through the API, as they do without a bucket.",
    )
    upload_part_bytes: int = Field(
        64 * MIB,
        ge=4096,
        le=1024 * MIB,
        description="Bytes of a part of a large upload, more where it would have over 2,000 parts. "
        "A proxy in front of the API must let as long a body through.",
    )
    keep_uploads_hours: float = Field(
        24.0,
        gt=0,
        le=10_000,
        description="How long a large upload may take; a task can be made of it until then.",
    )
    store_region: str | None = Field(
        None, pattern=r"^[a-z0-9-]+$", description="Region of an S3 bucket; default: `us-east-1`."
    )
    store_virtual_host: bool = Field(
        False,
        description="Whether an S3 bucket's name is part of the host (`store_endpoint` then has it "
        "too) and not of the path.",
    )
    store_key_id: str | None = Field(
        None,
        pattern=f"^{_WORD}$",
        description="S3: access key id; Azure: name of the storage account. Default: what the "
        "provider's own variables or the machine's role say.",
    )
    store_secret: SecretStr | None = Field(
        None,
        description="S3: secret access key; Azure: the account's key; Google: a service account's "
        "key, as JSON. Default: likewise.",
    )
    store_seconds: float = Field(
        20.0,
        gt=0,
        le=240,
        description="How long an object store may say nothing, and for how long a call that failed "
        "is tried again; then it is down. Less than lease_seconds.",
    )
    blob_cache_bytes: int = Field(
        10 * _GIB,
        ge=0,
        description="Most bytes of an object store's blobs that this host keeps in data_dir, those "
        "used last; what is in use stays beyond it.",
    )
    checkpoint_seconds: float | None = Field(
        60.0,
        gt=0,
        description="How often a running task's checkpoint is put into the object store, so that a "
        "worker on another host can go on from there; `never`: it stays in data_dir. Without an "
        "object store it always does.",
    )

    dataset_buckets: str | None = Field(
        None,
        pattern=rf"^{_PLACE}(,\s*{_PLACE})*$",
        description="Buckets, or prefixes in them, that `dataset_url` of `POST /tasks` may name, "
        "separated by commas, as `s3://pictures,s3://team/labelled`; read with what SATS_STORE_... "
        "says of buckets of the same kind. None may lie in SATS_STORE_URL, nor hold it. Default: "
        "none.",
    )

    @model_validator(mode="after")
    def _store_is_named_whole(self) -> Self:
        if self.store_url is None:
            beside = (
                "store_endpoint",
                "store_public_endpoint",
                "store_region",
                "store_key_id",
                "store_secret",
            )
            given = [name for name in beside if getattr(self, name) is not None]
            if given:
                raise ValueError(f"SATS_{given[0].upper()} says nothing without SATS_STORE_URL")
        elif self.store_url.startswith("gs://"):
            if self.store_key_id is not None:
                raise ValueError("Google's key holds its own id: leave SATS_STORE_KEY_ID out")
        elif (self.store_key_id is None) != (self.store_secret is None):
            raise ValueError("SATS_STORE_KEY_ID and SATS_STORE_SECRET belong together")
        elif self.store_secret and not re.fullmatch(_WORD, self.store_secret.get_secret_value()):
            raise ValueError("SATS_STORE_SECRET holds a blank, a newline or a letter beyond ASCII")
        return self

    @model_validator(mode="after")
    def _store_is_not_named_for_data_sets(self) -> Self:
        store = f"{(self.store_url or '').rstrip('/')}/"
        for place in self.readable_buckets:
            own = f"{place}/"
            if self.store_url and (own.startswith(store) or store.startswith(own)):
                raise ValueError(
                    f"SATS_DATASET_BUCKETS: {place} and SATS_STORE_URL share objects; whoever may "
                    "post tasks would read what others stored"
                )
        return self

    @property
    def readable_buckets(self) -> tuple[str, ...]:
        """The places of `dataset_buckets`, one by one."""
        return tuple(one.strip() for one in (self.dataset_buckets or "").split(",") if one)

    @property
    def checkpoints_every(self) -> float | None:
        """Seconds between two checkpoints of a task in the store; None: none are put there."""
        return self.checkpoint_seconds if self.store_url else None
