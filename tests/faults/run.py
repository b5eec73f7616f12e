"""One run: a new service, clients at work, a fault after another, and what held at the end."""

import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app.db import is_passing
from tests.faults.clients import Client, Told
from tests.faults.faults import FAULTS
from tests.faults.invariants import Watch, broken_at_end, broken_now, ends, failures
from tests.faults.stack import DidNotHappenError, Pair, Stack, running_stack

TRIES = 10
KEPT = Path(tempfile.gettempdir()) / "sats-faults-kept"
"""Where the logs of runs that failed stay."""


@dataclass(frozen=True)
class Plan:
    """What a run does; with the same plan it draws the same faults, pauses and tasks.

    Attributes:
        pair: what the service stands on.
        seed: of all that is drawn.
        faults: how many faults, and more until each of `kinds` has struck; tasks are posted until
            the last of them.
        kinds: which faults; default: all of the pair, in an order that is drawn, again and again.
        clients: how many post at the same time.
        tasks: how many each posts at least.
        workers: how many workers there are.
        pause: shortest and longest pause between two faults, seconds.
        disk_mib: size of the disk of its own that is filled, in memory, where one may be mounted.
            Without one a full disk is what the store's writes say.
    """

    pair: Pair
    seed: int
    faults: int
    kinds: tuple[str, ...] = ()
    clients: int = 3
    tasks: int = 2
    workers: int = 2
    pause: tuple[float, float] = (0.2, 3.0)
    disk_mib: int = 1200


@dataclass
class Outcome:
    """What became of a run.

    Attributes:
        plan: what was to be done.
        faults: kind and detail of each, in order.
        tasks: how many ended how.
        failures: how many of them failed for which reason.
        broken: every invariant that did not hold.
        answers: how often each status was answered.
        ended_unasked: processes that ended without being struck.
        seconds: how long it took.
        own_disk: whether its data was on a small file system of its own.
    """

    plan: Plan
    faults: list[dict[str, str]] = field(default_factory=list)
    tasks: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    ended_unasked: list[str] = field(default_factory=list)
    seconds: float = 0.0
    own_disk: bool = False

    @property
    def fails(self) -> bool:
        """Whether something is wrong: what broke, or a process that ended of itself."""
        return bool(self.broken or self.ended_unasked)

    def record(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def perform(plan: Plan, command: Sequence[str] | None = None, **env: str) -> Outcome:
    """Carry a plan out. See `running_stack` for `command` and `env`."""
    outcome = Outcome(plan)
    began = time.monotonic()
    with running_stack(plan.pair, plan.workers, command, plan.disk_mib, **env) as stack:
        outcome.own_disk = stack.own_disk
        told = Told()
        enough = threading.Event()
        with _watched(stack, outcome), _clients(plan, stack, told, enough) as clients:
            _strike(plan, stack, outcome)
            enough.set()
            _let_end(stack, clients)
        outcome.broken += told.broken
        outcome.broken += broken_at_end(stack, told)
        outcome.tasks, outcome.failures = ends(stack), failures(stack)
        outcome.answers = told.answers
        outcome.ended_unasked = stack.ended_unasked
        if outcome.fails:
            _keep_logs(stack, plan)
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def schedule(plan: Plan) -> Iterator[tuple[str, float, random.Random]]:
    """Yield the plan's faults without end: kind, the pause before it, and what it draws from."""
    rng = random.Random(plan.seed)
    kinds = plan.kinds or tuple(name for name, one in FAULTS.items() if plan.pair in one.pairs)
    while True:
        for kind in rng.sample(kinds, len(kinds)):
            yield kind, rng.uniform(*plan.pause), random.Random(rng.getrandbits(32))


def _strike(plan: Plan, stack: Stack, outcome: Outcome) -> None:
    for kind, pause, rng in islice(schedule(plan), plan.faults * TRIES):
        until = time.monotonic() + pause
        while time.monotonic() < until:
            stack.keep()
            time.sleep(0.05)
        struck = {one["kind"] for one in outcome.faults}
        if len(outcome.faults) >= plan.faults:
            if struck >= set(plan.kinds):
                return
            if kind in struck:
                continue
        try:
            did = _struck(kind, stack, rng)
        except DidNotHappenError as error:  # the service did not come back from it
            did = str(error)
            outcome.broken.append(f"after {kind}: {error}")
        if did is not None:
            outcome.faults.append({"kind": kind, "did": did})
            outcome.broken += [f"after {kind}: {one}" for one in broken_now(stack)]


def _struck(kind: str, stack: Stack, rng: random.Random) -> str | None:
    """Strike; where there is nothing to strike at, again, for some times."""
    for _ in range(TRIES):
        try:
            did = FAULTS[kind].strike(stack, rng)
        except SQLAlchemyError as error:  # of a fault that writes into the database itself
            if not is_passing(error):
                raise
            did = None
        stack.keep()
        if did is not None:
            return did
        time.sleep(0.1)
    return None


def _let_end(stack: Stack, clients: Sequence[Client]) -> None:
    """Wait for the clients, who give up what does not move; there is no other limit."""
    while any(client.is_alive() for client in clients):
        stack.keep()
        time.sleep(0.2)


@contextmanager
def _clients(
    plan: Plan, stack: Stack, told: Told, enough: threading.Event
) -> Iterator[list[Client]]:
    over = threading.Event()
    clients = [
        Client(number, stack.url, plan.tasks, plan.seed * 1000 + number, told, enough, over)
        for number in range(plan.clients)
    ]
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        over.set()
        for client in clients:
            client.join(120)


@contextmanager
def _watched(stack: Stack, outcome: Outcome) -> Iterator[None]:
    watch = Watch(stack)
    watch.start()
    try:
        yield
    finally:
        watch.stop()
        outcome.broken += watch.broken


def _keep_logs(stack: Stack, plan: Plan) -> None:
    """Keep what the processes said of a run that failed, and the database if it can."""
    kept = KEPT / f"{plan.pair}-{plan.seed}"
    kept.mkdir(parents=True, exist_ok=True)
    for log in stack.folder.glob("*.log"):
        shutil.copy(log, kept)
    if stack.pair == "embedded":
        shutil.copy(stack.settings.data_dir / "sats.db", kept)
