"""Every setting of the service, read from the environment with the prefix `SATS_`."""

from functools import lru_cache
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sats_core.settings import Limits

MIB = 1024 * 1024


class Settings(BaseSettings):
    """Settings of API and worker; both read the same ones."""

    model_config = SettingsConfigDict(env_prefix="SATS_", extra="ignore", frozen=True)

    data_dir: Path = Field(
        Path("sats-data"), description="Blobs, checkpoints, SQLite file and filesystem broker."
    )
    database_url: str | None = Field(
        None, description="SQLAlchemy URL, `postgresql+psycopg://...`; default: SQLite in data_dir."
    )
    redis_url: str | None = Field(
        None,
        description="Broker, `redis://...` or `redis+socket://...`; default: files in data_dir.",
    )
    key_secret: SecretStr | None = Field(
        None, description="Secret under API-key digests; default: made once in data_dir/secret."
    )

    max_upload_bytes: int = Field(2048 * MIB, gt=0, description="Largest dataset zip, bytes.")
    max_unpacked_bytes: int = Field(
        8192 * MIB, gt=0, description="Most bytes that all entries of a zip may unpack to."
    )
    max_entries: int = Field(200_000, gt=0, description="Most entries of a zip.")
    max_pixels: int = Field(
        50_000_000, gt=0, description="Most pixels of one picture, in data sets and in /segment."
    )
    max_picture_bytes: int = Field(
        32 * MIB, gt=0, description="Largest body of one /segment request, bytes."
    )
    max_pictures: int = Field(16, gt=0, description="Most pictures in one /segment request.")

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
    keep_failed_hours: float = Field(
        72.0,
        ge=0,
        le=1_000_000,
        description="How long upload and checkpoints of a failed task are kept, so that it can be "
        "tried again.",
    )
    gc_seconds: float = Field(
        3600.0, gt=0, description="How often a worker collects blobs that nothing refers to."
    )
    gc_grace_seconds: float = Field(
        3600.0,
        ge=60,
        description="Age at which a blob that nothing refers to, or a write that never ended, is "
        "garbage; longer than any upload takes to be checked.",
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads of the training child; default: torch's choice."
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
    serve_bytes: int = Field(
        2048 * MIB,
        gt=0,
        description="Most memory that the pictures of unanswered /segment requests take, bytes: as "
        "they came, and 8 for each pixel; beyond it /segment answers 503, and 413 where one "
        "request alone takes more. Besides, each of serve_threads works on one picture.",
    )
    serve_deadline: float = Field(
        60.0,
        gt=0,
        description="Seconds from the first byte of a /segment request to its answer; what takes "
        "longer is given up, with 503.",
    )
    serve_graph_bytes: int = Field(
        1024 * MIB,
        ge=0,
        description="Most bytes of graph files (`model.onnx`) of versions that stay loaded beside "
        "the live ones, which always do.",
    )
    serve_warm_up: float = Field(
        120.0,
        ge=0,
        description="Seconds that /health/ready waits, in all, for the live versions to be loaded.",
    )
    serve_threads: int = Field(2, ge=1, description="CPU threads of one inference session.")
    serve_batch: int = Field(8, ge=1, description="Most pictures in one inference batch.")
    serve_queue: int = Field(
        64, ge=1, description="Most pictures waiting for inference; beyond it /segment answers 503."
    )
    serve_streams: int = Field(
        512,
        ge=1,
        description="Most streams of events (`/tasks/{id}/events`) open at once in one process of "
        "the API; beyond it they are answered with 503.",
    )
    webhook_private: bool = Field(
        False,
        description="Whether webhooks are delivered to addresses that are not public (loopback, "
        "private, link-local) too.",
    )

    @model_validator(mode="after")
    def _memory_has_a_folder_of_its_own(self) -> Self:
        if self.memory_dir is not None and self.memory_dir.resolve() == self.blob_dir.resolve():
            raise ValueError("SATS_MEMORY_DIR is the blob store's own folder; name another")
        return self

    @property
    def resolved_database_url(self) -> str:
        """The database's URL, the embedded default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'sats.db'}"

    @property
    def blob_dir(self) -> Path:
        """Where blobs live, by content."""
        return self.data_dir / "blobs"

    @property
    def work_dir(self) -> Path:
        """Where running steps keep checkpoints and half-made results, one folder a task."""
        return self.data_dir / "work"

    @property
    def restarts_file(self) -> Path:
        """Where `sats serve` writes how often it started its worker again."""
        return self.data_dir / "serve.json"

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
