"""`python -m tests.faults.soak`: run after run until enough faults were struck, on both pairs.

Every run appends a JSON line to `PAIR.jsonl` in the folder of `--runs`; the same command goes on
where one was cut off. What was run on other code does not count, nor is it reported, unless
`--any-commit` says so. The report is written anew after every run, beside the runs; the one in
docs/results is written by `--report docs/results/faults.json`. Exits with 1 where an invariant was
broken, or a process ended that nothing had struck: the logs of such a run are kept.
"""

import argparse
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from benchmarks.machine import commit, hardware
from tests.faults.run import KEPT, Plan, perform
from tests.faults.stack import Pair

REPORT = Path(__file__).parents[2] / "docs" / "results" / "faults.json"
COMMAND = "python -m tests.faults.soak"
FAULTS_A_RUN = 40
FIRST_SEED = {"served": 1000, "embedded": 2000}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until both pairs have had what they are to have; return an exit status."""
    given = _arguments(arguments)
    report = given.report or given.runs / REPORT.name
    code = None if given.any_commit else commit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # so that nothing is left running
    for pair, faults, tasks in (
        ("served", given.served_faults, given.served_tasks),
        ("embedded", given.embedded_faults, given.embedded_tasks),
    ):
        soak(pair, faults, tasks, given.runs, report, code)
    written = json.loads(report.read_text())["pairs"].values()
    return 1 if any(pair["broken"] or pair["processes_ended_unasked"] for pair in written) else 0


def soak(
    pair: Pair, faults: int, tasks: int, runs: Path, report: Path, code: str | None = None
) -> None:
    """Run until a pair has had `faults` faults over `tasks` tasks, those of earlier calls too.

    Args:
        pair: what the service stands on.
        faults: how many faults at least.
        tasks: how many tasks at least.
        runs: where the records of all runs lie.
        report: what is written of them.
        code: the commit whose runs count; None: those of any.
    """
    lines = runs / f"{pair}.jsonl"
    done = read(lines, code)
    while _faults(done) < faults or _tasks(done) < tasks:
        plan = Plan(pair, FIRST_SEED[pair] + len(done), FAULTS_A_RUN)
        _say(f"{pair}, seed {plan.seed}: {_faults(done)} faults, {_tasks(done)} tasks so far")
        record = {**perform(plan).record(), "commit": commit()}
        _append(lines, record)
        for broken in record["broken"]:
            _say(f"BROKEN {broken}")
        for name in record["ended_unasked"]:
            _say(f"ENDED {name}: its log is in {KEPT / f'{pair}-{plan.seed}'}")
        done = read(lines, code)
        write_report(runs, report, code)
    write_report(runs, report, code)


def read(lines: Path, code: str | None = None) -> list[dict[str, Any]]:
    """Return the records of the runs so far, on one commit or on any."""
    if not lines.exists():
        return []
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    return [record for record in records if code in (None, record["commit"])]


def write_report(runs: Path, report: Path, code: str | None = None) -> None:
    """Write what all runs came to, on one commit or on any."""
    done = {pair: read(runs / f"{pair}.jsonl", code) for pair in get_args(Pair)}
    written = {
        "command": COMMAND,
        "hardware": hardware("cpu"),
        "cores": os.cpu_count(),
        "pairs": {pair: summary(records) for pair, records in done.items() if records},
    }
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(written, indent=1) + "\n")


def summary(done: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what a pair's runs came to."""
    kinds = Counter(fault["kind"] for record in done for fault in record["faults"])
    states: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    for record in done:
        failures.update(record.get("failures", {}))  # which the first runs did not write
        states.update(record["tasks"])
        answers.update(record["answers"])
    return {
        "seeds": [record["plan"]["seed"] for record in done],
        "faults": sum(kinds.values()),
        "faults_by_kind": dict(sorted(kinds.items())),
        "tasks": sum(states.values()),
        "tasks_by_end": dict(sorted(states.items())),
        "failures_by_reason": dict(sorted(failures.items())),
        "broken": [
            f"seed {record['plan']['seed']}: {one}" for record in done for one in record["broken"]
        ],
        "answers_by_status": dict(sorted(answers.items())),
        "processes_ended_unasked": sum(len(record["ended_unasked"]) for record in done),
        "disk_of_its_own": all(record["own_disk"] for record in done),
        "seconds": round(sum(record["seconds"] for record in done)),
        "commits": sorted({record["commit"] for record in done}),
    }


def _faults(done: Sequence[dict[str, Any]]) -> int:
    return sum(len(record["faults"]) for record in done)


def _tasks(done: Sequence[dict[str, Any]]) -> int:
    return sum(sum(record["tasks"].values()) for record in done)


def _append(lines: Path, record: dict[str, Any]) -> None:
    lines.parent.mkdir(parents=True, exist_ok=True)
    with lines.open("a") as out:
        out.write(json.dumps(record) + "\n")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("soak-runs"))
    parser.add_argument("--report", type=Path, help="default: faults.json in the folder of --runs")
    parser.add_argument("--any-commit", action="store_true", help="count runs of other code too")
    parser.add_argument("--served-faults", type=int, default=200)
    parser.add_argument("--served-tasks", type=int, default=40)
    parser.add_argument("--embedded-faults", type=int, default=100)
    parser.add_argument("--embedded-tasks", type=int, default=20)
    return parser.parse_args(given)


if __name__ == "__main__":
    sys.exit(main())
