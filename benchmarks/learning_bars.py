"""The bars that learning is held to, read from the records of the learning benchmark.

    python -m benchmarks.learning_bars

Reads `docs/results/learning-*.json`, prints a Markdown table and writes it to
`docs/results/bars.md`. Figures are means over seeds.
"""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Annotated, Any, NamedTuple

import typer

PAPERS_ORDER = (("sats",), ("mib", "plop", "ilt", "lwf"), ("finetune",))


class Bar(NamedTuple):
    """One bar.

    Attributes:
        what: in words.
        protocol: whose records it is read from.
        variant: of which method.
        key: field of the records.
        least: least mean that holds; None where there is none.
        most: most mean that holds; None where there is none.
    """

    what: str
    protocol: str
    variant: str
    key: str
    least: float | None = None
    most: float | None = None

    def holds(self, value: float) -> bool:
        """Return whether a mean holds."""
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )


Record = dict[str, Any]

RATIO = "ratio_to_joint"
BARS = (
    Bar("`sats` / joint at least 0.938", "ccp-15-1", "sats", RATIO, 0.938),
    Bar("`sats_plus` / joint at least 0.95", "ccp-15-1", "sats_plus", RATIO, 0.95),
    Bar("`sats_plus` / joint at least 0.85", "ccp-10-1", "sats_plus", RATIO, 0.85),
    Bar(
        "`sats_plus`, memory 300 / joint at least 0.97",
        "ccp-15-1",
        "sats_plus@memory=300",
        RATIO,
        0.97,
    ),
    Bar(
        "mIoU of the base classes lost by `sats_plus` at most 0.03",
        "ccp-15-1",
        "sats_plus",
        "old_lost",
        most=0.03,
    ),
)


def rows(results: Path) -> Iterator[str]:
    """Yield the table's rows: a bar for every preset that it was measured with."""
    yield "| bar | protocol | preset | measured | seeds | holds |"
    yield "|---|---|---|---|---|---|"
    for protocol in ("ccp-15-1", "voc8-4-1"):
        for preset, found in records(results, protocol):
            yield f"| order of the paper, mIoU all | {protocol} | {preset} | {_order(found)} |"
    for bar in BARS:
        for preset, found in records(results, bar.protocol):
            yield f"| {bar.what} | {bar.protocol} | {preset} | {_measured(bar, found)} |"


def records(results: Path, protocol: str) -> Iterator[tuple[str, list[Record]]]:
    """Yield each preset with its records on the validation pictures."""
    path = results / f"learning-{protocol}.json"
    found: list[Record] = json.loads(path.read_text()) if path.exists() else []
    presets = dict.fromkeys(record["preset"] for record in found if not record["tuning"])
    for preset in presets:
        if preset != "quick":
            yield preset, [r for r in found if r["preset"] == preset and not r["tuning"]]


def _measured(bar: Bar, found: list[Record]) -> str:
    values = [record[bar.key] for record in found if record["variant"] == bar.variant]
    if not values:
        return "not measured | 0 | "
    return f"{mean(values):.3f} | {len(values)} | {_verdict(bar.holds(mean(values)))}"


def _order(found: list[Record]) -> str:
    names = [name for group in PAPERS_ORDER for name in group]
    scores = {n: [r["miou_all"] for r in found if r["variant"] == n] for n in names}
    if not all(scores.values()):
        return "not measured | 0 | "
    means = {name: mean(values) for name, values in scores.items()}
    ordered = sorted(names, key=lambda name: -means[name])
    holds = all(
        means[better] > means[worse]
        for above, below in pairwise(PAPERS_ORDER)
        for better in above
        for worse in below
    )
    said = " > ".join(f"{name} {means[name]:.3f}" for name in ordered)
    return f"{said} | {min(len(values) for values in scores.values())} | {_verdict(holds)}"


def _verdict(holds: bool) -> str:
    return "yes" if holds else "**no**"


def main(
    results: Annotated[Path, typer.Option(help="Folder of the records.")] = Path("docs/results"),
) -> None:
    """Write and print the table."""
    text = "\n".join(rows(results)) + "\n"
    (results / "bars.md").write_text("# Bars\n\n    python -m benchmarks.learning_bars\n\n" + text)
    typer.echo(text)


if __name__ == "__main__":
    typer.run(main)
