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
    """Yield the table's rows."""
    yield "| bar | protocol | measured | seeds | holds |"
    yield "|---|---|---|---|---|"
    for protocol in ("ccp-15-1", "voc8-4-1"):
        yield _order(protocol, records(results, protocol))
    for bar in BARS:
        values = [r[bar.key] for r in records(results, bar.protocol) if r["variant"] == bar.variant]
        if not values:
            yield f"| {bar.what} | {bar.protocol} | not measured | 0 | |"
            continue
        verdict = "yes" if bar.holds(mean(values)) else "**no**"
        yield f"| {bar.what} | {bar.protocol} | {mean(values):.3f} | {len(values)} | {verdict} |"


def records(results: Path, protocol: str) -> list[dict[str, Any]]:
    """Return a protocol's records on the validation pictures; none where there are none."""
    path = results / f"learning-{protocol}.json"
    found = json.loads(path.read_text()) if path.exists() else []
    return [record for record in found if not record["tuning"] and record["preset"] != "quick"]


def _order(protocol: str, found: list[dict[str, Any]]) -> str:
    names = [name for group in PAPERS_ORDER for name in group]
    scores = {n: [r["miou_all"] for r in found if r["variant"] == n] for n in names}
    if not all(scores.values()):
        return f"| order of the paper, mIoU all | {protocol} | not measured | 0 | |"
    means = {name: mean(values) for name, values in scores.items()}
    ordered = sorted(names, key=lambda name: -means[name])
    holds = all(
        means[better] > means[worse]
        for above, below in pairwise(PAPERS_ORDER)
        for better in above
        for worse in below
    )
    said = " > ".join(f"{name} {means[name]:.3f}" for name in ordered)
    seeds = min(len(values) for values in scores.values())
    verdict = "yes" if holds else "**no**"
    return f"| order of the paper, mIoU all | {protocol} | {said} | {seeds} | {verdict} |"


def main(
    results: Annotated[Path, typer.Option(help="Folder of the records.")] = Path("docs/results"),
) -> None:
    """Write and print the table."""
    text = "\n".join(rows(results)) + "\n"
    (results / "bars.md").write_text("# Bars\n\n    python -m benchmarks.learning_bars\n\n" + text)
    typer.echo(text)


if __name__ == "__main__":
    typer.run(main)
