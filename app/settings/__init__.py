"""Every setting of the service, read from the environment with the prefix `SATS_`."""

from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from app.db.limits import DatabaseLimits
from app.settings.base import MIB
from app.settings.integrations import ORIGIN, IntegrationSettings
from app.settings.retention import RetentionSettings
from app.settings.serving import ServingSettings
from app.settings.storage import StorageSettings
from app.settings.workers import WorkerSettings
from sats_core.settings import Limits

ORIGINS = rf"^(\*|{ORIGIN}(,\s*{ORIGIN})*)$"
"""What `cors_origins` may look like: a scheme, a host and no path, as browsers spell an origin."""

DRIVERS = ("postgresql+psycopg", "sqlite", "sqlite+pysqlite")
"""How the URL of a database begins."""


class Settings(
    RetentionSettings, StorageSettings, IntegrationSettings, WorkerSettings, ServingSettings
):
    """Settings of API and worker; both read the same ones."""

    data_dir: Path = Field(
        Path("sats-data"), description="Blobs, checkpoints, SQLite file and filesystem broker."
    )
    database_url: str | None = Field(
        None, description="SQLAlchemy URL, `postgresql+psycopg://...`; default: SQLite in data_dir."
    )
    database_connections: int = Field(
        DatabaseLimits.connections,
        ge=1,
        description="Most database connections of one process; a request that gets none in "
        "database_connect_seconds is answered with 503. The API works on 40 threads.",
    )
    database_connect_seconds: int = Field(
        DatabaseLimits.connect_seconds,
        ge=1,
        description="Seconds to wait for a database connection.",
    )
    database_lock_seconds: float = Field(
        DatabaseLimits.lock_seconds,
        gt=0,
        description="Seconds that a statement waits for a lock in Postgres; then 503.",
    )
    database_statement_seconds: float = Field(
        DatabaseLimits.statement_seconds,
        gt=0,
        description="Seconds that a statement may run in Postgres; then 503. Migrations have no "
        "such limit.",
    )
    database_idle_seconds: float = Field(
        DatabaseLimits.idle_seconds,
        gt=0,
        description="Seconds after which Postgres ends a transaction that does nothing: its "
        "process hangs. Longer than moving a file into the blob store takes.",
    )
    redis_url: str | None = Field(
        None,
        description="Broker, `redis://...` or `redis+socket://...`; default: files in data_dir.",
    )
    key_secret: SecretStr | None = Field(
        None, description="Secret under API-key digests; default: made once in data_dir/secret."
    )
    cors_origins: str | None = Field(
        None,
        pattern=ORIGINS,
        description="Origins whose web pages may call the service, separated by commas, as "
        "`https://labels.example.org,http://localhost:3000`, or `*`; default: none. They need a "
        "key, too.",
    )

    max_upload_bytes: int = Field(2048 * MIB, gt=0, description="Largest dataset zip, bytes.")
    max_unpacked_bytes: int = Field(
        8192 * MIB, gt=0, description="Most bytes that all entries of a zip may unpack to."
    )
    max_entries: int = Field(200_000, gt=0, description="Most entries of a zip.")
    max_pixels: int = Field(
        50_000_000,
        gt=0,
        description="Most pixels of one picture, in data sets and in /segment; of a WebP about a "
        "third of it, of a progressive JPEG 50 to 90 %, of a TIFF whose compressed strips or tiles "
        "are large 30 to 90 %, as their decoders take more memory.",
    )
    max_picture_bytes: int = Field(
        32 * MIB,
        gt=0,
        description="Most bytes of the pictures of one /segment request together; in base64 they "
        "take a third more.",
    )
    max_pictures: int = Field(16, gt=0, description="Most pictures in one /segment request.")

    gate_max_drop: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Most IoU that a version may lose on any old class and go live, where its "
        "model has no limit of its own; tasks of keys without `admin` may ask for less only.",
    )
    gate_min_iou: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Least IoU of every new class of a version that goes live, likewise.",
    )
    gate_approval: Literal["none", "required"] = Field(
        "none",
        description="`required` holds every version that passes its gate, and every import, until "
        "an admin promotes it, where its model does not say otherwise.",
    )
    gate_hold_on_warnings: bool = Field(
        False,
        description="Whether a serious warning about a task's labels holds its version, where its "
        "model does not say otherwise.",
    )
    gate_hold_on_unmeasured: bool = Field(
        False,
        description="Whether an old class, the background among them, that no held-out picture "
        "shows holds a version, where its model does not say otherwise; tasks of keys without "
        "`admin` may ask for it, and not for the contrary. Set it once the last old worker is "
        "gone.",
    )
    lease_seconds: float = Field(
        30.0, gt=0, description="How long a task stays claimed without a heartbeat."
    )
    heartbeat_seconds: float = Field(
        2.0, gt=0, description="How often a worker renews its lease and writes progress."
    )
    sweep_seconds: float = Field(
        5.0, gt=0, description="How often a worker looks for tasks that nobody holds."
    )
    max_tries: int = Field(
        3, ge=1, description="Times a task is started without finishing an epoch before it fails."
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads of the training child; default: torch's choice."
    )
    train_devices: int = Field(
        1,
        ge=1,
        description="Most GPUs that share the batches of a step that trains by gradient descent, a "
        "process each; where there is no GPU, processes. What is learned stays the same.",
    )
    backbone_dir: Path | None = Field(
        None,
        description="Directory that pretrained starts are read from before the hub is asked: "
        "`<backbone>.safetensors` files, and SegFormer encoders as the hub has them in directories "
        "called `mit_b0` to `mit_b5` or, by hub id, `owner/name`.",
    )
    memory_dir: Path | None = Field(
        None,
        description="Folder of its own for the training pictures that versions keep for replay; "
        "default: the blob store in data_dir. Only tasks that ask for `memory` keep any.",
    )
    webhook_private: bool = Field(
        False,
        description="Whether webhooks are delivered to addresses that are not public (loopback, "
        "private, link-local) too.",
    )

    @field_validator("database_url")
    @classmethod
    def _is_a_database_we_know(cls, url: str | None) -> str | None:
        try:
            driver = "sqlite" if url is None else make_url(url).drivername
        except ArgumentError as error:
            raise ValueError("no URL of a database") from error
        if driver not in DRIVERS:
            raise ValueError(f"{driver!r} is none of {', '.join(DRIVERS)}")
        return url

    @model_validator(mode="after")
    def _memory_has_a_folder_of_its_own(self) -> Self:
        if self.memory_dir is not None and self.memory_dir.resolve() == self.blob_dir.resolve():
            raise ValueError("SATS_MEMORY_DIR is the blob store's own folder; name another")
        return self

    @model_validator(mode="after")
    def _store_is_given_up_before_a_lease(self) -> Self:
        if self.store_url is not None and self.store_seconds >= self.lease_seconds:
            raise ValueError(
                f"SATS_STORE_SECONDS ({self.store_seconds:g}) must be shorter than "
                f"SATS_LEASE_SECONDS ({self.lease_seconds:g}): a worker that waits for a silent "
                "object store would lose its task"
            )
        return self

    @property
    def resolved_database_url(self) -> str:
        """The database's URL, the embedded default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'sats.db'}"

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins`, one by one."""
        return tuple(origin.strip() for origin in (self.cors_origins or "").split(",") if origin)

    @property
    def database_limits(self) -> DatabaseLimits:
        """What one process may ask of the database."""
        return DatabaseLimits(
            connections=self.database_connections,
            connect_seconds=self.database_connect_seconds,
            lock_seconds=self.database_lock_seconds,
            statement_seconds=self.database_statement_seconds,
            idle_seconds=self.database_idle_seconds,
        )

    @property
    def blob_dir(self) -> Path:
        """Where blobs live, by content, if not in an object store."""
        return self.data_dir / "blobs"

    @property
    def blob_cache_dir(self) -> Path:
        """Where an object store's blobs are kept that were used last; may be deleted."""
        return self.data_dir / "cache" / "blobs"

    @property
    def staging_dir(self) -> Path:
        """Where files lie on their way into an object store."""
        return self.data_dir / "staging"

    @property
    def work_dir(self) -> Path:
        """Where running steps keep checkpoints and half-made results, one folder a task."""
        return self.data_dir / "work"

    @property
    def incoming_dir(self) -> Path:
        """Where uploads lie until they are stored."""
        return self.data_dir / "tmp"

    @property
    def plans_dir(self) -> Path:
        """Where it is kept how graphs are run fastest here; may be deleted."""
        return self.data_dir / "cache" / "plans"

    @property
    def ready_graphs_dir(self) -> Path:
        """Where graphs are kept as they were made ready to run here; may be deleted."""
        return self.data_dir / "cache" / "graphs"

    @property
    def rates_file(self) -> Path:
        """Where processes count together what keys spend in a minute; may be deleted."""
        return self.data_dir / "rates.db"

    @property
    def restarts_file(self) -> Path:
        """Where `sats serve` writes how often it started its worker again."""
        return self.data_dir / "serve.json"

    @property
    def mlflow_file(self) -> Path:
        """Where a worker writes what it could not mirror to MLflow."""
        return self.data_dir / "mlflow.json"

    @property
    def limits(self) -> Limits:
        """What one data set may ask of the machine."""
        return Limits(
            max_pixels=self.max_pixels,
            max_entries=self.max_entries,
            max_unpacked_bytes=self.max_unpacked_bytes,
        )


@lru_cache
def get_settings() -> Settings:
    """Return the process's settings, read once."""
    return Settings()
