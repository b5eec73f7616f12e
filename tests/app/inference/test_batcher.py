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

from app.inference.batcher import Batcher, ClosedError, Load
from app.inference.budget import FullError

WAIT = 20


@dataclass(frozen=True)
class Item:
    key: int
    value: int
    fails: bool = False


class Runner:
    """Runs batches and keeps a record; stands still while its gate is closed."""

    def __init__(self) -> None:
        self.batches: list[list[Item]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def __call__(self, items: Sequence[Item]) -> list[int]:
        self.batches.append(list(items))
        self.entered.set()
        assert self.gate.wait(WAIT)
        if any(item.fails for item in items):
            raise ValueError(f"{[item.value for item in items]}")
        return [item.value * 2 for item in items]


@contextmanager
def batching(
    run: Callable[[Sequence[Item]], Sequence[int]], most: int = 4, places: int = 8
) -> Iterator[Batcher[Item, int]]:
    batcher: Batcher[Item, int] = Batcher(run, lambda i: i.key, most=most, places=places)
    try:
        yield batcher
    finally:
        batcher.close()


def held_up(batcher: Batcher[Item, int], runner: Runner) -> "Future[int]":
    """Put an item into a run that does not end before the gate opens."""
    runner.gate.clear()
    runner.entered.clear()
    first = batcher.submit(Item(-1, -1))
    assert runner.entered.wait(WAIT)
    return first


def test_an_item_alone_is_run_at_once() -> None:
    runner = Runner()
    with batching(runner) as batcher:
        assert batcher.submit(Item(0, 21)).result(WAIT) == 42
        assert batcher.load == Load(batches=1, items=1, free=8)
        with batcher.reserve(3):
            assert batcher.load.free == 5
    assert runner.batches == [[Item(0, 21)]]


def test_what_waits_together_runs_together() -> None:
    runner = Runner()
    with batching(runner, most=4) as batcher:
        held_up(batcher, runner)
        answers = [batcher.submit(Item(0, v)) for v in range(6)]
        runner.gate.set()
        assert [answer.result(WAIT) for answer in answers] == [0, 2, 4, 6, 8, 10]
    assert [len(batch) for batch in runner.batches] == [1, 4, 2]


def expected_batches(items: Sequence[Item], most: int) -> list[list[Item]]:
    """The rule, written the slow way: the oldest, then its key's next ones, up to `most`."""
    left, batches = list(items), []
    while left:
        batch = [item for item in left if item.key == left[0].key][:most]
        left = [item for item in left if item not in batch]
        batches.append(batch)
    return batches


@settings(max_examples=150, deadline=None)
@given(
    keys=st.lists(st.integers(0, 3), max_size=30),
    cancelled=st.sets(st.integers(0, 29)),
    failing=st.sets(st.integers(0, 29), max_size=3),
    most=st.integers(1, 6),
)
def test_batches_are_what_the_rule_says_and_everybody_gets_their_own(
    keys: list[int], cancelled: set[int], failing: set[int], most: int
) -> None:
    runner = Runner()
    items = [Item(key, value, value in failing) for value, key in enumerate(keys)]
    with batching(runner, most) as batcher:
        first = held_up(batcher, runner)
        answers = [batcher.submit(item) for item in items]
        for value in cancelled & set(range(len(items))):
            assert answers[value].cancel()
        runner.gate.set()
        assert first.result(WAIT) == -2
        for item, answer in zip(items, answers, strict=True):
            if item.value in cancelled:
                with pytest.raises(CancelledError):
                    answer.result(WAIT)
            elif item.fails:
                with pytest.raises(ValueError, match=rf"^\[{item.value}\]$"):
                    answer.result(WAIT)
            else:
                assert answer.result(WAIT) == item.value * 2
    kept = [item for item in items if item.value not in cancelled]
    first_runs = [b for b in runner.batches[1:] if len(b) > 1 or not _is_repeat(b, runner.batches)]
    assert first_runs == expected_batches(kept, most)


def _is_repeat(batch: list[Item], batches: list[list[Item]]) -> bool:
    """Whether a single item runs again because its batch failed."""
    return any(len(b) > 1 and batch[0] in b for b in batches)


def test_many_threads_get_their_own_answers() -> None:
    sizes: list[int] = []

    def run(items: Sequence[Item]) -> list[int]:
        assert len({item.key for item in items}) == 1
        sizes.append(len(items))
        time.sleep(0.0002)
        return [item.value * 2 for item in items]

    with batching(run, most=5) as batcher, ThreadPoolExecutor(16) as pool:

        def ask(value: int) -> bool:
            return batcher.submit(Item(value % 3, value)).result(WAIT) == value * 2

        assert all(pool.map(ask, range(3000)))
    assert sum(sizes) == 3000
    assert max(sizes) > 1


def test_a_rare_key_is_not_starved_by_a_busy_one() -> None:
    stop = threading.Event()

    def run(items: Sequence[Item]) -> list[int]:
        time.sleep(0.002)
        return [item.value for item in items]

    with batching(run, most=2) as batcher:

        def flood() -> None:
            while not stop.is_set():
                for answer in [batcher.submit(Item(0, v)) for v in range(8)]:
                    answer.result(WAIT)

        threads = [threading.Thread(target=flood) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                started = time.monotonic()
                batcher.submit(Item(1, 1)).result(WAIT)
                assert time.monotonic() - started < 5
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def test_a_failure_reaches_only_who_is_at_fault() -> None:
    runner = Runner()
    with batching(runner) as batcher:
        held_up(batcher, runner)
        answers = [batcher.submit(Item(0, v, fails=v == 1)) for v in range(3)]
        runner.gate.set()
        assert answers[0].result(WAIT) == 0
        assert answers[2].result(WAIT) == 4
        with pytest.raises(ValueError, match=r"\[1\]"):
            answers[1].result(WAIT)
        assert batcher.submit(Item(0, 5)).result(WAIT) == 10


def test_too_few_results_are_a_failure_and_no_mix_up() -> None:
    with batching(lambda items: []) as batcher, pytest.raises(ValueError, match="zip"):
        batcher.submit(Item(0, 1)).result(WAIT)


def test_places_are_taken_all_or_none_and_given_back() -> None:
    with batching(Runner(), places=3) as batcher:
        with batcher.reserve(2):
            with pytest.raises(FullError), batcher.reserve(2):
                pass
            with batcher.reserve(1), pytest.raises(FullError), batcher.reserve(1):
                pass
        with pytest.raises(KeyError), batcher.reserve(3):
            raise KeyError
        with batcher.reserve(3):
            pass


def test_places_are_never_more_than_there_are() -> None:
    taken = 0
    most = 0
    lock = threading.Lock()

    def visit(items: int) -> bool:
        nonlocal taken, most
        try:
            with batcher.reserve(items):
                with lock:
                    taken += items
                    most = max(most, taken)
                time.sleep(0.0005)
                with lock:
                    taken -= items
        except FullError:
            return False
        return True

    with batching(Runner(), places=5) as batcher, ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(visit, [1, 2, 3] * 200))
    assert True in outcomes
    assert False in outcomes
    assert 1 < most <= 5


def test_closing_finishes_the_run_and_refuses_the_rest() -> None:
    runner = Runner()
    with batching(runner) as batcher:
        running = held_up(batcher, runner)
        waiting = batcher.submit(Item(0, 1))
        dropped = batcher.submit(Item(0, 2))
        dropped.cancel()
        closing = threading.Thread(target=batcher.close)
        closing.start()
        time.sleep(0.05)
        runner.gate.set()
        closing.join(WAIT)
        assert running.result(WAIT) == -2
        with pytest.raises(ClosedError):
            waiting.result(WAIT)
        with pytest.raises(ClosedError):
            batcher.submit(Item(0, 3))


def test_an_idle_batcher_holds_nobodys_pictures() -> None:
    class Picture:
        pass

    batcher: Batcher[Picture, int] = Batcher(
        lambda items: [1] * len(items), lambda _: 0, most=2, places=2
    )
    try:
        picture = Picture()
        gone = weakref.ref(picture)
        assert batcher.submit(picture).result(WAIT) == 1
        del picture
        deadline = time.monotonic() + WAIT
        while gone() is not None and time.monotonic() < deadline:
            gc.collect()
            time.sleep(0.01)
        assert gone() is None
    finally:
        batcher.close()
