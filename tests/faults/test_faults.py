"""The quick form of `make soak`: real API, workers, database and broker; the training is scripted.

`python -m tests.faults.soak` is the long form, with real training and every kind of fault.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from tests.faults import run as running
from tests.faults import soak as soaking
from tests.faults.children import training_children
from tests.faults.faults import FAULTS
from tests.faults.invariants import broken_tasks
from tests.faults.run import Outcome, Plan, perform, schedule
from tests.fixtures.missing import missing
from tests.fixtures.servers import MissingServerError
from tests.worker.bench import eventually
from tests.worker.conftest import post
from tests.worker.scripted_child import Control

__all__ = ["post"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are seen in /proc")
embedded = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

QUICK: dict[str, Any] = {"clients": 2, "tasks": 1, "pause": (0.1, 0.5), "disk_mib": 0}
PLANS = [
    Plan(
        "embedded",
        seed=11,
        faults=6,
        kinds=(
            *("kill-child", "kill-worker", "break-message", "fill-disk", "failing-reads"),
            "hang-up",
        ),
        **QUICK,
    ),
    Plan(
        "served",
        seed=12,
        faults=4,
        kinds=("lose-redis", "restart-database", "jump-clock", "double-message"),
        workers=1,
        **QUICK,
    ),
]
FEW = Plan(
    "embedded",
    seed=13,
    faults=3,
    kinds=("kill-child", "break-message", "hang-up"),
    workers=1,
    clients=1,
    tasks=1,
    pause=(0.0, 0.2),
    disk_mib=0,
)
"""What `make test` has time for."""
WORKER = [sys.executable, "-m", "celery", "--quiet", "--app", "tests.worker.scripted_worker"]


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.pair)
def test_no_invariant_breaks(plan: Plan, tmp_path: Path) -> None:
    print(f"seed {plan.seed}")  # noqa: T201 - shown where it fails
    control = Control(tmp_path)
    control.plan(epochs=2, epoch_seconds=0.7)
    if plan.pair == "served" and "SATS_TEST_DATABASE_URL" in os.environ:
        pytest.skip("that Postgres is not ours to restart")
    try:
        outcome = perform(plan, [*WORKER, "worker"], SCRIPTED_CHILD_CONTROL=str(tmp_path))
    except MissingServerError as error:
        missing(str(error))
    assert not outcome.fails, (outcome.broken, outcome.ended_unasked)
    assert control.starts()
    assert sum(outcome.tasks.values()) >= 2
    assert set(outcome.tasks) <= {"live", "held", "failed", "cancelled"}
    assert {one["kind"] for one in outcome.faults} == set(plan.kinds)


@pytest.mark.slow
def test_a_few_faults_break_no_invariant(tmp_path: Path) -> None:
    print(f"seed {FEW.seed}")  # noqa: T201 - shown where it fails
    Control(tmp_path).plan(epochs=2, epoch_seconds=0.7)
    outcome = perform(FEW, [*WORKER, "worker"], SCRIPTED_CHILD_CONTROL=str(tmp_path))
    assert not outcome.fails, (outcome.broken, outcome.ended_unasked)
    assert sum(outcome.tasks.values()) >= 1
    assert set(outcome.tasks) <= {"live", "held", "failed", "cancelled"}
    assert {one["kind"] for one in outcome.faults} == set(FEW.kinds)


def test_a_process_that_ends_unasked_fails_the_run_and_its_log_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "worker-1.log").write_text("Unrecoverable error")

    @contextmanager
    def stack_of(*_: Any, **__: Any) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(
            pair="served", folder=tmp_path, own_disk=False, ended_unasked=["worker-1"]
        )

    @contextmanager
    def nobody(*_: Any) -> Iterator[list[Any]]:
        yield []

    monkeypatch.setattr(running, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(running, "running_stack", stack_of)
    for part in ("_watched", "_clients"):
        monkeypatch.setattr(running, part, nobody)
    for part in ("_strike", "_let_end"):
        monkeypatch.setattr(running, part, lambda *_: None)
    monkeypatch.setattr(running, "broken_at_end", lambda *_: [])
    for part in ("ends", "failures"):
        monkeypatch.setattr(running, part, lambda *_: {})
    outcome = perform(Plan("served", 7, faults=1))
    assert outcome.fails
    assert not outcome.broken
    assert (tmp_path / "kept" / "served-7" / "worker-1.log").read_text() == "Unrecoverable error"


def test_a_seed_gives_its_schedule_again() -> None:
    def drawn(seed: int) -> list[tuple[str, float, float]]:
        faults = itertools.islice(schedule(Plan("served", seed, 100)), 100)
        return [(kind, pause, rng.random()) for kind, pause, rng in faults]

    assert drawn(3) == drawn(3) != drawn(4)
    assert {kind for kind, _, _ in drawn(3)} == {
        name for name, one in FAULTS.items() if "served" in one.pairs
    }


@embedded
def test_a_task_that_is_lost_unasked_or_without_an_end_is_seen(
    engine: Engine, post: Callable[..., str]
) -> None:
    waits, unasked = post(), post("other")
    assert sorted(one.partition(":")[0] for one in broken_tasks(engine, {waits, "7"})) == [
        "task-lost",
        "task-unasked",
        "task-unended",
        "task-unended",
    ]
    assert f"task-unasked: {unasked} was made twice" in broken_tasks(engine, {waits})


def test_two_processes_that_train_one_task_are_seen(tmp_path: Path) -> None:
    jobs = [tmp_path / "work" / str(uuid4()) / "job.json" for _ in range(2)]
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with ExitStack() as stack:
        for job in (*jobs, jobs[0]):
            child = stack.enter_context(subprocess.Popen([*command, str(job)], process_group=0))
            stack.callback(child.kill)

        def seen() -> list[int]:
            trained = training_children(tmp_path)
            return [len(trained.get(job.parent.name, ())) for job in jobs]

        # The machine shows a process's command line a moment after it has begun.
        eventually(lambda: seen() == [2, 1], say=seen)
    eventually(lambda: training_children(tmp_path) == {})


def test_a_kind_that_struck_nothing_is_tried_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def struck(kind: str, *_: Any) -> str | None:
        tried.append(kind)
        return None if kind == "kill-child" and tried.count(kind) < 3 else "struck"

    monkeypatch.setattr(running, "_struck", struck)
    monkeypatch.setattr(running, "broken_now", lambda _: [])
    plan = Plan("embedded", 1, faults=2, kinds=("kill-child", "hang-up"), pause=(0.0, 0.0))
    outcome = Outcome(plan)
    running._strike(plan, SimpleNamespace(), outcome)
    assert [one["kind"] for one in outcome.faults] == ["hang-up", "hang-up", "kill-child"]


@pytest.mark.parametrize("of", ["reads", "writes"])
def test_a_faulty_store_fails_what_it_says_and_nothing_beside_it(tmp_path: Path, of: str) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "fault.json").write_text(json.dumps({"of": of, "seconds": 0.0, "errno": 5}))
    code = (
        "import os, pathlib, sys\n"
        "for name in ('blobs/one', 'two'):\n"
        "    path = pathlib.Path(sys.argv[1], name)\n"
        "    with path.open('wb') as out:\n"
        "        try:\n"
        "            os.fsync(out.fileno())\n"
        "        except OSError:\n"
        "            print(name, 'writes')\n"
        "    try:\n"
        "        path.read_bytes()\n"
        "    except OSError:\n"
        "        print(name, 'reads')\n"
    )
    faulty = {
        "PYTHONPATH": str(Path(__file__).with_name("faulty_store")),
        "FAULTY_STORE": str(tmp_path / "fault.json"),
        "FAULTY_STORE_ROOT": str(tmp_path / "blobs"),
    }
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert (
        subprocess.check_output(command, env=os.environ | faulty, text=True) == f"blobs/one {of}\n"
    )


def test_a_disk_of_its_own_goes_with_the_process_that_mounted_it(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\nfrom tests.faults.stack import _mounted\n"
        "with _mounted(pathlib.Path(sys.argv[1]), 8) as own:\n"
        "    print(own, flush=True)\n    time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        own = process.stdout.readline() == "True\n"
        seen = tmp_path.is_mount()
        process.kill()
    assert seen == own
    eventually(lambda: not tmp_path.is_mount())


def test_a_soak_goes_on_where_it_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def performed(plan: Plan) -> Outcome:
        seeds.append(plan.seed)
        broken = ["task-lost: 7"] if len(seeds) == 3 else []
        faults = [{"kind": "hang-up", "did": "once"}] * 5
        return Outcome(plan, faults=faults, tasks={"live": 2}, broken=broken, seconds=1.0)

    monkeypatch.setattr(soaking, "perform", performed)
    report = tmp_path / "faults.json"
    soaking.soak("served", 10, 4, tmp_path, report)
    assert seeds == [1000, 1001]
    soaking.soak("served", 10, 6, tmp_path, report)
    assert seeds == [1000, 1001, 1002]
    written = json.loads(report.read_text())
    served = written["pairs"]["served"]
    assert written["command"] == soaking.COMMAND
    assert (served["faults"], served["tasks"], served["seeds"]) == (15, 6, seeds)
    assert served["broken"] == ["seed 1002: task-lost: 7"]


def test_what_was_run_on_other_code_counts_only_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def performed(plan: Plan) -> Outcome:
        faults = [{"kind": "hang-up", "did": "once"}] * 5
        broken = ["task-lost: 7"] if soaking.commit() == "before" else []
        return Outcome(plan, faults=faults, tasks={"live": 2}, broken=broken)

    def soak(*options: str) -> tuple[int, list[str]]:
        ended = soaking.main([*few, f"--runs={tmp_path}", *options])
        return ended, json.loads((tmp_path / "faults.json").read_text())["pairs"]["served"][
            "commits"
        ]

    few = ["--served-faults=5", "--served-tasks=2", "--embedded-faults=5", "--embedded-tasks=2"]
    monkeypatch.setattr(soaking, "perform", performed)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process's own stay
    monkeypatch.setattr(soaking, "commit", lambda: "before")
    assert soak() == (1, ["before"])
    monkeypatch.setattr(soaking, "commit", lambda: "after")
    assert soak() == (0, ["after"])
    assert soak("--any-commit") == (1, ["after", "before"])


def test_a_soak_in_which_a_process_ended_unasked_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def performed(plan: Plan) -> Outcome:
        faults = [{"kind": "hang-up", "did": "once"}] * 5
        ended = ["worker-2"] if plan.pair == "served" else []
        return Outcome(plan, faults=faults, tasks={"live": 2}, ended_unasked=ended)

    monkeypatch.setattr(soaking, "perform", performed)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process's own stay
    few = ["--served-faults=5", "--served-tasks=2", "--embedded-faults=5", "--embedded-tasks=2"]
    assert soaking.main([*few, f"--runs={tmp_path}"]) == 1
    assert "ENDED worker-2: its log is in " in capsys.readouterr().err


def test_the_report_is_of_this_command_and_says_what_broke() -> None:
    written = json.loads(soaking.REPORT.read_text())
    assert written["command"] == soaking.COMMAND
    for pair in written["pairs"].values():
        assert sum(pair["faults_by_kind"].values()) == pair["faults"]
        assert sum(pair["tasks_by_end"].values()) == pair["tasks"]
        assert pair["broken"] == []
