"""What turns come to: ratios inside a round, bars that hide nothing, the page."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer import BadParameter

from benchmarks.serving_bars import CLIENTS, NOT_MEASURED, at_least, at_most, bars, bars_of
from benchmarks.serving_client import LOST, Report
from benchmarks.serving_contestants import (
    BENTOML,
    KEYED,
    LIMIT,
    LITSERVE,
    OURS,
    PLAIN,
    TORCH,
    workers_name,
)
from benchmarks.serving_operations import judged_moves
from benchmarks.serving_pipeline import Setup
from benchmarks.serving_plots import write_plots
from benchmarks.serving_record import begun, keep, main
from benchmarks.serving_report import page, plot_name
from benchmarks.serving_rounds import Setups, counted, names_of, quantile, ratios, summary

RESULTS = Path(__file__).parents[2] / "docs" / "results"
MACHINE = {
    "commit": "abc",
    "hardware": "a processor",
    "processors": 2,
    "load_average": 0.1,
    "packages": {"torch": "2"},
}
EVERYBODY = {LIMIT: 10.0, OURS: 9.5, KEYED: 9.4, LITSERVE: 7, BENTOML: 6, PLAIN: 9, TORCH: 4}


def turn(name: str, number: int, clients: int, per_second: float, **more: Any) -> dict[str, Any]:
    plain = {"p50_ms": 100.0, "p95_ms": 110.0, "p99_ms": 120.0, "cpu_ms": 50.0, "pss_mib": 200.0}
    said = {"contestant": name, "round": number, "clients": clients, "per_second": per_second}
    return said | plain | {"client_cpu_ms": 0.1} | more


def measured(**more: Any) -> dict[str, Any]:
    turns = [
        turn(name, number, clients, speed * (1 + number))
        for name, speed in EVERYBODY.items()
        for number in range(3)
        for clients in CLIENTS
    ]
    operations = {
        "starts": {"ready_seconds": 2.0, "pss_mib": 150.0},
        "promotion": {
            "failed": 0,
            "p99_before_ms": 100.0,
            "p99_during_ms": 150.0,
            "versions_seen": ["1", "2"],
        },
        "overload": {"goodput_of_limit": 0.85, "other_than_503": 0, "refused_p99_ms": 20.0},
    }
    return {
        "turns": turns,
        "operations": operations,
        "not_measured": {},
        "setups": {"1x2x1": {"per_second": 10.0, "p50_ms": 100.0}},
        "limit_setups": {"1": "1x2x1"},
        "contestants_setup": "1x2x1",
        "agreement": {OURS: 1.0},
    } | more


def found(record: dict[str, Any], what: str) -> Any:
    (bar,) = [one for one in bars(record) if one.what == what]
    return bar


def test_ratios_are_those_inside_a_round() -> None:
    turns = [turn(OURS, 0, 16, 10), turn(OURS, 1, 16, 30), turn(OURS, 2, 16, 7)]
    turns += [turn(PLAIN, 0, 16, 5), turn(PLAIN, 1, 16, 10), turn(PLAIN, 3, 16, 1)]
    turns += [turn(PLAIN, 0, 4, 1)]
    assert ratios(turns, OURS, PLAIN, 16) == [2.0, 3.0]


def test_a_contestant_that_answers_nothing_has_no_ratio() -> None:
    assert ratios([turn(OURS, 0, 1, 10), turn(PLAIN, 0, 1, 0)], OURS, PLAIN, 1) == []


@pytest.mark.parametrize(("share", "value"), [(0.5, 3000.0), (0.99, 5000.0), (0.2, 1000.0)])
def test_a_quantile_is_a_value_that_was_seen(share: float, value: float) -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0, 5.0], share) == value


def test_answers_count_that_came_and_times_of_what_began() -> None:
    report = Report(
        began=[-1.0, -0.5, 0.1, 0.2, 0.3, 1.9],
        took=[0.5, 0.6, 0.1, 0.2, 0.3, 9.0],
        status=[200, 200, 200, 503, LOST, 200],
        tag=[""] * 6,
        cpu_seconds=0.4,
    )
    seen = summary(report, 2.0)
    assert (seen["answered"], seen["per_second"]) == (2, 1.0)
    assert (seen["p50_ms"], seen["p99_ms"]) == (100.0, 9000.0)
    assert (seen["refused"], seen["lost"]) == ({"503": 1}, 1)
    assert seen["client_cpu_ms"] == 100.0, "of each of the four answers"


def test_all_bars_can_be_reached() -> None:
    judged = bars(measured())
    assert [bar.what for bar in judged if not bar.reached] == []
    assert found(measured(), "throughput of 16 clients / the limit").found == "0.95 (0.95 to 0.95)"


def test_what_was_not_measured_is_never_reached() -> None:
    record = measured(operations={})
    record["turns"] = [t for t in record["turns"] if t["contestant"] not in (LITSERVE, TORCH)]
    open_bars = [bar for bar in bars(record) if bar.reached is None]
    assert {bar.verdict for bar in open_bars} == {NOT_MEASURED}
    without = [bar.what for bar in open_bars]
    assert sum(LITSERVE in what for what in without) == 5
    assert sum(TORCH in what for what in without) == 4
    assert "start to ready, one version" in without
    assert len(bars(record)) == len(bars(measured()))


@pytest.mark.parametrize(
    ("part", "name", "value", "what"),
    [
        ("starts", "ready_seconds", 3.5, "start to ready, one version"),
        ("promotion", "failed", 1, "promotion under load: failed requests"),
        ("promotion", "p99_during_ms", 300.0, "promotion under load: p99 during / before"),
        ("overload", "goodput_of_limit", 0.5, "goodput at twice the limit / the limit"),
        ("overload", "other_than_503", 2, "of the rest, answered otherwise than 503"),
        ("overload", "refused_p99_ms", 80.0, "p99 of a 503"),
    ],
)
def test_what_is_below_its_bar_is_told(part: str, name: str, value: float, what: str) -> None:
    record = measured()
    record["operations"][part][name] = value
    assert [bar.what for bar in bars(record) if bar.reached is False] == [what]


def test_the_worst_memory_counts() -> None:
    record = measured()
    record["turns"][-1]["pss_mib"] = 900.0  # somebody else's
    assert found(record, "most memory of the API after load").reached
    record["turns"] += [turn(OURS, 3, 64, 9.5, pss_mib=401.0)]
    assert not found(record, "most memory of the API after load").reached


def test_a_promotion_that_nobody_saw_was_not_measured() -> None:
    record = measured()
    record["operations"]["promotion"]["versions_seen"] = ["2"]
    without = [bar.what for bar in bars(record) if bar.reached is None]
    assert without == [
        "promotion under load: failed requests",
        "promotion under load: p99 during / before",
    ]


def test_latency_is_judged_against_the_limit_s() -> None:
    record = measured()
    for one in record["turns"]:
        if one["contestant"] == OURS and one["clients"] == 1:
            one.update(p50_ms=103.5, p99_ms=141.5)
    assert not found(record, "p50 of a lone request less the limit's, ms").reached
    assert not found(record, "p99 of 1 less 1.15 x the limit's, ms").reached
    assert found(record, "p99 of 16 less 1.15 x the limit's, ms").reached


def test_bars_of_nothing_say_what_they_ask() -> None:
    assert at_least("a", [], 0.9).wanted == ">= 0.9"
    assert at_most("b", None, 3, "s").verdict == NOT_MEASURED


def test_a_bar_beyond_the_limit_says_so() -> None:
    record = measured()
    for one in record["turns"]:
        if one["clients"] == 16 and one["contestant"] == LITSERVE:
            one["per_second"] *= 1.2  # the limit comes to 1.19 of it
    (beyond,) = [bar for bar in bars(record) if bar.reached is False]
    assert (beyond.what, beyond.wanted) == (f"throughput of 16 / {LITSERVE}", ">= 1.3")
    assert beyond.limit == pytest.approx(10 / 8.4)
    assert beyond.verdict == "**not reached**, nor by the limit"
    text = page({"command": "c", "machine": MACHINE, "sets": {"s": record}})
    assert "31 of 32 bars are reached" in text
    assert "Of the others 1 ask for more than the limit itself comes to." in text
    assert "| 1.19 | **not reached**, nor by the limit |" in text


def test_several_processes_hold_the_same_bars() -> None:
    record = measured()
    name = workers_name(2)
    record["turns"] += [turn(name, n, c, 8.0 * (1 + n)) for n in range(3) for c in CLIENTS]
    held = bars_of(record, name)
    assert [bar.what for bar in held] == [bar.what for bar in bars(record)][: len(held)]
    assert held[0].found == "0.80 (0.80 to 0.80)"
    assert bars(record)[0].found == "0.95 (0.95 to 0.95)"
    text = page({"command": "c", "machine": MACHINE, "sets": {"s": record}})
    reached = sum(bar.reached is True for bar in held)
    assert f"The same of {name}, together: {reached} of {len(held)} bars are reached" in text


def test_a_limit_that_left_sessions_idle_is_none() -> None:
    record = measured(limit_setups={"1": "2x2x1", "4": "2x1x4", "16": "2x1x4"})
    for one in record["turns"]:
        if one["contestant"] == LIMIT:
            one["setup"] = record["limit_setups"].get(str(one["clients"]), "2x1x1")
    left = counted(record["turns"])
    dropped = {(t["contestant"], t["clients"]) for t in record["turns"] if t not in left}
    assert dropped == {(LIMIT, 4)}
    assert found(record, f"throughput of 4 / {PLAIN}").limit is None
    assert found(record, "p99 of 4 less 1.15 x the limit's, ms").reached is None
    text = page({"command": "c", "machine": MACHINE, "sets": {"s": record}})
    assert "**The limit with 4 clients** was not measured: it ran as `2x1x4`" in text
    assert "takes `2x2x1` for 1, `2x1x4` for 16 clients" in text


def test_the_page_that_lies_beside_the_record_is_its_own() -> None:
    record = json.loads((RESULTS / "serving.json").read_text())
    assert page(record) == (RESULTS / "serving.md").read_text(), "run `benchmarks.serving_record`"


def test_a_record_s_page_and_plots_are_written_anew(tmp_path: Path) -> None:
    written = {"command": "c", "machine": MACHINE, "sets": {"s": measured()}}
    keep(written, tmp_path)
    main(tmp_path)
    assert (tmp_path / "serving.md").read_text() == page(written)
    assert (tmp_path / plot_name("s")).exists()


def test_a_bar_that_the_limit_reaches_is_ours_to_reach() -> None:
    record = measured()
    for one in record["turns"]:
        if one["clients"] == 16 and one["contestant"] == OURS:
            one["per_second"] = 8.0 * (1 + one["round"])
    bar = found(record, "throughput of 16 / plain FastAPI")
    assert (bar.reached, bar.beyond, bar.verdict) == (False, False, "**not reached**")


def test_setups_are_chosen_by_what_they_are_for() -> None:
    tried = {
        "1x2x1": {"per_second": 9.0, "p50_ms": 60.0},
        "2x1x1": {"per_second": 10.0, "p50_ms": 100.0},
        "2x1x4": {"per_second": 11.0, "p50_ms": None},
    }
    setups = Setups(tried)
    assert setups.limit(1) == Setup(1, 2)
    assert setups.limit(16) == Setup(2, 1, 4)
    assert setups.limit(4) == Setup(2, 1), "one session would take all four"
    assert setups.contestants() == Setup(1, 2)


def test_moves_are_judged_by_requests_that_met_them() -> None:
    report = Report(
        began=[-0.5, 1.0, 1.8, 3.9, 4.5, 9.0, 10.1],
        took=[0.1, 0.2, 0.4, 0.9, 0.1, 0.1, 0.3],
        status=[200, 200, 200, 200, 200, 200, 500],
        tag=["1", "1", "1", "2", "2", "2", ""],
        zero=100.0,
    )
    seen = judged_moves(report, [102.0, 110.0], clients=16)
    assert (seen["answered_before"], seen["answered_during"], seen["failed"]) == (1, 2, 1)
    assert (seen["p99_before_ms"], seen["p99_during_ms"]) == (200.0, 900.0)
    assert seen["versions_seen"] == ["1", "2"]


def test_the_page_has_every_bar_and_says_who_is_missing() -> None:
    record = measured(not_measured={BENTOML: "bentoml is not installed"})
    text = page(
        {"command": "python -m benchmarks.serving", "machine": MACHINE, "sets": {"s": record}}
    )
    assert all(f"| {bar.what} | {bar.wanted} |" in text for bar in bars(record))
    assert f"**{BENTOML}** was not measured: bentoml is not installed." in text
    assert "### 64 clients" in text
    assert f"| {PLAIN} | 18 |" in text, "the median of its rounds"
    assert f"({plot_name('s')})" in text


def test_a_plot_has_a_line_for_everybody_who_took_part(tmp_path: Path) -> None:
    record = measured()
    sets = {"mit_b0, 256 px": record, "pvt_v2_b0, 512 px (random weights)": record}
    write_plots({"sets": sets}, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"serving-mit_b0-256-px.svg", "serving-pvt_v2_b0-512-px-random-weights.svg"}
    drawn = (tmp_path / "serving-mit_b0-256-px.svg").read_text()
    assert all(f">{name}<" in drawn for name in names_of(record["turns"]))


def test_rounds_are_added_to_a_record_of_the_same_code(tmp_path: Path) -> None:
    first = begun("one", tmp_path, add=True)
    keep(first | {"sets": {"s": measured()}}, tmp_path)
    again = begun("two", tmp_path, add=True)
    assert (again["command"], [*again["sets"]]) == ("one && two", ["s"])
    assert begun("three", tmp_path, add=False)["sets"] == {}


@pytest.mark.parametrize(
    ("name", "then"),
    [
        ("commit", "0123456789ab"),
        ("hardware", "another processor"),
        ("processors", 96),
        ("packages", {"onnxruntime": "1.0"}),
    ],
)
def test_rounds_are_not_added_to_those_of_something_else(
    name: str, then: object, tmp_path: Path
) -> None:
    first = begun("one", tmp_path, add=False)
    keep(first | {"machine": first["machine"] | {name: then}}, tmp_path)
    with pytest.raises(BadParameter, match=f"has rounds of {name} "):
        begun("two", tmp_path, add=True)
