"""What learning must hold, read from the records of the learning benchmark.

    python -m benchmarks.learning_bars

Reads `docs/results/learning-*.json`, prints a Markdown table and writes it to
`docs/results/bars.md`. Every figure stands with its 95 % confidence interval over the seeds
(Student's t). A bar on a figure holds by its mean; one that says "above" or "beats" holds by its
interval, so that one seed proves nothing. "No method beats" is open while an interval holds 0
and is wider than 0.02, too few seeds to tell a tie from a loss, and while a method was not
measured.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from benchmarks.learning_measures import (
    Measured,
    above,
    at_least,
    at_most,
    base_at_least,
    beaten_by_none,
    lost_no_more_than_in_a_row,
    times,
)
from benchmarks.learning_plan import DEFAULT, FROZEN_BASE
from benchmarks.learning_records import Record, by_seed, read

DRAWN, REAL = "drawn-most", "mit_b0"
"""Presets that the bars are read from: the surest teacher, and the encoder that knows something."""
SOLVED, TRAINED = "frozen", "sats_plus"
"""The method that takes one pass over the pictures, and one that trains for all epochs."""


class Bar(NamedTuple):
    """One bar.

    Attributes:
        what: in words.
        protocol: whose records it is read from.
        preset: of those records.
        measure: reads it; None where something is missing.
        beside: another protocol, whose records it is read from as well.
    """

    what: str
    protocol: str
    preset: str
    measure: Callable[[list[Record]], Measured | None]
    beside: str | None = None


AT_ONCE = {
    "voc8-4-3": "voc8-4-1",
    "voc8-4-4": "voc8-4-1",
    "ccp-15-3": "ccp-15-1",
    "ccp-15-5": "ccp-15-1",
    "ccp-15-7": "ccp-15-1",
}
"""Protocols whose new classes come at once, and those in which the same come one by one."""


def _drawn() -> Iterator[Bar]:
    where = ("drawn-6-1", DRAWN)
    yield Bar("mIoU of the base version over 0.85", *where, base_at_least(0.85))
    order = (("sats", "plop"), ("plop", "ilt"), ("plop", "lwf"), ("ilt", "finetune"))
    for first, second in (*order, ("lwf", "finetune"), ("sats", "mib")):
        yield Bar(f"`{first}` above `{second}`", *where, above(first, second))
    ratio = "ratio_to_joint"
    yield Bar("`sats` / joint at least 0.938", *where, at_least("sats", ratio, 0.938))
    yield Bar(f"`{DEFAULT}` / joint at least 0.97", *where, at_least(DEFAULT, ratio, 0.97))
    yield Bar("frozen base / joint at most 0.65", *where, at_most(FROZEN_BASE, ratio, 0.65))


def _real() -> Iterator[Bar]:
    for protocol, least in (("ccp-15-1", 0.95), ("ccp-10-1", 0.88), ("voc8-4-1", 0.92)):
        where = (protocol, REAL)
        yield Bar(f"no method beats `{DEFAULT}`", *where, beaten_by_none(DEFAULT))
        yield Bar(f"`{DEFAULT}` above frozen base", *where, above(DEFAULT, FROZEN_BASE))
        yield Bar(
            f"`{DEFAULT}` / joint at least {least}",
            *where,
            at_least(DEFAULT, "ratio_to_joint", least),
        )
        yield Bar(
            f"new classes' mIoU of `{DEFAULT}` / joint's at least 0.6",
            *where,
            at_least(DEFAULT, "ratio_to_joint_new", 0.6),
        )
    for protocol in ("voc8-4-4", "ccp-15-7"):
        where = (protocol, REAL)
        for what, key in (("background IoU", "background_lost"), ("base mIoU", "base_lost")):
            yield Bar(
                f"{what} lost by `{DEFAULT}` at most 0.03", *where, at_most(DEFAULT, key, 0.03)
            )
    for once, row in AT_ONCE.items():
        for variant in (SOLVED, TRAINED):
            yield Bar(
                f"base mIoU lost by `{variant}` at once, less that in a row ({row}), at most 0",
                *(once, REAL, lost_no_more_than_in_a_row(variant, once, row), row),
            )


TIMED = (("drawn-6-1", DRAWN), *((p, REAL) for p in ("ccp-15-1", "ccp-10-1", "voc8-4-1")))
"""Protocols and presets whose seconds are compared."""


def _seconds() -> Iterator[Bar]:
    for where in TIMED:
        yield Bar(
            f"seconds a step of `{SOLVED}` / those of `{TRAINED}` at most 0.1",
            *where,
            times(SOLVED, TRAINED, "seconds_per_step", 0.1),
        )


HOLDS = {True: "yes", False: "**no**", None: "open"}
BARS = (*_drawn(), *_real(), *_seconds())


def rows(results: Path) -> Iterator[str]:
    """Yield the table's rows, a bar each."""
    yield "| bar | protocol | preset | measured | seeds | holds |"
    yield "|---|---|---|---|---|---|"
    for bar in BARS:
        protocols = (bar.protocol, bar.beside) if bar.beside else (bar.protocol,)
        records = [r for name in protocols for r in _records(results, name, bar.preset)]
        measured = bar.measure(records)
        cells = "not measured | 0 | "
        if measured:
            cells = f"{measured.text} | {measured.seeds} | {HOLDS[measured.holds]}"
        yield f"| {bar.what} | {bar.protocol} | {bar.preset} | {cells} |"


def seconds_rows(results: Path) -> Iterator[str]:
    """Yield the rows of what each step took, for the seeds that both methods were run with."""
    yield f"| protocol | preset | seed | `{SOLVED}`, each step | `{TRAINED}`, each step | ratio |"
    yield "|---|---|---|---|---|---|"
    for protocol, preset in TIMED:
        found = _records(results, protocol, preset)
        solved, trained = by_seed(found, SOLVED, "steps"), by_seed(found, TRAINED, "steps")
        for seed in sorted(solved.keys() & trained.keys()):
            each = [[step["seconds"] for step in of[seed][1:]] for of in (solved, trained)]
            cells = " | ".join(", ".join(f"{value:.1f}" for value in taken) for taken in each)
            share = sum(each[0]) / sum(each[1])
            yield f"| {protocol} | {preset} | {seed} | {cells} | {share:.3f} |"


def _records(results: Path, protocol: str, preset: str) -> list[Record]:
    return [r for r in read(results, protocol) if r["preset"] == preset and not r["tuning"]]


def page(results: Path) -> str:
    """Return what `bars.md` says of the records in a folder."""
    return "\n".join(
        (
            "# Bars",
            "",
            "    python -m benchmarks.learning_bars",
            "",
            'A bar that says "above" or "beats" holds by its interval: one seed proves nothing.',
            "",
            *rows(results),
            "",
            "## Seconds a step",
            "",
            "As the runs took them, beside each other and whatever else the machine did; in the "
            "order of the steps, scoring left out.",
            "",
            *seconds_rows(results),
            "",
        )
    )


def main(
    results: Annotated[Path, typer.Option(help="Folder of the records.")] = Path("docs/results"),
) -> None:
    """Write and print the tables."""
    text = page(results)
    (results / "bars.md").write_text(text)
    typer.echo(text)


if __name__ == "__main__":
    typer.run(main)
