"""What a year asks of database, store and machines, what it costs, and which is full first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.simulated_company import (
    BUSIEST_HOUR,
    DAY,
    DAYS_A_WEEK,
    WORK_BEGINS,
    WORK_ENDS,
    WORKING_DAYS,
    swing,
)
from benchmarks.simulated_inputs import GIB, SECONDS_A_YEAR, Assumptions, Measured, Rules
from benchmarks.simulated_tasks import Account, End, Outage
from benchmarks.simulated_traffic import (
    Traffic,
    graph_bytes,
    load_seconds,
    refused_by_half,
)
from benchmarks.simulated_workers import HOME

HOUR = 3600.0
HOURS_A_YEAR = SECONDS_A_YEAR / HOUR
CHECKPOINT_FILES = 3
"""A checkpoint over a version's weights: they, and AdamW's two moments of each."""
VERSION_FILES = 2
"""A version's files over its weights: they, and the graph that is served."""
STATEMENTS_A_PAGE = 5
"""pages.json counts 0 to 14; lists take 4 to 6."""
GB = 1e9


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value that so large a share of the ordered values does not exceed; 0.0: none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summary(account: Account, days: float, rules: Rules) -> dict[str, float]:
    """Return what one simulated year came to; hours and seconds, counts and bytes.

    A task that still waits when the year is over has waited until then.
    """
    tasks = account.tasks
    ends = days * DAY
    waits = sorted((ends if t.claimed_at is None else t.claimed_at) - t.post.at for t in tasks)
    whole = sorted(t.ended_at - t.post.at for t in tasks if t.ended_at is not None)
    resumed = sorted(account.resumed_after)
    live = [t for t in tasks if t.end == End.LIVE]
    made = [t for t in tasks if t.end in (End.LIVE, End.HELD)]
    by_hour: dict[int, float] = {}
    for task in live:
        hour = int((task.ended_at or 0.0) / HOUR)
        by_hour[hour] = by_hour.get(hour, 0.0) + task.post.bytes
    trained = account.useful + account.lost + account.in_hand
    saved = (
        CHECKPOINT_FILES
        * t.post.bytes
        * int(t.post.epoch * t.post.epochs / rules.checkpoint_seconds)
        for t in made
        if t.post.epochs > 1
    )
    return {
        "tasks": len(tasks),
        **{str(end): sum(t.end == end for t in tasks) for end in End},
        "left": sum(t.end in (End.RUNNING, End.WAITING) for t in tasks),
        "wait_p50": percentile(waits, 0.5),
        "wait_p90": percentile(waits, 0.9),
        "wait_p99": percentile(waits, 0.99),
        "wait_p999": percentile(waits, 0.999),
        "wait_max": percentile(waits, 1.0),
        "until_end_p50": percentile(whole, 0.5),
        "until_end_p99": percentile(whole, 0.99),
        "resumed_p50": percentile(resumed, 0.5),
        "resumed_max": percentile(resumed, 1.0),
        "useful_hours": account.useful / HOUR,
        "lost_hours": account.lost / HOUR,
        "lost_share": account.lost / trained if trained else 0.0,
        "tries_lost": account.tries_lost,
        "machines_vanished": account.vanished,
        "posts_delayed": account.posts_delayed,
        "gpu_hours": account.paid / HOUR,
        "gpu_use": trained / account.paid if account.paid else 0.0,
        "most_at_once": max(account.busy),
        # As if all of it were done from 9 to 17 on working days.
        "busy_at_work": trained / (days * WORKING_DAYS / DAYS_A_WEEK * (WORK_ENDS - WORK_BEGINS)),
        "promoted_bytes": sum(t.post.bytes for t in live),
        "promoted_bytes_busiest_hour": max(by_hour.values(), default=0.0),
        "version_bytes": sum(VERSION_FILES * t.post.bytes for t in made),
        "pictures": sum(t.post.pictures for t in tasks),
        "checkpoint_bytes": float(sum(saved)),
    }


def outage_refusals(
    outage: Outage, assumed: Assumptions, seen: Measured, rules: Rules, of: Traffic
) -> dict[str, float]:
    """Return what `/segment` refuses while a region is down and the other answers for both.

    New replicas need the database to become ready. So where that is what is down, none comes.
    """
    hour = int(outage.begins / HOUR) % 24
    share = refused_by_half(assumed, seen, rules, hour)
    worst = refused_by_half(assumed, seen, rules, BUSIEST_HOUR)
    lasts = outage.ends - outage.begins
    home = outage.region == HOME
    short = lasts if home else min(lasts, assumed.api_ordered_seconds + of.start_seconds)
    came = assumed.requests_a_second * swing(assumed)[hour]
    # Keys are believed for so long after the last word of the database, at best.
    forgotten = max(0.0, lasts - rules.key_outage + rules.key_cache) if home else 0.0
    return {
        "refused_share": share,
        "refused_share_busiest": worst,
        "refused_seconds": short,
        "refused_requests": came * share * short,
        "keys_forgotten_seconds": forgotten,
    }


def database(assumed: Assumptions, rules: Rules, of: Traffic) -> dict[str, float]:
    """Return what the database is asked a second, when every worker trains."""
    workers = assumed.gpus
    training = {
        "heartbeats": workers / rules.heartbeat,
        "progress": workers / rules.progress,
        "log": workers / rules.log,
        "checkpoints": workers / rules.checkpoint_seconds,
        "sweeps": workers / rules.sweep,
        "presence": workers / rules.presence_seconds,
        "last uses of keys": min(of.key_uses, assumed.keys / rules.key_use),
    }
    polls = of.replicas / rules.live_poll
    read = {
        "looks which versions are live": polls,
        "who calls": of.key_questions,
        "last uses of keys, not due": of.key_uses,
        "sweeps, deliveries": workers * (3 / rules.sweep + 1 / rules.courier),
        "pages": assumed.page_calls_a_second * STATEMENTS_A_PAGE,
    }
    # An event beside each row of progress, a row of the log beside its task's: two statements each.
    statements = sum(read.values()) + 2 * sum(training.values())
    looks = polls * assumed.models
    return {
        "commits": sum(training.values()),
        **{f"commits: {name}": value for name, value in training.items()},
        "reads": sum(read.values()),
        **{f"reads: {name}": value for name, value in read.items()},
        "index_looks": looks,
        "processors": (statements * assumed.statement_us + looks * assumed.index_look_us) / 1e6,
        "connections_least": of.replicas + workers,
        "connections_most": (of.replicas + workers) * rules.connections,
    }


def store(
    year: dict[str, float], assumed: Assumptions, rules: Rules, of: Traffic
) -> dict[str, float]:
    """Return what the object store moves; bytes, and bytes a second.

    Every replica is a host of its own, with its own cache: each fetches each graph that goes live.
    """
    largest = max(graph_bytes(assumed))
    pictures = year["pictures"] * assumed.picture_bytes
    promoted = year["promoted_bytes"] * of.replicas
    return {
        "uploads_gb": pictures / GB,
        "checkpoints_gb": year["checkpoint_bytes"] / GB,
        "versions_gb": year["version_bytes"] / GB,
        "promotions_gb": promoted / GB,
        "promotions_busiest_hour_gb": year["promoted_bytes_busiest_hour"] * of.replicas / GB,
        "promotion_peak_gb_a_second": of.replicas * assumed.store_host_bytes / GB,
        "promotion_seconds": rules.live_poll + load_seconds(largest, assumed),
        "named_gb": of.named_fetches * of.replicas * SECONDS_A_YEAR / GB,
        "kept_gb": year["version_bytes"] / GB * min(1.0, assumed.store_month_versions / 12),
    }


def bill(
    year: dict[str, float], stored: dict[str, float], assumed: Assumptions, of: Traffic
) -> dict[str, float]:
    """Return what a year costs, USD; versions pile up evenly: half of them lie there on average."""
    answers = assumed.requests_a_second * SECONDS_A_YEAR
    parts = {
        "answering": of.replicas * HOURS_A_YEAR * assumed.api_price,
        "GPUs": year["gpu_hours"] * assumed.gpu_price,
        "GPUs, for tries that were lost": year["lost_hours"] * assumed.gpu_price,
        "database": HOURS_A_YEAR * assumed.database_price,
        "store": stored["kept_gb"] / 2 * assumed.store_price * 12,
    }
    whole = sum(parts.values()) - parts["GPUs, for tries that were lost"]
    return {**parts, "all": whole, "a million answers": parts["answering"] / answers * 1e6}


@dataclass(frozen=True)
class Place:
    """Something that can be full.

    Attributes:
        what: its name.
        asked: of it.
        bears: at most.
        unit: of both.
        grows: with what it fills.
        now: how much there is of that.
        known: where the bound is from.
    """

    what: str
    asked: float
    bears: float
    unit: str
    grows: str
    now: float
    known: str

    @property
    def use(self) -> float:
        """Asked over borne; from 1 on it is full."""
        return self.asked / self.bears

    def told(self) -> dict[str, Any]:
        """Return it as the record has it, with how much of what fills it would do so, in line."""
        full = self.now / self.use if self.use else None
        return {**vars(self), "use": self.use, "full_at": full}


def places(
    year: dict[str, float],
    asked: dict[str, float],
    assumed: Assumptions,
    rules: Rules,
    of: Traffic,
) -> list[Place]:
    """Return what can be full, the fullest first."""
    models, replicas = ("models", assumed.models), ("API processes", float(of.replicas))
    requests, workers = ("requests a second", assumed.requests_a_second), ("workers", assumed.gpus)
    tasks = ("tasks a year", year["tasks"])
    live = year["promoted_bytes_busiest_hour"] / assumed.small_bytes
    loading = live * load_seconds(assumed.small_bytes, assumed)
    lanes = of.replicas * assumed.api_processors
    machine, thread = "assumed machine", "one thread a process"
    found = [
        Place("processors that answer, busiest hour", of.peak * of.answer_seconds, lanes,
              "processors", *requests, "measured rate; replicas are bought for it"),
        Place("memory of an API process, live graphs in it", of.process_bytes / GIB,
              assumed.api_memory_gib, "GiB", *models, machine),
        Place("start of an API process, live graphs loaded", of.start_seconds, rules.warm_up, "s",
              *models, "setting `SATS_SERVE_WARM_UP_SECONDS`"),
        Place("graphs made ready, on a host", of.live_bytes / GIB, rules.ready_graph_bytes / GIB,
              "GiB", *models, "constant of the service"),
        Place("cache of blobs, live graphs in it, on a host", of.live_bytes / GIB,
              rules.blob_cache_bytes / GIB, "GiB", *models, "a setting"),
        Place("loader of live versions, busiest hour", loading, HOUR, "s", *tasks, thread),
        Place("loader of versions asked for by number", of.loader_use, 1.0, "threads", *requests,
              thread),
        Place("database: commits", asked["commits"], assumed.database_commits, "a second",
              *workers, machine),
        Place("database: processors", asked["processors"], assumed.database_processors,
              "processors", *replicas, machine),
        Place("database: connections, one a process", asked["connections_least"],
              assumed.database_connections, "", *replicas, machine),
        Place("database: connections that processes may open", asked["connections_most"],
              assumed.database_connections, "", *replicas,
              "assumed machine; setting `SATS_DATABASE_CONNECTIONS`"),
        Place("workers, if all work came from 9 to 17", year["busy_at_work"], assumed.gpus,
              "workers", *tasks, "bought"),
    ]  # fmt: skip
    return sorted(found, key=lambda place: -place.use)
