"""What `benchmarks.simulate` starts from: what was measured, the service's rules, assumptions."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from statistics import median
from typing import Any

from app.db.limits import DatabaseLimits
from app.inference.ready_graphs import MOST_BYTES
from app.keys.last_use import EVERY_SECONDS
from app.settings import Settings
from sats_core.settings import StepSettings
from worker.courier import POLL_SECONDS
from worker.recorder import LOG_SECONDS, PROGRESS_SECONDS

MIB = 2**20
GIB = 2**30
SECONDS_A_YEAR = 365 * 86_400.0


def _told(default: float, text: str) -> Any:
    return field(default=default, metadata={"why": text})


def _from(text: str) -> Any:
    return field(metadata={"source": text})


@dataclass(frozen=True)
class Measured:
    """Figures that benchmarks of this repository wrote, and where each stands."""

    forward_ms: float = _from(
        "step_cost.json: pvt_v2_b0, 256 px, the old model's forward pass, a picture"
    )
    finetune_ms: float = _from("step_cost.json: pvt_v2_b0, 256 px, a finetune step, a picture")
    sats_ms: float = _from("step_cost.json: pvt_v2_b0, 256 px, a sats step, a picture")
    task_seconds: float = _from(
        "first_hour.json: a task of the default method from its post to live, whole, on 2 cores"
    )
    task_pictures: float = _from("first_hour.json: pictures of that task")
    answers_a_second: float = _from(
        "serving.json: mit_b0, 256 px, one API process on 2 cores, 16 and 64 clients, the median"
    )
    process_mib: float = _from("serving.json: memory of that process, one graph loaded, the median")
    start_seconds: float = _from("serving.json: an API process until it is ready, one live version")
    task_page_ms: float = _from("tables.json: Postgres, GET /tasks/{id}, processor")
    tasks_page_ms: float = _from("tables.json: Postgres, GET /tasks, processor")


def measured(results: Path) -> Measured:
    """Read them.

    Raises:
        OSError, KeyError, ValueError: a file is missing or is not what its benchmark writes.
    """

    def read(name: str) -> Any:
        return json.loads((results / f"{name}.json").read_text())

    (step,) = (one for one in read("step_cost")["records"] if one["pixels"] == 256)
    hour = read("first_hour")
    (followed,) = (one for one in hour["steps"] if one["what"].startswith("curl -N"))
    serving = read("serving")["sets"]["mit_b0, 256 px"]
    busy = [
        turn
        for turn in serving["turns"]
        if turn["contestant"] == "ours" and turn["clients"] in (16, 64)
    ]
    calls = read("tables")["runs"]["postgres"]["calls"]
    return Measured(
        forward_ms=step["sats_parts_ms"]["old model, forward"] / step["batch"],
        finetune_ms=step["ms_per_step"]["finetune"] / step["batch"],
        sats_ms=step["ms_per_step"]["sats"] / step["batch"],
        task_seconds=followed["seconds"],
        task_pictures=hour["pictures"],
        answers_a_second=median(turn["per_second"] for turn in busy),
        process_mib=median(turn["pss_mib"] for turn in busy),
        start_seconds=serving["operations"]["starts"]["ready_seconds"],
        task_page_ms=calls["a task"]["cpu_ms"],
        tasks_page_ms=calls["tasks"]["cpu_ms"],
    )


@dataclass(frozen=True)
class Rules:
    """The service's own defaults, seconds and bytes: what it does, not what was measured of it."""

    lease: float = Settings.model_fields["lease_seconds"].default
    heartbeat: float = Settings.model_fields["heartbeat_seconds"].default
    sweep: float = Settings.model_fields["sweep_seconds"].default
    max_tries: int = Settings.model_fields["max_tries"].default
    epochs: int = StepSettings.model_fields["epochs"].default
    progress: float = PROGRESS_SECONDS
    log: float = LOG_SECONDS
    courier: float = POLL_SECONDS
    live_poll: float = Settings.model_fields["live_poll_seconds"].default
    key_cache: float = Settings.model_fields["key_cache_seconds"].default
    key_outage: float = Settings.model_fields["key_outage_seconds"].default
    key_use: float = EVERY_SECONDS
    serve_queue: int = Settings.model_fields["serve_queue"].default
    spare_graph_bytes: int = Settings.model_fields["serve_graph_bytes"].default
    ready_graph_bytes: int = MOST_BYTES
    warm_up: float = Settings.model_fields["serve_warm_up_seconds"].default
    connections: int = DatabaseLimits.connections
    checkpoint_seconds: float = Settings.model_fields["checkpoint_seconds"].default
    presence_seconds: float = Settings.model_fields["presence_seconds"].default
    blob_cache_bytes: int = Settings.model_fields["blob_cache_bytes"].default


@dataclass(frozen=True)
class Assumptions:
    """Everything that nobody measured: the company, its clouds, and what was extrapolated.

    Each has its reason beside it; each may be set on the command line.
    """

    models: float = _told(200, "the company that was asked about")
    annotators: float = _told(40, "the company that was asked about")
    requests_a_second: float = _told(
        2000, "the company that was asked about; taken as the mean of the year, the harder reading"
    )
    day_swing: float = _told(
        0.5, "by the hour, requests swing by this share of the mean: busiest at 15:00 UTC"
    )
    tasks_a_day: float = _told(
        1.0, "a working day of an annotator: some 200 pictures at two minutes each, one task"
    )
    at_days_end: float = _told(0.3, "share of a day's tasks that come in its last half hour")
    pictures: float = _told(200, "of a task, median; log-normal, so that some are large")
    pictures_spread: float = _told(0.6, "standard deviation of the logarithm of that")
    sats_share: float = _told(
        0.3, "of tasks that train the whole model; the others take the default method, one pass"
    )
    rebuilds_a_year: float = _told(2, "new base versions of each model, as data sets are revised")
    rebuild_pictures: float = _told(5000, "of such a base step")
    large_share: float = _told(0.2, "of models that are mit_b2, the others mit_b0")
    large_cost: float = _told(7.4, "mit_b2 over mit_b0, published GFLOPs at 512 px: 62.4 / 8.4")
    small_bytes: float = _told(15e6, "mit_b0's weights: 3.7 million numbers of 4 bytes; its graph")
    large_bytes: float = _told(110e6, "mit_b2's weights: 27.5 million numbers; its graph")
    picture_bytes: float = _told(60e3, "a JPEG and its mask in an upload, 512 px or so")
    held_share: float = _told(0.1, "of versions that the gate holds: they are not promoted")
    gpus: float = _told(2, "spot GPUs, a worker each, in turn in one of two regions")
    gpu_speed: float = _told(
        20, "a small inference GPU over the four CPU threads of step_cost.json; none was at hand"
    )
    gpu_hours_between_losses: float = _told(
        24,
        "a spot GPU vanishes so often, without a word; clouds publish 5 to 20 % a month, so hard",
    )
    gpu_back_minutes: float = _told(10, "until another one is there, mean, exponential")
    gpu_boot_seconds: float = _told(120, "then: image, Python, torch, first look at the table")
    gpu_price: float = _told(
        0.25, "USD an hour, spot, 16 GB card; list prices of large clouds, 2025"
    )
    api_processors: float = _told(
        2, "of the machine of an API process: as measured; more of them is extrapolated, in line"
    )
    api_price: float = _told(
        0.126, "USD an hour of it, 2 processors and 16 GiB, on demand, likewise"
    )
    api_memory_gib: float = _told(16, "of that machine")
    api_use: float = _told(0.7, "the share of its answers a second that a replica is bought for")
    api_spread: float = _told(0.3, "coefficient of variation of one answer's time, of one model")
    api_ordered_seconds: float = _told(120, "until a new replica's process starts: scaling, image")
    graph_memory: float = _told(2.0, "memory of a loaded graph over its file: weights, and packed")
    graph_load_seconds: float = _told(
        0.5, "to load and warm a 15 MB graph, by its size; a whole start measured 2 s with one"
    )
    named_share: float = _told(0.01, "of requests that name an older version: comparisons, tests")
    named_versions: float = _told(3, "older versions of each model that are so named, Zipf 1")
    keys: float = _told(60, "API keys that ask /segment, all alike, at every replica")
    page_calls_a_second: float = _told(8, "of people's browsers, half lists and half tasks")
    database_price: float = _told(0.70, "USD an hour: managed Postgres, 4 processors, two zones")
    database_processors: float = _told(4, "of that Postgres")
    database_commits: float = _told(1000, "writing transactions a second that it bears: one fsync")
    database_connections: float = _told(1800, "that it allows: memory / 9.5 MB at 16 GiB, as RDS")
    statement_us: float = _told(100, "of a Postgres processor, a short statement, all in all")
    index_look_us: float = _told(3, "of a Postgres processor, a look into an index in memory")
    store_latency: float = _told(0.05, "seconds to the first byte of an object store")
    store_host_bytes: float = _told(100e6, "bytes a second that one host gets from it")
    store_price: float = _told(0.023, "USD a GB and month, standard class")
    store_month_versions: float = _told(12, "months that versions are kept: none is deleted")
    outage_day: float = _told(128, "day of the year on which a region is down, a working day")
    outage_hour: float = _told(10, "of that day, UTC")
    outage_hours: float = _told(1, "how long")
    outage_region: float = _told(0, "0: the one with the database, the worse; 1: the other one")


_ABOVE_ZERO = {
    *("models", "annotators", "requests_a_second", "pictures", "small_bytes", "large_bytes"),
    *("large_cost", "gpus", "gpu_speed", "gpu_hours_between_losses", "gpu_back_minutes"),
    *("api_processors", "api_memory_gib", "api_use", "keys", "store_host_bytes"),
    *("database_processors", "database_commits", "database_connections"),
}


def with_changes(assumptions: Assumptions, changes: Mapping[str, float]) -> Assumptions:
    """Return assumptions with some changed.

    Raises:
        ValueError: there is no such assumption, or its value cannot be.
    """
    unknown = changes.keys() - {one.name for one in fields(Assumptions)}
    if unknown:
        raise ValueError(f"no assumption is called {', '.join(sorted(unknown))}")
    for name, value in changes.items():
        if not 0 <= value < math.inf or (value == 0 and name in _ABOVE_ZERO):
            raise ValueError(f"{name} cannot be {value:g}")
    return replace(assumptions, **changes)


def described(one: Measured | Rules | Assumptions) -> dict[str, dict[str, Any]]:
    """Return each input's value, and where it is from."""
    where: Callable[[Field[Any]], dict[str, str]] = lambda f: (  # noqa: E731
        dict(f.metadata) or {"source": "the service's default"}
    )
    return {f.name: {"value": getattr(one, f.name), **where(f)} for f in fields(one)}
