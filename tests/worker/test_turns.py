"""Whose turn it is: nobody waits for longer than it takes to serve everybody else once."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import insert, select, text, update

from app.db import (
    ApiKey,
    Base,
    DeviceKind,
    Task,
    TaskState,
    Turn,
    make_engine,
    read_session,
    utc_now,
    write_session,
)
from app.registry.service import ensure_model
from app.workers.needs import Needs, Resources
from tests.fixtures.statements import Statements
from tests.worker.conftest import LEASE
from worker import claim as claims
from worker.claim import Claim
from worker.turns import forget_turns, next_task, note_turn, whose_turn

SMALL_CPU = Resources(DeviceKind.CPU, 8_000)
CPU = Resources(DeviceKind.CPU, 16_000)
GPU = Resources(DeviceKind.CUDA, 24_000)
LARGE_GPU = Resources(DeviceKind.CUDA, 80_000)
WORKERS = (SMALL_CPU, CPU, GPU, LARGE_GPU)
OWNERS = (None, 1, 2, 3)


def add_keys(session) -> None:
    for number in OWNERS[1:]:
        session.add(ApiKey(id=number, name=f"key-{number}", digest=f"{number}", scopes=["submit"]))


def add(session, model: str, owner: int | None, **spec: Any) -> str:
    task = Task(
        model=ensure_model(session, model),
        spec=spec,
        dataset="0" * 64,
        dataset_bytes=1,
        request_digest="",
        key_id=owner,
    )
    session.add(task)
    session.flush()
    return task.id


def take(session, has: Resources) -> Claim | None:
    """Claim as a worker does."""
    claimed = claims.claim(session, whose_turn(has), "w", LEASE)
    if claimed is not None:
        note_turn(session, claimed.task_id, has)
    return claimed


@dataclass
class Posted:
    """A task as we know it, apart from the database."""

    id: str
    model: str
    owner: int | None
    needs: Needs
    priority: int
    claimed: Claim | None = None
    ended: bool = False


class TurnMachine(RuleBasedStateMachine):
    """Owners post whatever they like, workers of several kinds take turns at random."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.engine = make_engine(f"sqlite:///{self.folder / 'sats.db'}")
        Base.metadata.create_all(self.engine)
        with write_session(self.engine) as session:
            add_keys(session)
        self.posted: list[Posted] = []
        # Whom a worker of each kind has served since an owner could first be served by it.
        self.passed: dict[tuple[Resources, int | None], list[int | None]] = {}

    def teardown(self) -> None:
        self.engine.dispose()
        shutil.rmtree(self.folder)

    @rule(
        model=st.sampled_from("abcdefgh"),
        owner=st.sampled_from(OWNERS),
        device=st.sampled_from(["any", "any", "cpu", "cuda"]),
        memory=st.sampled_from([None, None, 10_000, 60_000]),
        priority=st.integers(-2, 2),
        many=st.integers(1, 3),
    )
    def post(self, model, owner, device, memory, priority, many) -> None:
        spec = {"device": device, "min_memory_mib": memory, "priority": priority}
        for _ in range(many):
            with write_session(self.engine) as session:
                task_id = add(session, model, owner, **spec)
            self.posted.append(Posted(task_id, model, owner, Needs.of(spec), priority))

    def heads(self, has: Resources) -> list[Posted]:
        """The tasks that such a worker may take now."""
        first: dict[str, Posted] = {}
        running = {one.model for one in self.posted if one.claimed and not one.ended}
        for one in self.posted:
            if not one.claimed:
                first.setdefault(one.model, one)
        return [one for name, one in first.items() if name not in running and one.needs.met_by(has)]

    @rule(has=st.sampled_from(WORKERS))
    def claim(self, has) -> None:
        free = self.heads(has)
        with read_session(self.engine) as session:
            foretold = next_task(session, has)
        with write_session(self.engine) as session:
            taken = take(session, has)
        assert (taken is not None) == bool(free), "a worker idles only where nothing is for it"
        assert foretold == (taken.task_id if taken else None)
        if taken is None:
            return
        mine = next(one for one in self.posted if one.id == taken.task_id)
        assert mine in free
        own = [one for one in free if one.owner == mine.owner]
        order = sorted(own, key=lambda one: (-one.priority, self.posted.index(one)))
        assert mine is order[0], "priority, then the time of posting, within an owner"
        mine.claimed = taken
        self.count(has, mine.owner, {one.owner for one in free})

    def count(self, has: Resources, served: int | None, waiting: set[int | None]) -> None:
        for owner in OWNERS:
            if owner == served or owner not in waiting:
                self.passed[has, owner] = []
                continue
            passed = self.passed.setdefault((has, owner), [])
            passed.append(served)
            assert len(passed) == len(set(passed)), f"{owner} waits while others go twice"

    @rule(at=st.integers(0, 1_000))
    def end(self, at) -> None:
        running = [one for one in self.posted if one.claimed and not one.ended]
        if running:
            one = running[at % len(running)]
            with write_session(self.engine) as session:
                claims.end(session, one.claimed, TaskState.HELD)
            one.ended = True

    @rule(at=st.integers(0, 1_000))
    def give_back(self, at) -> None:
        running = [one for one in self.posted if one.claimed and not one.ended]
        if running:
            one = running[at % len(running)]
            with write_session(self.engine) as session:
                claims.give_back(session, one.claimed)
            one.claimed = None

    @invariant()
    def an_owner_has_one_turn_a_lane(self) -> None:
        with read_session(self.engine) as session:
            rows = session.execute(select(Turn.owner, Turn.pool)).all()
        assert len(rows) == len(set(rows)) <= len(OWNERS) * len(WORKERS)


TestTurnMachine = TurnMachine.TestCase
TestTurnMachine.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)


@pytest.fixture
def keys(engine):
    with write_session(engine) as session:
        add_keys(session)


@pytest.fixture
def put(engine, keys):
    """Queue a task."""

    def one(model: str, owner: int | None, **spec: Any) -> str:
        with write_session(engine) as session:
            return add(session, model, owner, **spec)

    return one


@pytest.fixture
def served(engine):
    """Claim, and end at once, as long as there is anything for such a worker; tells in order."""

    def run(has: Resources = CPU, most: int = 1_000) -> list[str]:
        done: list[str] = []
        while len(done) < most:
            with write_session(engine) as session:
                taken = take(session, has)
                if taken is None:
                    return done
                claims.end(session, taken, TaskState.HELD)
            done.append(taken.task_id)
        return done

    return run


def test_a_hundred_tasks_of_one_owner_keep_no_other_from_its_turn(put, served):
    many = [put(f"m{number % 5}", 1) for number in range(100)]
    one, other = put("mine", 2), put("yours", None)
    order = served()
    assert sorted(order) == sorted([*many, one, other])
    assert {one, other} < set(order[:3])
    assert [task for task in order if task in many] == many


def test_priority_orders_the_tasks_of_an_owner_and_nobody_else_s(put, served):
    low, high = put("a", 1, priority=-5), put("b", 1, priority=7)
    other = put("c", 2)
    assert served() == [high, other, low]


def test_priority_leaves_the_order_of_a_model(put, served):
    first, second = put("a", 1), put("a", 1, priority=100)
    assert served() == [first, second]


def test_a_task_that_this_worker_may_not_take_keeps_those_of_other_models_from_nothing(put, served):
    for_gpu, behind = put("a", 1, device="cuda"), put("a", 1, device="cpu")
    elsewhere = put("b", 1)
    assert served(CPU) == [elsewhere]
    assert served(GPU) == [for_gpu]
    assert served(CPU) == [behind]


def test_what_a_cpu_serves_puts_off_nothing_that_waits_for_a_gpu(put, served):
    """One that has much for both kinds has its turn at the GPU all the same."""
    for number in range(12):
        put(f"cpu{number}", 1, device="cpu")
    mine = [put(f"mine{number}", 1, device="cuda") for number in range(4)]
    others = [put(f"other{number}", 2, device="cuda") for number in range(4)]
    order = []
    for _ in range(8):
        served(CPU, most=2)
        order += served(GPU, most=1)
    assert order == [task for pair in zip(mine, others, strict=True) for task in pair]


def test_machines_that_differ_by_a_little_memory_take_turns_together(put, served):
    for number in range(10):
        put(f"many{number}", 1)
    other = put("one", 2)
    hosts = [Resources(DeviceKind.CPU, 15_990 + number) for number in range(10)]
    order = [task for host in hosts for task in served(host, most=1)]
    assert len(order) == 10
    assert other in order[:2]


def test_within_a_lane_memory_that_is_asked_for_is_exact(put, served):
    wide = put("a", 1, min_memory_mib=15_995)
    narrow = Resources(DeviceKind.CPU, 15_994)
    enough = Resources(DeviceKind.CPU, 15_995)
    assert narrow.pool == enough.pool
    assert (served(narrow), served(enough)) == ([], [wide])


def test_turns_of_keys_that_were_revoked_are_forgotten_once_nothing_of_theirs_waits(
    put, served, engine
):
    for number, owner in enumerate(OWNERS):
        put(f"m{number}", owner)
    served()
    put("waits", 2)
    put("nobody's", None)  # NULL is in no list, and out of none
    with write_session(engine) as session:
        session.execute(update(ApiKey).where(ApiKey.id < 3).values(revoked_at=utc_now()))
        session.execute(insert(Turn).values(owner=77, pool=CPU.pool, number=99))

    def left():
        with write_session(engine) as session:
            forget_turns(session)
            return set(session.scalars(select(Turn.owner)))

    assert left() == {0, 2, 3}
    served()
    put("nobody's", None)
    assert left() == {0, 3}


def test_a_turn_stays_while_a_task_of_its_revoked_key_runs(put, engine):
    put("a", 1)
    with write_session(engine) as session:
        taken = take(session, CPU)
        assert taken is not None
        session.execute(update(ApiKey).values(revoked_at=utc_now()))
        forget_turns(session)
        assert session.scalars(select(Turn.owner)).all() == [1]
        claims.end(session, taken, TaskState.HELD)
        forget_turns(session)
        assert session.scalars(select(Turn.owner)).all() == []


def test_a_failed_claim_is_no_turn(put, engine):
    put("a", 1)
    with write_session(engine) as session:
        take(session, CPU)
        session.rollback()
    with read_session(engine) as session:
        assert session.scalars(select(Turn)).all() == []


@pytest.mark.parametrize("device", [None, "any", "cpu", "cuda"])
@pytest.mark.parametrize("memory", [None, 8_000, 8_001, 24_000, 80_001])
def test_the_database_and_the_answer_agree_on_who_may_take_a_task(put, engine, device, memory):
    said = {"device": device, "min_memory_mib": memory}
    spec = {name: value for name, value in said.items() if value is not None}
    task_id = put("a", 1, **spec)
    with read_session(engine) as session:
        for has in WORKERS:
            may = next_task(session, has) == task_id
            assert may == Needs.of(spec).met_by(has) == Needs.of(said).met_by(has)


@pytest.mark.parametrize("database_url", ["served"], indirect=True)
def test_a_look_for_the_next_task_costs_little_where_thousands_wait(engine, keys):
    """By the rows that Postgres handles: were each compared with each, they would be millions."""
    with write_session(engine) as session:
        models = [ensure_model(session, f"m{number}").id for number in range(100)]
        rows = [
            {
                "id": f"{number:036}",
                "sequence": number + 1,
                "model_id": models[number % len(models)],
                "spec": {"device": "any"},
                "dataset": "0" * 64,
                "dataset_bytes": 1,
                "request_digest": "",
                "key_id": 1 + number % 3,
            }
            for number in range(10_000)
        ]
        session.execute(insert(Task), rows)
        session.execute(text("ANALYZE tasks"))
    with Statements(engine) as sent, read_session(engine) as session:
        assert next_task(session, CPU) == rows[0]["id"]
    (asked,) = [one for one in sent.seen if "tasks" in one[0]]
    with engine.connect() as connection:
        explained = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {asked[0]}"
        ((plan,),) = connection.exec_driver_sql(explained, asked[1])
    assert len(rows) < handled(plan[0]["Plan"]) < 10 * len(rows)


def handled(node: dict[str, Any]) -> float:
    """How many rows a part of a plan has looked at, and all below it."""
    seen = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter")
    own = node["Actual Loops"] * sum(node.get(name, 0) for name in seen)
    return own + sum(handled(inner) for inner in node.get("Plans", ()))
