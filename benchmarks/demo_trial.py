"""Do the demo's claims hold with room: other pictures, other starts, fewer threads, a busy machine?

    python -m benchmarks.demo_trial --out runs/demo

Runs the whole demo, service and HTTP included, for every seed and number of threads; runs with an
odd seed share the machine with a busy loop. A finished run stays in `--out` as a file: the same
command again goes on behind the last one, as long as the demo does the same; one that did something
else is taken again. Writes `demo.json` to `--results`.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.machine import commit, hardware
from demo.learning import Outcome, learn_all
from demo.plan import WAYS, Plan
from demo.report import compare

NEW_CLASS_FOUND = 0.65
"""Least IoU of a new class that must be seen in every run; the demo claims less."""
OLD_CLASSES_LOSE = 0.03
"""Most mIoU that the old classes may lose in any run; the demo claims more."""
SECONDS = 300
"""Most that a run as `sats demo` starts it may take on a machine of its own."""
BY_DEFAULT = 1
"""Threads that `sats demo` trains with."""

Record = dict[str, Any]


class Run(NamedTuple):
    """One run of the demo."""

    seed: int
    threads: int

    @property
    def busy(self) -> bool:
        """Whether it shares the machine with a busy loop."""
        return self.seed % 2 == 1

    @property
    def name(self) -> str:
        """Of its files."""
        return f"seed{self.seed}-threads{self.threads}"


@contextmanager
def busy_loop(wanted: bool) -> Iterator[None]:
    """Keep one core computing beside what is inside, where that is wanted."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def take(run: Run, plan: Plan, out: Path) -> Record:
    """Run the demo once and return its record.

    Raises:
        DemoError: it did not come to its end.
    """
    folder = out / run.name
    began = time.monotonic()
    with busy_loop(run.busy):
        outcome = learn_all(plan, folder, Console(file=StringIO()))
    record = {
        "seed": run.seed,
        "threads": run.threads,
        "plan": planned(plan),
        "beside_a_busy_loop": run.busy,
        "seconds": round(time.monotonic() - began, 1),
        "hardware": hardware("cpu"),
        "commit": commit(),
        **_scored(outcome),
    }
    partial = out / f"{run.name}.json.partial"
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(_path(run, out))
    shutil.rmtree(folder)
    return record


def planned(plan: Plan) -> Record:
    """Return what a run of the demo does, as its record tells it."""
    whole = {**asdict(plan), "ways": [asdict(way) for way in WAYS]}
    told: Record = json.loads(json.dumps(whole))
    return told


def finished(run: Run, plan: Plan, out: Path) -> Record | None:
    """Return the record of a run that was taken by the same plan; None where there is none."""
    path = _path(run, out)
    record: Record = json.loads(path.read_text()) if path.exists() else {}
    return record if record.get("plan") == planned(plan) else None


def _scored(outcome: Outcome) -> Record:
    """Return what each way found and lost: the worse of showcase and held-out pictures."""
    comparisons = compare(outcome)
    ways = {
        key: {
            "new_class_iou": min(c.found(key) for c in comparisons),
            "old_classes_lost": max(c.lost(key) for c in comparisons),
            "seconds": round(learned.seconds, 1),
        }
        for key, learned in outcome.after.items()
    }
    broken = [sentence for comparison in comparisons for sentence in comparison.broken_claims()]
    return {
        "base_seconds": round(outcome.before.seconds, 1),
        "base_iou": comparisons[0].before,
        "ways": ways,
        "iou": {key: comparisons[0].after[key] for key in ways},
        "broken_claims": broken,
    }


def _path(run: Run, out: Path) -> Path:
    return out / f"{run.name}.json"


def summary(records: list[Record]) -> Record:
    """Return the worst of all runs, and whether it holds what the trial asks for."""
    sats = [record["ways"]["sats"] for record in records]
    alone = [
        r["seconds"] for r in records if r["threads"] == BY_DEFAULT and not r["beside_a_busy_loop"]
    ]
    least = min(each["new_class_iou"] for each in sats)
    most = max(each["old_classes_lost"] for each in sats)
    longest = max(alone) if alone else None
    return {
        "runs": len(records),
        "least_new_class_iou": least,
        "most_old_classes_lost": most,
        "longest_alone_seconds": longest,
        "holds": {
            f"new class at least {NEW_CLASS_FOUND}": least >= NEW_CLASS_FOUND,
            f"old classes lose at most {OLD_CLASSES_LOSE}": most <= OLD_CLASSES_LOSE,
            f"under {SECONDS} s alone": None if longest is None else longest < SECONDS,
        },
    }


def write(records: list[Record], command: str, results: Path) -> None:
    """Write `demo.json`: the command, the worst of all runs, and every run."""
    results.mkdir(parents=True, exist_ok=True)
    content = {"command": command, "summary": summary(records), "runs": records}
    (results / "demo.json").write_text(json.dumps(content, indent=1) + "\n")


def _table(records: list[Record]) -> Table:
    table = Table("run", "new class IoU", "old classes lost", "seconds", title="the demo, by SATS")
    for r in records:
        sats = r["ways"]["sats"]
        name = f"seed {r['seed']}, {r['threads']} thread(s)"
        name += ", busy" if r["beside_a_busy_loop"] else ""
        table.add_row(
            name,
            f"{sats['new_class_iou']:.3f}",
            f"{sats['old_classes_lost']:.3f}",
            f"{r['seconds']:.0f}",
        )
    return table


def main(
    seeds: Annotated[int, typer.Option(help="How many, from 0.")] = 6,
    threads: Annotated[str, typer.Option(help="Separated by commas.")] = "1,2",
    out: Annotated[Path, typer.Option(help="Where finished runs stay.")] = Path("runs/demo"),
    results: Annotated[Path, typer.Option(help="Where demo.json goes.")] = Path("docs/results"),
) -> None:
    """Run what is not there yet, one run after another, then write the record."""
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    records = []
    for run in [Run(seed, int(count)) for seed in range(seeds) for count in threads.split(",")]:
        plan = Plan(seed=run.seed, threads=run.threads)
        record = finished(run, plan, out) or take(run, plan, out)
        records.append(record)
        console.print(_table([record]))
    command = f"python -m benchmarks.demo_trial --seeds {seeds} --threads {threads}"
    write(records, command, results)
    console.print(_table(records), summary(records))


if __name__ == "__main__":
    typer.run(main)
