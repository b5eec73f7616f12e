"""Which task a worker takes next: of any queue the one that the rule, written down again, says.

`test_turns` holds what the rule is for; this one holds every word of it.
"""

from typing import Any, NamedTuple

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.db import TaskState, write_session
from app.workers.needs import Needs, Resources
from tests.fixtures.examples import examples
from tests.worker.test_turns import CPU, GPU, OWNERS, WORKERS, add, add_keys, take
from worker import claim as claims
from worker.turns import next_task


class Posted(NamedTuple):
    """What somebody posts; None: the spec does not say."""

    model: str = "a"
    owner: int | None = None
    priority: int | None = None
    device: str | None = None
    memory: int | None = None

    @property
    def spec(self) -> dict[str, Any]:
        said = {"priority": self.priority, "device": self.device, "min_memory_mib": self.memory}
        return {name: value for name, value in said.items() if value is not None}


class Look(NamedTuple):
    """A worker looks for a task; whether the one it takes ends before the next look."""

    has: Resources
    ends: bool = True


class Rule:
    """The queue, and whom workers of each pool served when."""

    def __init__(self, queue: list[Posted]) -> None:
        self.queue = queue
        self.waits = list(range(len(queue)))
        self.busy: set[str] = set()  # models of which a task runs
        self.turns: list[tuple[int | None, str]] = []  # owner and pool, the last one at the end

    def next(self, has: Resources) -> int | None:
        """Return the place of the task that is taken next."""
        models = set(self.busy)
        free = []
        for place in self.waits:
            one = self.queue[place]
            if one.model not in models and Needs.of(one.spec).met_by(has):
                free.append((self.turn(one, has), one.owner or 0, -(one.priority or 0), place))
            models.add(one.model)
        return min(free)[-1] if free else None

    def turn(self, one: Posted, has: Resources) -> int:
        """Return when its owner was served last; 0: never."""
        served = [n for n, turn in enumerate(self.turns, 1) if turn == (one.owner, has.pool)]
        return max(served, default=0)

    def take(self, place: int, look: Look) -> None:
        """Write down that a task was taken."""
        one = self.queue[place]
        self.waits.remove(place)
        self.turns.append((one.owner, look.has.pool))
        if not look.ends:
            self.busy.add(one.model)


POSTED = st.builds(
    Posted,
    model=st.sampled_from("abcd"),
    owner=st.sampled_from(OWNERS),
    priority=st.sampled_from([None, -1, 0, 1]),
    device=st.sampled_from([None, "any", "cpu", "cuda"]),
    memory=st.sampled_from([None, 8_001, 60_000]),
)
LOOKS = st.builds(Look, st.sampled_from(WORKERS), st.booleans())
TWO = [Look(CPU)] * 2


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(POSTED, min_size=1, max_size=8), st.lists(LOOKS, min_size=1, max_size=8))
@example([Posted("a", 2, 1), Posted("b", 1, -1)], TWO)
@example([Posted("a", 2), Posted("b", 1)], TWO)
@example([Posted("a", 1, -1), Posted("b", 1)], TWO)
@example([Posted("a", 1), Posted("b", 1, 1)], TWO)
@example([Posted("a", 1), Posted("b", 1), Posted("c", 2)], TWO)
@example([Posted("a", 1), Posted("b", 1)], TWO)
@example([Posted("a"), Posted("a")], [Look(CPU, ends=False), Look(CPU)])
@example([Posted("a", device="cuda"), Posted("b", memory=60_000)], [Look(CPU), Look(GPU)])
def test_a_worker_takes_what_the_rule_says(engine, queue, looks):
    rule = Rule(queue)
    with write_session(engine) as session:
        add_keys(session)
        ids = [add(session, one.model, one.owner, **one.spec) for one in queue]
        session.expunge_all()  # a worker has only just come
        for look in looks:
            place = rule.next(look.has)
            task_id = None if place is None else ids[place]
            assert next_task(session, look.has) == task_id
            taken = take(session, look.has)
            assert (taken and taken.task_id) == task_id
            if taken is not None and place is not None:
                rule.take(place, look)
                if look.ends:
                    claims.end(session, taken, TaskState.HELD)
        session.rollback()
