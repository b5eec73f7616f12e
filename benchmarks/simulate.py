"""A year of a company on paper: where does this design wait, what does it lose, what is full first?

    python -m benchmarks.simulate

Tasks and workers are simulated event by event, once a seed; requests are worked out by formula
(`simulated_traffic`). What was measured is read from `docs/results`, the rest is assumed
(`simulated_inputs`), and `--assume name=value` changes it for every scenario. Writes
`simulation.json` to `--results` and, beside that folder, `scale.md` with its tables.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer

from benchmarks.intervals import Interval
from benchmarks.machine import commit
from benchmarks.simulated_company import DAY, posts
from benchmarks.simulated_inputs import (
    Assumptions,
    Measured,
    Rules,
    described,
    measured,
    with_changes,
)
from benchmarks.simulated_loads import bill, database, outage_refusals, places, store, summary
from benchmarks.simulated_page import replace_tables
from benchmarks.simulated_tasks import Account, Outage
from benchmarks.simulated_traffic import traffic
from benchmarks.simulated_workers import Year

DAYS = 365
TEN_TIMES = {
    "models": 2000,
    "annotators": 400,
    "requests_a_second": 20_000,
    "keys": 600,
    "page_calls_a_second": 80,
}
EIGHT = {"api_processors": 8, "api_price": 0.34}  # list price of 8 processors with 16 GiB
SCENARIOS: Mapping[str, Mapping[str, float]] = {
    "as asked": {},
    "no GPU is lost but the region's": {"gpu_hours_between_losses": 1e9},
    "each GPU is lost every hour": {"gpu_hours_between_losses": 1},
    "one GPU": {"gpus": 1},
    "four GPUs": {"gpus": 4},
    "two workers on four CPU threads": {"gpu_speed": 1},
    "eight workers on four CPU threads": {"gpu_speed": 1, "gpus": 8},
    "the other region is down": {"outage_region": 1},
    "the region is down for a day": {"outage_hours": 24},
    "every model is mit_b0": {"large_share": 0},
    "replicas of eight processors": EIGHT,
    "ten times": TEN_TIMES,
    "ten times, eight GPUs": {**TEN_TIMES, "gpus": 8},
    "ten times, replicas of eight processors": {**TEN_TIMES, **EIGHT},
}
Record = dict[str, Any]


def outage_of(assumed: Assumptions) -> Outage | None:
    """Return when which region is down, if for any time."""
    begins = (assumed.outage_day - 1) * DAY + assumed.outage_hour * 3600
    if not assumed.outage_hours:
        return None
    return Outage(int(assumed.outage_region), begins, begins + assumed.outage_hours * 3600)


def year_of(seed: int, days: int, assumed: Assumptions, seen: Measured, rules: Rules) -> Account:
    """Let one year pass."""
    posted = posts(seed, days, assumed, seen, rules)
    return Year(posted, days, seed, assumed, rules, outage_of(assumed)).run()


def scenario(
    years: Mapping[int, dict[str, float]], assumed: Assumptions, seen: Measured, rules: Rules
) -> Record:
    """Return what a scenario came to, of its years by their seeds: means and intervals."""
    means = {
        name: fmean(year[name] for year in years.values()) for name in next(iter(years.values()))
    }
    of = traffic(assumed, seen, rules)
    asked, stored = database(assumed, rules, of), store(means, assumed, rules, of)
    outage = outage_of(assumed)
    return {
        "year": {
            name: Interval.of([float(year[name]) for year in years.values()])._asdict()
            for name in means
        },
        "traffic": vars(of),
        "outage": outage_refusals(outage, assumed, seen, rules, of) if outage else None,
        "database": asked,
        "store": stored,
        "bill": bill(means, stored, assumed, of),
        "places": [one.told() for one in places(means, asked, assumed, rules, of)],
    }


def simulated(
    seeds: Sequence[int], days: int, changes: Mapping[str, float], results: Path
) -> Record:
    """Simulate every scenario; return the record."""
    seen, rules = measured(results), Rules()
    told = "".join(f" --assume {name}={value:g}" for name, value in changes.items())
    record: Record = {
        "command": f"python -m benchmarks.simulate --seeds {','.join(map(str, seeds))}"
        + (f" --days {days}" if days != DAYS else "")
        + told,
        "commit": commit(),
        "what it is": "a simulation: no figure of it was measured but those under inputs.measured",
        "days": days,
        "seeds": list(seeds),
        "inputs": {
            "measured": described(seen),
            "rules": described(rules),
            "assumptions": described(with_changes(Assumptions(), changes)),
        },
        "scenarios": {},
    }
    passed: dict[Assumptions, dict[int, dict[str, float]]] = {}
    for name, own in SCENARIOS.items():
        assumed = with_changes(Assumptions(), {**changes, **own})
        of_tasks = replace(assumed, **{one: getattr(Assumptions(), one) for one in EIGHT})
        if of_tasks not in passed:  # tasks know nothing of replicas
            passed[of_tasks] = {
                seed: summary(year_of(seed, days, of_tasks, seen, rules), days, rules)
                for seed in seeds
            }
        record["scenarios"][name] = {
            "assumptions": dict(own),
            **scenario(passed[of_tasks], assumed, seen, rules),
        }
        typer.echo(f"{name}: done")
    return {**record, "scenarios": _rounded(record["scenarios"])}


def _rounded(told: Any) -> Any:
    """Return it with six digits that count."""
    if isinstance(told, float):
        return float(f"{told:.6g}")
    if isinstance(told, Mapping):
        return {name: _rounded(one) for name, one in told.items()}
    return [_rounded(one) for one in told] if isinstance(told, list) else told


def _changes(told: Sequence[str]) -> dict[str, float]:
    try:
        return {name: float(value) for name, _, value in (one.partition("=") for one in told)}
    except ValueError as error:
        raise typer.BadParameter(f"--assume takes name=number: {error}") from None


def main(
    seeds: Annotated[str, typer.Option(help="Of the random numbers, with commas.")] = "0,1,2,3,4",
    days: Annotated[int, typer.Option(help="How long the year is.", min=1)] = DAYS,
    assume: Annotated[list[str] | None, typer.Option(help="name=value; may come again.")] = None,
    inputs: Annotated[Path, typer.Option(help="Where measured figures are.")] = Path(
        "docs/results"
    ),
    results: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("docs/results"),
    page: Annotated[Path, typer.Option(help="Whose tables are written.")] = Path("docs/scale.md"),
) -> None:
    """Simulate every scenario; write the record, and the page with its tables beside its folder."""
    changes = _changes(assume or [])
    try:
        numbers = [int(one) for one in seeds.split(",")]
        record = simulated(numbers, days, changes, inputs)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    (results / "simulation.json").write_text(json.dumps(record, indent=1) + "\n")
    told = results.parent / page.name
    told.write_text(replace_tables(page.read_text(), record))
    typer.echo(f"{results / 'simulation.json'} and {told} are written")


if __name__ == "__main__":
    typer.run(main)
