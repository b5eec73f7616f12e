"""Any order of claims, losses, late writes and cancellations, against a model of what may be."""

import shutil
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from sqlalchemy import func, select, update

from app.db import (
    END_STATES,
    RUNNING_STATES,
    Base,
    Task,
    TaskState,
    make_engine,
    read_session,
    utc_now,
    write_session,
)
from app.registry.service import ensure_model
from app.tasks.service import cancel
from tests.worker.conftest import LOST
from worker import claim as claims
from worker.claim import Claim, LeaseLostError

MAX_TRIES = 3


@dataclass
class Expected:
    """What we know about a task, apart from the database."""

    model: str
    holder: Claim | None = None
    tries: int = 0
    furthest: int = 0
    cancel: bool = False
    ended: bool = False
    lapsed: bool = False


class ClaimMachine(RuleBasedStateMachine):
    """Workers hold claims, stale or not, and use them whenever they like."""

    tasks = Bundle("tasks")
    claimed = Bundle("claimed")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.engine = make_engine(f"sqlite:///{self.folder / 'sats.db'}")
        Base.metadata.create_all(self.engine)
        self.expected: dict[str, Expected] = {}
        self.began = utc_now()

    def teardown(self) -> None:
        self.engine.dispose()
        shutil.rmtree(self.folder)

    def do(self, function, *args, **kwargs):
        with write_session(self.engine) as session:
            return function(session, *args, **kwargs)

    def running(self, task_id: str) -> bool:
        return self.expected[task_id].holder is not None

    @rule(target=tasks, model=st.sampled_from("ab"))
    def post(self, model):
        with write_session(self.engine) as session:
            task = Task(
                model=ensure_model(session, model),
                spec={},
                dataset="0" * 64,
                dataset_bytes=1,
                request_digest="",
                created_at=self.began - timedelta(seconds=len(self.expected)),
            )
            session.add(task)
            session.flush()
        self.expected[task.id] = Expected(model)
        return task.id

    @rule(target=claimed, task_id=tasks)
    def claim(self, task_id):
        mine = self.expected[task_id]
        before = [
            other
            for other_id, other in self.expected.items()
            if other.model == mine.model and not other.ended and other_id != task_id
        ]
        earlier = list(self.expected)[: list(self.expected).index(task_id)]
        free = (
            not mine.ended
            and mine.holder is None
            and not any(other.holder for other in before)
            and all(
                self.expected[other].ended or self.expected[other].model != mine.model
                for other in earlier
            )
        )
        taken = self.do(claims.claim, task_id, "w", 1000.0)
        assert (taken is not None) == free
        if taken is None:
            return multiple()
        mine.holder, mine.lapsed = taken, False
        mine.tries += 1
        return taken

    @rule(task_id=tasks)
    def time_passes(self, task_id):
        if self.running(task_id):
            with write_session(self.engine) as session:
                session.execute(update(Task).where(Task.id == task_id).values(lease_until=1.0))
            self.expected[task_id].lapsed = True

    @rule(task_id=tasks)
    def sweep(self, task_id):
        mine = self.expected[task_id]
        state = self.do(claims.sweep, task_id, MAX_TRIES, LOST)
        assert (state is not None) == (mine.holder is not None and mine.lapsed)
        if state is not None:
            self.lost(mine, state)

    def lost(self, mine: Expected, state: TaskState) -> None:
        mine.holder, mine.lapsed = None, False
        if mine.cancel:
            assert state == TaskState.CANCELLED
        else:
            assert state == (TaskState.FAILED if mine.tries >= MAX_TRIES else TaskState.QUEUED)
        mine.ended = state in END_STATES

    @rule(task_id=tasks)
    def ask_to_cancel(self, task_id):
        mine = self.expected[task_id]
        if mine.ended:
            return
        self.do(cancel, task_id)
        mine.cancel = True
        mine.ended = mine.holder is None

    def write(self, claim: Claim, function, *args, **kwargs):
        """Write with a claim; a stale one must be told so. Returns None for those."""
        stands = self.expected[claim.task_id].holder == claim
        try:
            result = self.do(function, claim, *args, **kwargs)
        except LeaseLostError:
            assert not stands
            return None
        assert stands
        return result if result is not None else True

    @rule(claim=claimed)
    def renew(self, claim):
        cancelled = self.write(claim, claims.renew, 1000.0)
        if cancelled is not None:
            assert cancelled == self.expected[claim.task_id].cancel
            self.expected[claim.task_id].lapsed = False

    @rule(claim=claimed, state=st.sampled_from(RUNNING_STATES))
    def enter(self, claim, state):
        self.write(claim, claims.enter, state)

    @rule(claim=claimed, epoch=st.integers(1, 4), epoch_end=st.booleans())
    def report(self, claim, epoch, epoch_end):
        told = self.write(claim, claims.report, {"epoch": epoch}, epoch_end=epoch_end)
        mine = self.expected[claim.task_id]
        if told and epoch_end and epoch > mine.furthest:
            mine.furthest, mine.tries = epoch, 0

    @rule(claim=claimed)
    def retry(self, claim):
        state = self.write(claim, claims.retry, MAX_TRIES, LOST)
        if state is not None:
            self.lost(self.expected[claim.task_id], state)

    @rule(claim=claimed)
    def give_back(self, claim):
        state = self.write(claim, claims.give_back)
        if state is not None:
            mine = self.expected[claim.task_id]
            mine.holder, mine.lapsed = None, False
            mine.tries = max(mine.tries - 1, 0)
            assert state == (TaskState.CANCELLED if mine.cancel else TaskState.QUEUED)
            mine.ended = mine.cancel

    @rule(claim=consumes(claimed), state=st.sampled_from(END_STATES))
    def end(self, claim, state):
        if self.write(claim, claims.end, state) is not None:
            mine = self.expected[claim.task_id]
            mine.holder, mine.ended = None, True

    @invariant()
    def the_database_agrees(self):
        with read_session(self.engine) as session:
            rows = {task.id: task for task in session.scalars(select(Task))}
        for task_id, mine in self.expected.items():
            row = rows[task_id]
            assert (row.state in RUNNING_STATES) == (mine.holder is not None)
            assert (row.state in END_STATES) == mine.ended
            assert (row.lease_until is not None) == (mine.holder is not None)
            assert (row.finished_at is not None) == mine.ended
            assert 0 <= row.tries <= MAX_TRIES
            if not mine.ended:
                assert row.tries == mine.tries
            if mine.holder is not None:
                assert row.fence == mine.holder.fence

    @invariant()
    def one_step_a_model(self):
        with read_session(self.engine) as session:
            most = session.scalars(
                select(func.count()).where(Task.state.in_(RUNNING_STATES)).group_by(Task.model_id)
            ).all()
        assert max(most, default=0) <= 1


TestClaimMachine = ClaimMachine.TestCase
TestClaimMachine.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
