"""Where the milliseconds of one lone `/segment` request go, stage by stage.

    python -m benchmarks.serving_trace --size 256

Nothing inside the service is touched. What it computes is timed function by function in this
process; what stands around it, over HTTP: a bare server that reads the same body and answers with
as many bytes, and the service's own refusal of an answer in no form that it has (406), for which it
has chosen caller, version and room and read the body, and computes nothing. What is left is what
the service takes to bring a picture from hand to hand. Writes `serving_trace.json` and
`serving_trace.md` to `--out`.
"""

import json
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from app.segmentation.rendering import mask_png
from benchmarks.machine import commit, hardware
from benchmarks.processes import Server
from benchmarks.serving_client import Plan, Report
from benchmarks.serving_contestants import Contestant, install, ours
from benchmarks.serving_pipeline import MOST_PIXELS, answer, load_graph
from benchmarks.serving_report import table
from benchmarks.serving_rounds import report_of, start_asking
from benchmarks.serving_version import make_version, write_pictures
from sats_core.data.pictures import decode_resized

NO_FORM = b"Accept: audio/ogg"
"""Asks for a form that no answer has."""
COMPUTED = ("decode", "view", "run", "cut", "PNG")
BARE, FRONT, BETWEEN, WHOLE = (
    "HTTP alone: a bare server",
    "routing, caller, version, room, body",
    "from hand to hand (what is left)",
    "the whole request",
)
T = TypeVar("T")
Record = dict[str, Any]


class Stopwatch:
    """Milliseconds of each stage, of a clock and of the processor, run by run."""

    def __init__(self) -> None:
        self.ms: dict[str, list[float]] = {}
        self.cpu_ms: dict[str, list[float]] = {}

    def time(self, stage: str, work: Callable[[], T]) -> T:
        """Do the work of a stage."""
        cpu, began = time.process_time(), time.perf_counter()
        done = work()
        self.ms.setdefault(stage, []).append(1000 * (time.perf_counter() - began))
        self.cpu_ms.setdefault(stage, []).append(1000 * (time.process_time() - cpu))
        return done

    def medians(self) -> dict[str, tuple[float, float]]:
        """Return the median of each stage: clock, processor."""
        median = statistics.median
        return {stage: (median(self.ms[stage]), median(self.cpu_ms[stage])) for stage in self.ms}


def computed(
    version: Path, pictures: Sequence[bytes], threads: int, times: int
) -> dict[str, tuple[float, float]]:
    """Return the milliseconds of what is computed, by stage: clock, processor.

    Args:
        version: directory of the exported version.
        pictures: encoded.
        threads: CPU threads of a run.
        times: how many pictures are timed, after as many as there are that are not.
    """
    graph = load_graph(version, threads)
    watch = Stopwatch()
    for number in range(-len(pictures), times):
        if number == 0:
            watch = Stopwatch()
        data = pictures[number % len(pictures)]
        picture = watch.time("decode", partial(decode_resized, data, MOST_PIXELS, graph.shown))
        view = watch.time("view", partial(graph.normalised, picture.pixels))
        (found,) = watch.time("run", partial(graph.run, [view]))
        size = picture.height, picture.width
        segmented = watch.time("cut", partial(graph.segmented, found, *size))
        watch.time("PNG", partial(mask_png, segmented.mask, graph.catalogue))
    return watch.medians()


def asked(
    server: Server, requests: Sequence[Path], seconds: float, status: int
) -> tuple[float, float]:
    """Return the median milliseconds of a lone client's requests, and the processor's of each.

    Raises:
        RuntimeError: an answer has another status.
    """
    plan = Plan(server.port, [str(path) for path in requests], seconds, clients=1, warm_up=0.5)
    cpu = server.cpu_seconds()
    report: Report = report_of(start_asking(plan))
    cpu = server.cpu_seconds() - cpu
    if {*report.status} != {status}:
        raise RuntimeError(f"the server answers with {sorted({*report.status})}, not {status}")
    counted = [t for t, began in zip(report.took, report.began, strict=True) if began >= 0]
    return 1000 * statistics.median(counted), 1000 * cpu / len(report.took)


def bare(reply_bytes: int) -> Contestant:
    """Return a server that reads a body and answers with so many bytes, and does nothing else."""

    def command(port: int) -> list[str]:
        quiet = ["--log-level", "warning", "--no-access-log"]
        app = ["uvicorn", "benchmarks.serving_trace_bare:app", "--port", str(port), *quiet]
        return [sys.executable, "-m", *app]

    return Contestant("bare", command, {"SERVING_REPLY_BYTES": str(reply_bytes)})


def stages(
    parts: dict[str, tuple[float, float]],
    http: tuple[float, float],
    refused: tuple[float, float],
    whole: tuple[float, float],
) -> list[Record]:
    """Return each stage of a request: its milliseconds, of the clock and of the processor.

    Args:
        parts: what is computed, by stage.
        http: a bare server's answer.
        refused: the service's, computing nothing.
        whole: the service's with a mask.
    """
    front = tuple(a - b for a, b in zip(refused, http, strict=True))
    spent = [sum(part[side] for part in parts.values()) for side in (0, 1)]
    left = tuple(a - b - c for a, b, c in zip(whole, refused, spent, strict=True))
    found = {BARE: http, FRONT: front, **parts, BETWEEN: left, WHOLE: whole}
    return [
        {
            "stage": stage,
            "ms": round(ms, 2),
            "cpu_ms": round(cpu, 2),
            "share": round(ms / whole[0], 3),
        }
        for stage, (ms, cpu) in found.items()
    ]


def take(folder: Path, backbone: str, size: int, seconds: float, threads: int) -> list[Record]:
    """Start the servers one after another, time every stage."""
    make_version(folder / "version", backbone, size)
    encoded = [path.read_bytes() for path in write_pictures(folder / "pictures", size)]
    contestant = ours(install(folder / "data", folder / "version", keyed=False))
    masks, refusals = folder / "masks", folder / "refusals"
    for place in (masks, refusals):
        place.mkdir()
    for number, picture in enumerate(encoded):
        request = contestant.request(picture)
        (masks / str(number)).write_bytes(request)
        (refusals / str(number)).write_bytes(request.replace(b"Accept: image/png", NO_FORM))
    with contestant.started(folder / "ours.log") as server:
        whole = asked(server, sorted(masks.iterdir()), seconds, 200)
        refused = asked(server, sorted(refusals.iterdir()), seconds, 406)
    graph = load_graph(folder / "version", threads)
    with bare(len(answer(graph, encoded[:1])[0])).started(folder / "bare.log") as server:
        http = asked(server, sorted(masks.iterdir()), seconds, 200)
    parts = computed(folder / "version", encoded, threads, times=max(8, int(4 * seconds)))
    return stages(parts, http, refused, whole)


def page(written: Record) -> str:
    """Return the record as a page."""
    lines = [
        "# A lone request, stage by stage",
        "",
        f"`{written['command']}` at {written['commit']}; {written['hardware']}, "
        f"{written['processors']} processors, load {written['load_average']} before. Medians.",
        "",
    ]
    for name, found in written["sets"].items():
        rows = [
            (one["stage"], f"{one['ms']:.2f}", f"{one['cpu_ms']:.2f}", f"{one['share']:.1%}")
            for one in found
        ]
        lines += [f"## {name}", "", *table(("stage", "ms", "CPU ms", "of the whole"), rows)]
    return "\n".join(lines).rstrip() + "\n"


def main(
    size: Annotated[list[int] | None, typer.Option(help="Of the pictures, pixels.")] = None,
    backbone: Annotated[list[str] | None, typer.Option(help="Of the version.")] = None,
    seconds: Annotated[float, typer.Option(help="Of asking each server.")] = 10.0,
    threads: Annotated[int, typer.Option(help="CPU threads of a run, as served.")] = 1,
    out: Annotated[Path, typer.Option(help="Where record and page go.")] = Path("docs/results"),
) -> None:
    """Time a lone request's stages; write and print them."""
    command = "python -m benchmarks.serving_trace " + shlex.join(sys.argv[1:])
    written: Record = {
        "command": command.strip(),
        "commit": commit(),
        "hardware": hardware("cpu"),
        "processors": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "sets": {},
    }
    for name in backbone or ["mit_b0"]:
        for pixels in size or [256, 512]:
            with tempfile.TemporaryDirectory(prefix="sats-trace-") as made:
                found = take(Path(made), name, pixels, seconds, threads)
            written["sets"][f"{name}, {pixels} px"] = found
    out.mkdir(parents=True, exist_ok=True)
    (out / "serving_trace.json").write_text(json.dumps(written, indent=1) + "\n")
    (out / "serving_trace.md").write_text(page(written))
    typer.echo(page(written))


if __name__ == "__main__":
    typer.run(main)
