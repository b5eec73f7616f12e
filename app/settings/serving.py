"""Settings of `/segment` and of what stands around it, read like all the others."""

from typing import Literal

from pydantic import AliasChoices, Field

from app.settings.base import MIB, SettingsBase


def _also(former: str) -> AliasChoices:
    """Return the variables of a setting in seconds: its own, and the name that it had before."""
    return AliasChoices(f"SATS_{former}_SECONDS", f"SATS_{former}")


class ServingSettings(SettingsBase):
    """Settings of answering, which the API alone reads."""

    key_cache_seconds: float = Field(
        5.0,
        ge=0,
        description="How long a process believes what the database said of an API key: so long may "
        "one still work that another process revoked.",
    )
    key_outage_seconds: float = Field(
        3600.0,
        ge=0,
        description="How long, while the database does not answer, /segment and /classes go on for "
        "keys that it confirmed last before.",
    )
    live_poll_seconds: float = Field(
        0.5,
        gt=0,
        le=60,
        description="How often each process of the API looks which versions are live.",
    )
    serve_bytes: int = Field(
        2048 * MIB,
        gt=0,
        description="Most memory that the pictures of unanswered /segment requests take, bytes: as "
        "they came, 8 for each pixel, 10 for an overlay, 13 for one as WebP, and what `size` "
        "takes; beyond it /segment answers 503, and 413 where one request alone takes more. "
        "Besides, each of serve_threads decodes one picture: 6.25 bytes for each of max_pixels at "
        "most.",
    )
    serve_deadline_seconds: float = Field(
        60.0,
        validation_alias=_also("SERVE_DEADLINE"),
        gt=0,
        description="How long a /segment request may take, from its first byte to its answer; what "
        "takes longer is given up, with 503.",
    )
    serve_graph_bytes: int = Field(
        1024 * MIB,
        ge=0,
        description="Most bytes of graph files (`model.onnx`) of versions that stay loaded beside "
        "the live ones, which always do.",
    )
    serve_warm_up_seconds: float = Field(
        120.0,
        validation_alias=_also("SERVE_WARM_UP"),
        ge=0,
        description="How long /health/ready waits, in all, for the live versions to be loaded.",
    )
    stop_seconds: float = Field(
        25.0,
        gt=0,
        le=3600,
        description="How long after SIGTERM requests that were accepted are still answered; what "
        "is left two seconds before is refused with 503, and then the process ends. Kubernetes "
        "and systemd must give it some seconds more (`terminationGracePeriodSeconds`, "
        "`TimeoutStopSec`; `stop_grace_period` of Compose).",
    )
    api_workers: int = Field(
        1, ge=1, description="Processes that answer, of one `sats api`; see `sats api --workers`."
    )
    serve_threads: int | None = Field(
        None,
        ge=1,
        description="Pictures that one process segments side by side, each on a thread of its own; "
        "by default as many as there are processors.",
    )
    serve_lone_threads: int | None = Field(
        None,
        ge=1,
        description="CPU threads of the run of a picture that comes alone; by default what was "
        "measured as faster when the version was loaded: one, or all processors.",
    )
    serve_batch: int | None = Field(
        None,
        ge=1,
        description="Most pictures in one run of the graph; by default what was measured as "
        "faster when the version was loaded.",
    )
    serve_runtime: Literal["onnxruntime", "openvino"] = Field(
        "onnxruntime",
        description="What runs graphs: ONNX Runtime, or OpenVINO (`pip install -e '.[openvino]'`), "
        "which is faster on Intel's processors.",
    )
    serve_max_size: int = Field(
        2048,
        ge=32,
        le=8192,
        description="Most pixels of a picture's longer side at which `?size=` may have it seen; "
        "beyond eight times its own none is.",
    )
    serve_window: int = Field(
        512,
        ge=64,
        le=2048,
        description="Pictures that are seen at more pixels than this are seen in windows of this "
        "size, which overlap: what one run takes grows with the fourth power of it.",
    )
    serve_queue: int = Field(
        64, ge=1, description="Most pictures waiting for inference; beyond it /segment answers 503."
    )
    serve_streams: int = Field(
        512,
        ge=1,
        description="Most streams of events (`/tasks/{id}/events`) open at once in one process of "
        "the API, of which one key may hold a quarter; beyond it they are answered with 503.",
    )
