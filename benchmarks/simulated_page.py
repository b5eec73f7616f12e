"""The tables of docs/scale.md, written from `simulation.json` and from nothing else."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

AS_ASKED, TEN_TIMES = "as asked", "ten times"
SMALL = "every model is mit_b0"
EIGHT, TEN_TIMES_EIGHT = "replicas of eight processors", "ten times, replicas of eight processors"
OTHER_REGION = "the other region is down"
Record = Mapping[str, Any]
Lines = Sequence[tuple[str, str, Callable[[Any], str]]]
"""Of a table: what a line is of, the key of its figures, and how they are told."""


def number(value: float) -> str:
    """Return a number with three digits that count, thousands apart; whole from a thousand on."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        digits = len(str(int(abs(value))))
        return f"{round(value, 3 - digits):,.0f}"
    return f"{float(f'{value:.3g}'):g}" if abs(value) >= 0.001 else f"{value:.1e}"


def seconds(value: float) -> str:
    """Return a time as people say it."""
    for unit, length in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if value >= 2 * length:
            return f"{number(value / length)} {unit}"
    return f"{number(value)} s" if value >= 1 or value == 0 else f"{number(value * 1000)} ms"


def percent(value: float) -> str:
    """Return a share."""
    return f"{number(100 * value)} %" if value >= 1e-6 or value == 0 else "below 0.0001 %"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def tables(record: Record) -> dict[str, str]:
    """Return every table by its name."""
    made: Mapping[str, Callable[[Record], str]] = {
        "short": _short,
        "tasks": _tasks,
        "waits": _waits,
        "answers": _answers,
        "outage": _outage,
        "bill": _bill,
        "places": _places,
        "database": _database,
        "store": _store,
        "measured": _measured,
        "assumed": _assumed,
    }
    return {name: make(record) for name, make in made.items()}


def replace_tables(page: str, record: Record) -> str:
    """Return the page with its tables written anew; each stands between two comments.

    Raises:
        ValueError: it has no place for one of them.
    """
    for name, text in tables(record).items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        parts = place.split(page)
        if len(parts) != 4:
            raise ValueError(f"the page has {len(parts) // 3} places for the table {name}")
        before, begin, end, after = parts
        page = f"{before}{begin}\n{text}\n\n{end}{after}"
    return page


def _interval(one: Mapping[str, float | None], tell: Callable[[float], str]) -> str:
    middle, low, high = one["mean"] or 0.0, one["low"], one["high"]
    if low is None or high is None or high - low < 1e-9:
        return tell(middle)
    return f"{tell(middle)} [{tell(max(0.0, low))}, {tell(high)}]"


def _year(record: Record, name: str = AS_ASKED) -> Mapping[str, Any]:
    year: Mapping[str, Any] = record["scenarios"][name]["year"]
    return year


def _told(lines: Lines, columns: Sequence[Record]) -> list[list[str]]:
    return [[what, *(tell(column[key]) for column in columns)] for what, key, tell in lines]


def _short(record: Record) -> str:
    found = record["scenarios"][AS_ASKED]
    year, of, cost = found["year"], found["traffic"], found["bill"]
    place = {one["what"]: one for one in found["places"]}
    memory = place["memory of an API process, live graphs in it"]
    tenth = record["scenarios"][TEN_TIMES]
    a_look = record["inputs"]["assumptions"]["index_look_us"]["value"] / 1e6
    looks = tenth["database"]["index_looks"] * a_look
    posted, failed = year["tasks"]["mean"], year["failed"]["mean"]
    half, late = year["wait_p50"]["mean"], year["wait_p99"]["mean"]
    return "\n".join(
        (
            f"- **Waiting**: of {number(posted)} tasks half wait {seconds(half)}, 99 % at most "
            f"{seconds(late)}, the unluckiest {seconds(year['wait_max']['mean'])}.",
            f"- **Lost work**: {percent(year['lost_share']['mean'])} of the GPUs' work; "
            f"{number(failed)} tasks failed. {number(year['machines_vanished']['mean'])} times a "
            f"GPU vanished, {number(year['tries_lost']['mean'])} times with a task on it.",
            f"- **Cost**: {number(cost['all'])} USD a year, of which "
            f"{percent(cost['answering'] / cost['all'])} answers requests, "
            f"{percent(cost['GPUs'] / cost['all'])} are GPUs, which train "
            f"{percent(year['gpu_use']['mean'])} of their time.",
            f"- **Every API process holds the live graph of every model**: "
            f"{number(memory['asked'])} GiB in each of {number(of['replicas'])} processes, "
            f"and {seconds(of['start_seconds'])} until a new one has them all. "
            f"At about {number(memory['full_at'])} models its machine is full.",
            f"- **Database**: {number(found['database']['commits'])} commits a second "
            f"with every worker training, {number(found['database']['reads'])} reads, "
            f"{number(found['database']['processors'])} processors. "
            f"At ten times it is {number(tenth['database']['processors'])} processors, "
            f"{percent(looks / tenth['database']['processors'])} of that for API processes that "
            "ask which versions are live.",
        )
    )


def _tasks(record: Record) -> str:
    lines: Lines = (
        ("tasks posted", "tasks", number),
        ("ended live", "live", number),
        ("ended held", "held", number),
        ("failed", "failed", number),
        ("still waiting or running at the year's end", "left", number),
        ("GPUs that vanished", "machines_vanished", number),
        ("tries that were lost with one, or with the database", "tries_lost", number),
        ("lost work, hours of a GPU", "lost_hours", number),
        ("lost work, share of all", "lost_share", percent),
        ("posts that came again, the database being down", "posts_delayed", number),
        ("from a loss until somebody goes on, median", "resumed_p50", seconds),
        ("the longest", "resumed_max", seconds),
        ("from post to the end, median", "until_end_p50", seconds),
        ("from post to the end, 99 %", "until_end_p99", seconds),
        ("share of the paid time in which GPUs train", "gpu_use", percent),
    )
    both = (_year(record), _year(record, TEN_TIMES))
    within = [(what, key, partial(_interval, tell=tell)) for what, key, tell in lines]
    return table(["a year", AS_ASKED, TEN_TIMES], _told(within, both))


def _waits(record: Record) -> str:
    keys = ("wait_p50", "wait_p90", "wait_p99", "wait_p999", "wait_max")
    rows = []
    for name, found in record["scenarios"].items():
        if name in (EIGHT, TEN_TIMES_EIGHT):
            continue  # tasks know nothing of replicas
        year = found["year"]
        cells = [seconds(year[key]["mean"]) for key in keys]
        lost = percent(year["lost_share"]["mean"])
        rows.append([name, *cells, lost, number(year["failed"]["mean"])])
    head = ["", "median", "90 %", "99 %", "99.9 %", "longest", "work lost", "failed"]
    return table(head, rows)


def _answers(record: Record) -> str:
    lines: Lines = (
        ("requests a second, busiest hour", "peak", number),
        ("API processes, both regions", "replicas", number),
        ("an answer, mean over the models", "answer_seconds", seconds),
        ("wait for a lane, median", "wait_p50", seconds),
        ("wait for a lane, 99 %", "wait_p99", seconds),
        ("wait for a lane, 99.9 %", "wait_p999", seconds),
        ("refused with 503", "refused_share", percent),
        ("memory of one process", "process_bytes", lambda value: f"{number(value / 2**30)} GiB"),
        ("until a new process has every live graph", "start_seconds", seconds),
        ("older versions that are asked for and not loaded", "graph_misses", percent),
        ("use of the thread that loads those", "loader_use", percent),
        ("requests for which the database is asked who calls", "key_questions_share", percent),
        ("processors that people's pages take, of all replicas", "page_processors", number),
    )
    names = (AS_ASKED, SMALL, EIGHT, TEN_TIMES, TEN_TIMES_EIGHT)
    found = [record["scenarios"][name]["traffic"] for name in names]
    return table(["requests", *names], _told(lines, found))


def _outage(record: Record) -> str:
    names = (AS_ASKED, OTHER_REGION)
    outages = [record["scenarios"][name]["outage"] for name in names]
    lines: Lines = (
        ("requests refused while too few replicas are there", "refused_share", percent),
        ("had it been the busiest hour", "refused_share_busiest", percent),
        ("for how long", "refused_seconds", seconds),
        ("refused in all", "refused_requests", number),
        ("at its end: keys that nobody confirms any more, at most", "keys_forgotten_seconds",
         seconds),
    )  # fmt: skip
    told = _told(lines, outages)
    for what, key in (("tasks lost", "failed"), ("posts that came again", "posts_delayed")):
        told.append([what, *(number(_year(record, name)[key]["mean"]) for name in names)])
    return table(["a region down for an hour", "with the database", "the other one"], told)


def _bill(record: Record) -> str:
    names = (AS_ASKED, SMALL, EIGHT, TEN_TIMES, TEN_TIMES_EIGHT)
    bills = [record["scenarios"][name]["bill"] for name in names]
    return table(
        ["USD a year", *names],
        ([what, *(number(one[what]) for one in bills)] for what in bills[0]),
    )


def _places(record: Record) -> str:
    first, tenth = (record["scenarios"][name]["places"] for name in (AS_ASKED, TEN_TIMES))
    then = {one["what"]: one for one in tenth}
    rows = (
        [
            one["what"],
            f"{number(one['asked'])} of {number(one['bears'])} {one['unit']}".strip(),
            percent(one["use"]),
            f"{number(one['full_at'])} {one['grows']}" if one["full_at"] else "never",
            percent(then[one["what"]]["use"]),
            one["known"],
        ]
        for one in first
    )
    head = ["what can be full", AS_ASKED, "use", "full at about", f"use, {TEN_TIMES}", "the bound"]
    return table(head, rows)


def _database(record: Record) -> str:
    both = [record["scenarios"][name]["database"] for name in (AS_ASKED, TEN_TIMES)]
    rows = ([what.replace("_", " "), *(number(one[what]) for one in both)] for what in both[0])
    return table(["a second, every worker training", AS_ASKED, TEN_TIMES], rows)


def _store(record: Record) -> str:
    lines: Lines = (
        ("uploads, GB a year", "uploads_gb", number),
        ("checkpoints, GB a year, at most", "checkpoints_gb", number),
        ("versions, GB a year", "versions_gb", number),
        ("graphs that go live, fetched by every replica, GB a year", "promotions_gb", number),
        ("the same in the busiest hour, GB", "promotions_busiest_hour_gb", number),
        ("the same while one goes live, GB a second", "promotion_peak_gb_a_second", number),
        ("until a replica answers with the largest", "promotion_seconds", seconds),
        ("older versions that were not loaded, GB a year, at most", "named_gb", number),
    )
    both = [record["scenarios"][name]["store"] for name in (AS_ASKED, TEN_TIMES)]
    return table(["object store", AS_ASKED, TEN_TIMES], _told(lines, both))


def _measured(record: Record) -> str:
    rows = (
        [f"`{name}`", number(one["value"]), one["source"]]
        for name, one in record["inputs"]["measured"].items()
    )
    return table(["measured", "value", "where it stands"], rows)


def _assumed(record: Record) -> str:
    rows = (
        [f"`{name}`", number(one["value"]), one["why"]]
        for name, one in record["inputs"]["assumptions"].items()
    )
    return table(["assumed", "value", "what and why"], rows)
