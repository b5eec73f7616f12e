"""A simulated year: nothing gets lost in it, and where theory knows the answer it agrees."""

import json
import math
from collections import OrderedDict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmarks import simulate
from benchmarks.simulated_company import DAY, WORK_BEGINS, WORK_ENDS, Kind, Post, posts, swing
from benchmarks.simulated_inputs import (
    Assumptions,
    Measured,
    Rules,
    described,
    measured,
    with_changes,
)
from benchmarks.simulated_page import replace_tables
from benchmarks.simulated_tasks import Account, End, Outage, Task
from benchmarks.simulated_traffic import (
    fleet,
    lru_misses,
    mean_wait,
    refused,
    traffic,
    waits_at_all,
)
from benchmarks.simulated_workers import Year

pytestmark = pytest.mark.slow  # the command tells its commit beside torch's benchmarks

DOCS = Path(__file__).parents[2] / "docs"
RULES = Rules()
NEVER = 1e9
QUIET = Assumptions(gpus=1, gpu_hours_between_losses=NEVER, gpu_boot_seconds=0)


@pytest.fixture(scope="module")
def seen() -> Measured:
    return measured(DOCS / "results")


def post(
    at: float, model: int, *, owner: int = 0, epoch: float = 10, epochs: int = 1, before: float = 0
) -> Post:
    return Post(at, owner, model, Kind.SATS, 1, before, epoch, epochs, 0.0, 1e6)


def passed(
    posted: list[Post], assumed: Assumptions, days: float = 1, outage: Outage | None = None
) -> Account:
    return Year(posted, days, 0, assumed, RULES, outage).run()


def waits(account: Account) -> list[float]:
    return [(task.claimed_at or math.inf) - task.post.at for task in account.tasks]


def work_done(task: Task) -> float:
    if task.end in (End.LIVE, End.HELD):
        return task.post.work
    return task.kept * task.post.epoch


@given(
    seed=st.integers(0, 99),
    models=st.integers(1, 6),
    annotators=st.integers(1, 5),
    gpus=st.integers(1, 4),
    speed=st.floats(0.2, 20),
    hours=st.floats(0.2, 100),
    region=st.sampled_from([None, 0, 1]),
    lasts=st.floats(1, 40_000),
)
def test_every_task_ends_or_waits_and_work_is_useful_or_lost(
    seen: Measured,
    seed: int,
    models: int,
    annotators: int,
    gpus: int,
    speed: float,
    hours: float,
    region: int | None,
    lasts: float,
) -> None:
    assumed = Assumptions(
        models=models,
        annotators=annotators,
        gpus=gpus,
        gpu_speed=speed,
        gpu_hours_between_losses=hours,
        tasks_a_day=4,
        rebuilds_a_year=100,
    )
    posted = posts(seed, 3, assumed, seen, RULES)
    outage = None if region is None else Outage(region, 1.4 * DAY, 1.4 * DAY + lasts)
    account = Year(posted, 3, seed, assumed, RULES, outage).run()

    assert [task.post for task in account.tasks] == posted
    for task in account.tasks:
        ended = task.end in (End.LIVE, End.HELD, End.FAILED)
        assert ended == (task.ended_at is not None)
        assert task.end != End.FAILED or task.tries >= RULES.max_tries
        assert 0 <= task.kept <= task.furthest <= task.post.epochs
        if ended:
            assert task.claimed_at is not None
            assert task.ended_at is not None
            assert task.post.at <= task.claimed_at < task.ended_at
    worked = sum(workers * length for workers, length in account.busy.items())
    assert worked == pytest.approx(account.useful + account.lost + account.in_hand)
    assert account.useful == pytest.approx(sum(map(work_done, account.tasks)))
    assert worked <= account.paid + 1e-6 <= gpus * 3 * DAY + 1
    assert sum(account.busy.values()) == pytest.approx(3 * DAY)
    assert len(account.resumed_after) <= account.tries_lost
    for model in range(models):
        own = [task for task in account.tasks if task.post.model == model]
        for before, after in pairwise(own):
            if after.claimed_at is not None:
                assert before.ended_at is not None, "steps of a model run one after another"
                assert before.ended_at <= after.claimed_at


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("spread", [0, 1])
def test_waits_are_those_of_a_queue_that_is_known(workers: int, spread: int) -> None:
    rng, at, posted = Random(1), 0.0, []
    for number in range(40_000):
        at += rng.expovariate(0.07 * workers)  # each worker is busy for 0.7 of the time
        takes = 10 * rng.expovariate(1) if spread else 10.0
        posted.append(post(at, number, owner=number % 7, epoch=takes))
    account = passed(posted, replace(QUIET, gpus=workers), days=at / DAY + 1)
    found = waits(account)
    load = 0.7 * workers
    expected = waits_at_all(workers, load) * mean_wait(workers, load, 10, spread)
    assert sum(found) / len(found) == pytest.approx(expected, rel=0.1)


def test_the_formulas_are_those_of_the_books() -> None:
    assert waits_at_all(1, 0.6) == pytest.approx(0.6)
    assert waits_at_all(2, 1.0) == pytest.approx(1 / 3)
    assert mean_wait(1, 0.5, 1, 1) == pytest.approx(2.0)  # M/M/1: 1 / (1 - load)
    assert mean_wait(1, 0.5, 1, 0) == pytest.approx(1.0)  # M/D/1: half of it
    assert refused(1, 0, 2.0) == pytest.approx(2 / 3)  # Erlang's B
    assert refused(1, 3, 1.0) == pytest.approx(1 / 5)  # M/M/1/4, all states alike
    assert refused(2, 64, 4.0) == pytest.approx(1 / 2)  # twice what is borne


def test_one_worker_that_is_never_lost_loses_nothing(seen: Measured) -> None:
    assumed = replace(QUIET, models=5, annotators=3)
    posted = posts(0, 28, assumed, seen, RULES)
    account = passed(posted, assumed, days=29)
    assert (account.lost, account.tries_lost, account.vanished, account.in_hand) == (0, 0, 0, 0)
    assert account.useful == pytest.approx(sum(one.work for one in posted))
    assert {task.end for task in account.tasks} == {End.LIVE, End.HELD}
    assert all(task.tries == 1 for task in account.tasks)


@pytest.mark.parametrize("region", [0, 1])
def test_a_region_that_is_down_for_an_hour_loses_no_task(region: int) -> None:
    # Something runs on every worker as the region goes, and something is posted meanwhile.
    posted = [post(3000, model, epoch=30, epochs=60, before=20) for model in range(4)]
    posted += [post(5000, model, epoch=30, epochs=60) for model in range(4, 8)]
    outage = Outage(region, 3600, 7200)
    account = passed(posted, replace(QUIET, gpus=4), outage=outage)
    assert {task.end for task in account.tasks} <= {End.LIVE, End.HELD}
    assert account.vanished == 2
    assert account.tries_lost == (4 if region == 0 else 2), "without the database all stop"
    assert account.posts_delayed == (4 if region == 0 else 0)
    if region == 0:
        assert min(account.resumed_after) > 3600 - RULES.lease
        assert all((task.claimed_at or 0) >= 7200 for task in account.tasks[4:])


def test_a_database_that_is_back_before_leases_run_out_costs_the_others_a_moment() -> None:
    posted = [post(0, model, epoch=3605) for model in range(2)]
    outage = Outage(0, 3600, 3600 + RULES.lease / 3)
    account = passed(posted, replace(QUIET, gpus=2), outage=outage)
    assert {task.end for task in account.tasks} <= {End.LIVE, End.HELD}
    assert min(task.ended_at or 0 for task in account.tasks) == outage.ends
    assert account.tries_lost == 1, "of the worker beside the database"
    assert account.lost == pytest.approx(3600 + outage.ends - 3605)


def test_a_task_that_nobody_works_at_is_soon_taken_up_from_its_checkpoint() -> None:
    posted = [post(0, 0, epoch=7, epochs=12_000, before=20)]
    account = passed(posted, replace(QUIET, gpus=4, gpu_hours_between_losses=1), days=2)
    assert account.tries_lost > 5
    assert account.tasks[0].end in (End.LIVE, End.HELD)
    lease = RULES.lease
    assert all(
        lease - RULES.heartbeat <= one <= lease + RULES.sweep for one in account.resumed_after
    )
    most = 20 + RULES.checkpoint_seconds + 7
    assert 0 < account.lost <= account.tries_lost * most


def test_three_tries_without_an_epoch_and_a_task_fails() -> None:
    posted = [post(0, 0, epoch=1, epochs=5, before=1e6), post(1, 0)]
    account = passed(posted, replace(QUIET, gpu_hours_between_losses=1), days=3)
    first, second = account.tasks
    assert (first.end, first.tries) == (End.FAILED, RULES.max_tries)
    assert second.end in (End.LIVE, End.HELD)
    assert account.useful == pytest.approx(10)


def test_owners_take_turns_whoever_posts_how_much() -> None:
    posted = [post(0, model, owner=0) for model in range(100)]
    posted.append(post(15, 100, owner=1))
    account = passed(posted, QUIET)
    assert waits(account)[-1] == pytest.approx(5)  # until the one that runs has ended


def test_the_seed_decides_everything(seen: Measured) -> None:
    assumed = Assumptions(gpu_hours_between_losses=1)
    first, again, other = (simulate.year_of(seed, 14, assumed, seen, RULES) for seed in (3, 3, 4))
    assert [vars(task) for task in first.tasks] == [vars(task) for task in again.tasks]
    assert (first.lost, first.paid, first.busy) == (again.lost, again.paid, again.busy)
    assert (first.lost, first.paid) != (other.lost, other.paid)


def test_annotators_post_while_they_work(seen: Measured) -> None:
    posted = posts(0, 70, Assumptions(rebuilds_a_year=0), seen, RULES)
    assert all(WORK_BEGINS <= one.at % DAY <= WORK_ENDS for one in posted)
    assert {int(one.at / DAY) % 7 for one in posted} == {0, 1, 2, 3, 4}
    assert len(posted) == pytest.approx(40 * 50, rel=0.1)  # one a working day
    assert sorted(one.at for one in posted) == [one.at for one in posted]
    late = sum(one.at % DAY >= WORK_ENDS - 1800 for one in posted) / len(posted)
    assert late == pytest.approx(0.3 + 0.7 / 16, abs=0.05)
    assert sum(swing(Assumptions())) == pytest.approx(24)


@given(rates=st.lists(st.floats(0.01, 10), min_size=1, max_size=20), share=st.floats(0.05, 2))
def test_a_cache_misses_less_than_it_is_asked_and_nothing_where_all_fits(
    rates: list[float], share: float
) -> None:
    missed = lru_misses([2.0] * len(rates), rates, 2 * len(rates) * share)
    assert all(0 <= miss <= rate for miss, rate in zip(missed, rates, strict=True))
    assert (sum(missed) == 0) == (share >= 1)


def test_what_nobody_asks_for_is_never_missed(seen: Measured) -> None:
    assert lru_misses([2.0, 2.0], [0.0, 0.0], 1.0) == [0.0, 0.0]
    none = traffic(Assumptions(named_share=0), seen, RULES)
    assert (none.graph_misses, none.named_fetches, none.loader_use) == (0, 0, 0)


def test_cache_misses_are_those_of_a_cache() -> None:
    rates = [1 / rank for rank in range(1, 201)]
    cache: OrderedDict[int, None] = OrderedDict()
    missed, asks = 0, 60_000
    for item in Random(0).choices(range(200), rates, k=asks):
        missed += item not in cache
        cache[item] = None
        cache.move_to_end(item)
        if len(cache) > 40:
            cache.popitem(last=False)
    expected = sum(lru_misses([1.0] * 200, rates, 40)) / sum(rates)
    assert missed / asks == pytest.approx(expected, rel=0.03)


def test_more_requests_take_more_replicas_and_more_models_more_memory(seen: Measured) -> None:
    one = traffic(Assumptions(), seen, RULES)
    more = traffic(Assumptions(requests_a_second=4000), seen, RULES)
    assert more.replicas == pytest.approx(2 * one.replicas, abs=2)
    assert more.process_bytes == one.process_bytes
    keys = traffic(Assumptions(keys=600), seen, RULES)
    assert 1 > keys.key_questions_share > one.key_questions_share > 0
    models = traffic(Assumptions(models=400), seen, RULES)
    assert models.live_bytes == pytest.approx(2 * one.live_bytes)
    assert models.start_seconds > 1.9 * one.start_seconds
    assert 0 < one.wait_p50 + one.wait_p99 < one.wait_p999 * 2
    # What is bought bears the busiest hour, at the share of use that it was bought for.
    bears = one.replicas * 2 / one.answer_seconds
    assert 0.6 < one.peak / bears <= 0.7
    assert fleet(Assumptions(large_share=0), seen) < one.replicas


def test_measured_figures_are_read_and_each_says_where_it_stands(
    seen: Measured, tmp_path: Path
) -> None:
    for one in described(seen).values():
        name = one["source"].partition(":")[0]
        assert (DOCS / "results" / name).exists()
        assert one["value"] > 0
    with pytest.raises(FileNotFoundError):
        measured(tmp_path)


def test_assumptions_all_have_a_reason_and_can_be_changed() -> None:
    assert all(len(one["why"]) > 5 for one in described(Assumptions()).values())
    assert with_changes(Assumptions(), {"gpus": 3}).gpus == 3
    with pytest.raises(ValueError, match="no assumption is called cats"):
        with_changes(Assumptions(), {"cats": 3})
    for wrong in (-1, math.inf, math.nan, 0):
        with pytest.raises(ValueError, match="gpus cannot be"):
            with_changes(Assumptions(), {"gpus": wrong})


def test_the_command_writes_a_record_and_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        simulate, "SCENARIOS", {**simulate.SCENARIOS, "none down": {"outage_hours": 0}}
    )
    (tmp_path / "results").mkdir()
    asked = ["--days", "7", "--seeds", "0,1", "--results", str(tmp_path / "results")]
    asked += ["--inputs", str(DOCS / "results"), "--page", str(DOCS / "scale.md")]
    app = simulate.typer.Typer()
    app.command()(simulate.main)
    result = CliRunner().invoke(app, [*asked, "--assume", "keys=7"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "results" / "simulation.json").read_text())
    assert record["inputs"]["assumptions"]["keys"]["value"] == 7
    assert record["command"].endswith("--seeds 0,1 --days 7 --assume keys=7")
    assert record["scenarios"].keys() == simulate.SCENARIOS.keys()
    for one in record["scenarios"].values():
        tasks, ends = one["year"]["tasks"]["mean"], (str(end) for end in End)
        assert tasks == pytest.approx(sum(one["year"][end]["mean"] for end in ends))
    page = (tmp_path / "scale.md").read_text()
    assert "| `keys` | 7 |" in page
    assert replace_tables(page, record) == page

    for wrong in ("cats=1", "gpus=many", "gpus", "gpus=0", "api_use=1"):
        result = CliRunner().invoke(app, [*asked, "--assume", wrong])
        assert result.exit_code == 2, wrong


def test_the_page_says_what_the_record_says() -> None:
    page = (DOCS / "scale.md").read_text()
    record = json.loads((DOCS / "results" / "simulation.json").read_text())
    assert replace_tables(page, record) == page, "run `python -m benchmarks.simulate`"
    assert record["command"].startswith("python -m benchmarks.simulate --seeds 0,1,2,3,4")
    assert record["inputs"]["assumptions"] == described(Assumptions())
    assert record["scenarios"].keys() == simulate.SCENARIOS.keys()
    with pytest.raises(ValueError, match="0 places for the table short"):
        replace_tables("", record)
