import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.inference.budget import FullError
from app.inference.lanes import ClosedError, Lanes, Load
from app.inference.measures import Stages
from app.inference.works import LeftError, Work
from tests.fixtures.examples import examples

WAIT = 20


class Record:
    """What was run; runs stand still while the gate is closed."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.alone: list[bool] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()


@dataclass(eq=False)
class Doubling:
    """A runner that doubles numbers."""

    record: Record
    most: int = 4
    failing: frozenset[int] = frozenset()
    seconds: float = 0.0

    def run(self, ready: Sequence[int], *, alone: bool, left: Callable[[], bool]) -> list[int]:
        self.record.batches.append(list(ready))
        self.record.alone.append(alone)
        self.record.entered.set()
        assert self.record.gate.wait(WAIT)
        time.sleep(self.seconds)
        if self.failing.intersection(ready):
            raise ValueError(f"{list(ready)}")
        return [2 * value for value in ready]


class Number(Work[int, int, int]):
    """A number that is to be doubled."""

    def __init__(self, runner: Doubling, value: int) -> None:
        super().__init__(runner)
        self.value = value

    def prepare(self) -> int:
        return self.value

    def finish(self, raw: int) -> int:
        return raw


@contextmanager
def opened(lanes: int = 1, places: int = 8) -> Iterator[Lanes]:
    made = Lanes(lanes, places=places)
    try:
        yield made
    finally:
        made.close()


def held_up(lanes: Lanes, runner: Doubling) -> "list[Future[int]]":
    """Put a number into a run on every lane, which do not end before the gate opens."""
    runner.record.gate.clear()
    first = []
    for _ in range(len(lanes)):
        runner.record.entered.clear()
        first.append(lanes.submit(Number(Doubling(runner.record), -1)))
        assert runner.record.entered.wait(WAIT)
    return first


def test_a_work_alone_is_run_at_once() -> None:
    runner = Doubling(Record())
    with opened() as lanes:
        assert lanes.submit(Number(runner, 21)).result(WAIT) == 42
        assert lanes.load == Load(runs=1, items=1, free=8)
        with lanes.reserve(3):
            assert lanes.load.free == 5
    assert runner.record.batches == [[21]]
    assert runner.record.alone == [True]


def test_what_waits_together_runs_together() -> None:
    runner = Doubling(Record(), most=4)
    with opened() as lanes:
        held_up(lanes, runner)
        answers = [lanes.submit(Number(runner, value)) for value in range(6)]
        runner.record.gate.set()
        assert [answer.result(WAIT) for answer in answers] == [0, 2, 4, 6, 8, 10]
    assert [len(batch) for batch in runner.record.batches] == [1, 4, 2]
    assert runner.record.alone == [True, False, False]


def test_lanes_run_side_by_side() -> None:
    runner = Doubling(Record())
    with opened(lanes=3) as lanes:
        running = held_up(lanes, runner)
        waiting = lanes.submit(Number(runner, 1))
        time.sleep(0.05)
        assert not waiting.done()
        assert runner.record.alone == [True, False, False]
        runner.record.gate.set()
        assert [one.result(WAIT) for one in (*running, waiting)] == [-2, -2, -2, 2]


def expected_batches(values: Sequence[tuple[int, int]], most: int) -> list[list[int]]:
    """The rule, written the slow way: the oldest, then its runner's next ones, up to `most`."""
    left, batches = list(values), []
    while left:
        batch = [one for one in left if one[0] == left[0][0]][:most]
        left = [one for one in left if one not in batch]
        batches.append([value for _, value in batch])
    return batches


@settings(max_examples=examples(150), deadline=None)
@given(
    kinds=st.lists(st.integers(0, 3), max_size=30),
    cancelled=st.sets(st.integers(0, 29)),
    failing=st.frozensets(st.integers(0, 29), max_size=3),
    most=st.integers(1, 6),
)
def test_batches_are_what_the_rule_says_and_everybody_gets_their_own(
    kinds: list[int], cancelled: set[int], failing: frozenset[int], most: int
) -> None:
    record = Record()
    runners = [Doubling(record, most, failing) for _ in range(4)]
    with opened() as lanes:
        (first,) = held_up(lanes, runners[0])
        answers = [lanes.submit(Number(runners[kind], i)) for i, kind in enumerate(kinds)]
        for value in cancelled & set(range(len(kinds))):
            assert answers[value].cancel()
        record.gate.set()
        assert first.result(WAIT) == -2
        for value, answer in enumerate(answers):
            if value in cancelled:
                with pytest.raises(CancelledError):
                    answer.result(WAIT)
            elif value in failing:
                with pytest.raises(ValueError, match=rf"^\[{value}\]$"):
                    answer.result(WAIT)
            else:
                assert answer.result(WAIT) == value * 2
    kept = [(kind, value) for value, kind in enumerate(kinds) if value not in cancelled]
    runs = [b for b in record.batches[1:] if len(b) > 1 or not _is_repeat(b, record.batches)]
    assert runs == expected_batches(kept, most)


def _is_repeat(batch: list[int], batches: list[list[int]]) -> bool:
    """Whether a single number runs again because its batch failed."""
    return any(len(b) > 1 and batch[0] in b for b in batches)


def test_many_threads_get_their_own_answers() -> None:
    record = Record()
    runners = [Doubling(record, most=5, seconds=0.0002) for _ in range(3)]
    with opened(lanes=3) as lanes, ThreadPoolExecutor(16) as pool:

        def ask(value: int) -> bool:
            return lanes.submit(Number(runners[value % 3], value)).result(WAIT) == value * 2

        assert all(pool.map(ask, range(3000)))
        assert lanes.load.items == 3000
    assert sorted(value for batch in record.batches for value in batch) == list(range(3000))
    assert all(len({value % 3 for value in batch}) == 1 for batch in record.batches)
    assert max(map(len, record.batches)) > 1


def test_a_rare_runner_is_not_overtaken() -> None:
    record = Record()
    busy, rare = Doubling(record, most=2), Doubling(record)
    with opened() as lanes:
        held_up(lanes, busy)
        values = [*range(6), 100, *range(6, 12)]
        answers = [lanes.submit(Number(rare if v == 100 else busy, v)) for v in values]
        record.gate.set()
        for answer in answers:
            answer.result(WAIT)
    assert record.batches[1:] == [[0, 1], [2, 3], [4, 5], [100], [6, 7], [8, 9], [10, 11]]


def test_a_free_lane_leaves_the_others_their_share() -> None:
    record = Record()
    runner = Doubling(record, most=8)
    with opened(lanes=2) as lanes:
        first = held_up(lanes, runner)
        waiting = [lanes.submit(Number(runner, value)) for value in range(6)]
        record.gate.set()
        for answer in (*first, *waiting):
            answer.result(WAIT)
    # Whichever lane came first, the other was busy: six at most. Of two that are free, three each.
    assert sum(map(len, record.batches[2:])) == 6
    with opened(lanes=3) as lanes, lanes._changed:
        for value in range(7):
            lanes.submit(Number(runner, value))
        assert len(lanes._batch()) == 3
        lanes._busy = 2
        assert len(lanes._batch()) == 4


def test_who_is_cancelled_while_he_waits_is_held_no_longer() -> None:
    runner = Doubling(Record())
    with opened() as lanes:
        held_up(lanes, runner)
        work = Number(runner, 1)
        gone = weakref.ref(work)
        assert lanes.submit(work).cancel()
        del work
        gc.collect()
        assert gone() is None
        runner.record.gate.set()


def test_a_long_run_is_told_that_everybody_has_left() -> None:
    class Asking(Doubling):
        def run(self, ready: Sequence[int], *, alone: bool, left: Callable[[], bool]) -> list[int]:
            self.record.entered.set()
            assert self.record.gate.wait(WAIT)
            if left():
                raise LeftError
            return [2 * value for value in ready]

    runner = Asking(Record(), most=2)
    with opened() as lanes:
        (first,) = held_up(lanes, Doubling(runner.record))
        works = [Number(runner, value) for value in range(2)]
        answers = [lanes.submit(work) for work in works]
        works[0].leave()
        runner.record.gate.set()
        assert first.result(WAIT) == -2
        assert answers[1].result(WAIT) == 2  # somebody waits
        runner.record.gate.clear()
        runner.record.entered.clear()
        alone = Number(runner, 3)
        answer = lanes.submit(alone)
        assert runner.record.entered.wait(WAIT)
        alone.leave()
        runner.record.gate.set()
        with pytest.raises(LeftError):
            answer.result(WAIT)


def test_a_failure_reaches_only_who_is_at_fault() -> None:
    runner = Doubling(Record(), failing=frozenset({1}))
    with opened() as lanes:
        held_up(lanes, runner)
        answers = [lanes.submit(Number(runner, value)) for value in range(3)]
        runner.record.gate.set()
        assert answers[0].result(WAIT) == 0
        assert answers[2].result(WAIT) == 4
        with pytest.raises(ValueError, match=r"\[1\]"):
            answers[1].result(WAIT)
        assert lanes.submit(Number(runner, 5)).result(WAIT) == 10


@pytest.mark.parametrize("stage", ["prepare", "finish", "measured", "ran"])
def test_a_stage_that_fails_fails_its_own_work_and_no_lane(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise KeyError(stage)

    runner = Doubling(Record())
    with opened() as lanes:
        held_up(lanes, runner)
        works = [Number(runner, value) for value in range(3)]
        monkeypatch.setattr(works[1], stage, fail)
        answers = [lanes.submit(work) for work in works]
        runner.record.gate.set()
        assert answers[0].result(WAIT) == 0
        assert answers[2].result(WAIT) == 4
        if stage in ("prepare", "finish"):
            with pytest.raises(KeyError, match=stage):
                answers[1].result(WAIT)
        else:  # whatever its figures, its answer is good
            assert answers[1].result(WAIT) == 2
        assert lanes.submit(Number(runner, 5)).result(WAIT) == 10


@pytest.mark.parametrize("stage", ["prepare", "finish", "run"])
def test_what_ends_threads_ends_no_lane(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(*_: object, **__: object) -> int:
        raise SystemExit(3)

    runner = Doubling(Record())
    work = Number(runner, 1)
    with opened() as lanes:
        with monkeypatch.context() as patch:
            patch.setattr(runner if stage == "run" else work, stage, leave)
            with pytest.raises(RuntimeError, match="SystemExit"):
                lanes.submit(work).result(WAIT)
        assert lanes.submit(Number(runner, 5)).result(WAIT) == 10


def test_too_few_results_are_a_failure_and_no_mix_up(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Doubling(Record())
    monkeypatch.setattr(runner, "run", lambda ready, alone, left: [])
    with opened() as lanes, pytest.raises(ValueError, match="zip"):
        lanes.submit(Number(runner, 1)).result(WAIT)


def test_who_left_while_their_work_was_prepared_is_not_run_for() -> None:
    class Leaving(Number):
        def prepare(self) -> int:
            self.leave()
            return self.value

    runner = Doubling(Record())
    with opened() as lanes:
        with pytest.raises(LeftError):
            lanes.submit(Leaving(runner, 1)).result(WAIT)
        assert lanes.submit(Number(runner, 2)).result(WAIT) == 4
    assert runner.record.batches == [[2]]


def test_every_stage_is_timed() -> None:
    told: list[Stages] = []

    class Slow(Number):
        def prepare(self) -> int:
            time.sleep(0.01)
            return self.value

        def finish(self, raw: int) -> int:
            time.sleep(0.03)
            return raw

        def measured(self, stages: Stages) -> None:
            told.append(stages)

    runner = Doubling(Record(), most=2, seconds=0.02)
    with opened() as lanes:
        for answer in [lanes.submit(Slow(runner, value)) for value in range(2)]:
            answer.result(WAIT)
    for stages in told:
        assert stages.input >= 0.01
        assert stages.infer >= 0.02
        assert stages.output >= 0.03
    assert len(told) == 2


def test_places_are_taken_all_or_none_and_given_back() -> None:
    with opened(places=3) as lanes:
        with lanes.reserve(2):
            with pytest.raises(FullError), lanes.reserve(2):
                pass
            with lanes.reserve(1), pytest.raises(FullError), lanes.reserve(1):
                pass
        with pytest.raises(KeyError), lanes.reserve(3):
            raise KeyError
        with lanes.reserve(3):
            pass


def test_places_are_never_more_than_there_are() -> None:
    taken = 0
    most = 0
    lock = threading.Lock()

    def visit(items: int) -> bool:
        nonlocal taken, most
        try:
            with lanes.reserve(items):
                with lock:
                    taken += items
                    most = max(most, taken)
                time.sleep(0.0005)
                with lock:
                    taken -= items
        except FullError:
            return False
        return True

    with opened(places=5) as lanes, ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(visit, [1, 2, 3] * 200))
    assert True in outcomes
    assert False in outcomes
    assert 1 < most <= 5


@pytest.mark.parametrize("number", [1, 3])
def test_closing_finishes_the_runs_and_refuses_the_rest(number: int) -> None:
    runner = Doubling(Record())
    with opened(lanes=number) as lanes:
        running = held_up(lanes, runner)
        waiting = lanes.submit(Number(runner, 1))
        dropped = lanes.submit(Number(runner, 2))
        dropped.cancel()
        closing = threading.Thread(target=lanes.close)
        closing.start()
        time.sleep(0.05)
        runner.record.gate.set()
        closing.join(WAIT)
        assert [one.result(WAIT) for one in running] == [-2] * number
        with pytest.raises(ClosedError):
            waiting.result(WAIT)
        with pytest.raises(ClosedError):
            lanes.submit(Number(runner, 3))


def test_an_idle_lane_holds_nobodys_pictures() -> None:
    with opened() as lanes:
        work = Number(Doubling(Record()), 1)
        gone = weakref.ref(work)
        assert lanes.submit(work).result(WAIT) == 2
        del work
        deadline = time.monotonic() + WAIT
        while gone() is not None and time.monotonic() < deadline:
            gc.collect()
            time.sleep(0.01)
        assert gone() is None
