"""What came out, as tables on the terminal and pictures on disk."""

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from demo.figures import Row, draw_figure
from demo.learning import LABELS, Outcome
from demo.pictures import jpeg
from demo.plan import COLOURS, NEW_CLASSES, OLD_CLASSES, WAYS, Plan
from demo.scores import Comparison, iou_by_class, mean_iou

HEADINGS = ("before", *(f"after {way.heading}" for way in WAYS))


def compare(outcome: Outcome) -> tuple[Comparison, Comparison]:
    """Return the versions' IoU on the showcase and on the service's held-out pictures."""
    truths = [scene.objects for scene in outcome.scenes]
    return (
        Comparison(
            f"{len(truths)} showcase pictures, segmented over HTTP",
            iou_by_class(truths, outcome.before.predictions, LABELS),
            {k: iou_by_class(truths, v.predictions, LABELS) for k, v in outcome.after.items()},
        ),
        Comparison(
            "the tasks' own held-out pictures, scored by the service",
            outcome.before.held_out,
            {key: learned.held_out for key, learned in outcome.after.items()},
        ),
    )


def report(outcome: Outcome, plan: Plan, output: Path, console: Console) -> list[str]:
    """Print tables, save pictures and return what was claimed and does not hold."""
    broken = []
    for comparison in compare(outcome):
        console.print(_table(comparison, outcome))
        broken += comparison.broken_claims()
    _save_figures(outcome, plan, output)
    verdict = outcome.after["sats"].version.gate
    if verdict is not None and not verdict.passed:
        broken.append("the gate held the version of SATS back: " + "; ".join(verdict.reasons))
    return broken


def _table(comparison: Comparison, outcome: Outcome) -> Table:
    table = Table(title=f"IoU on {comparison.pictures}", title_justify="left")
    table.add_column("class")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    scores = (comparison.before, *comparison.after.values())
    for name in LABELS.values():
        table.add_row(name, *(_figure(score.get(name)) for score in scores))
    table.add_section()
    for title, names in (
        ("mIoU old classes", OLD_CLASSES),
        ("mIoU new classes", NEW_CLASSES),
        ("mIoU all, with background", tuple(LABELS.values())),
    ):
        table.add_row(title, *(_figure(mean_iou(score, names)) for score in scores))
    learned = (outcome.before, *outcome.after.values())
    table.add_row("seconds", *(f"{each.seconds:.0f}" for each in learned))
    return table


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _save_figures(outcome: Outcome, plan: Plan, output: Path) -> None:
    colours = {i: (LABELS[i], colour) for i, colour in enumerate(COLOURS, start=1)}
    headings = ("picture", "truth", *HEADINGS)
    versions = (outcome.before, *outcome.after.values())
    rows = [
        Row(scene.picture, [scene.objects, *(each.predictions[number] for each in versions)])
        for number, scene in enumerate(outcome.scenes)
    ]
    for number, row in enumerate(rows, start=1):
        (output / f"showcase-{number:02}.jpg").write_bytes(jpeg(row.picture, quality=92))
        figure = draw_figure(headings, [row], colours)
        figure.save(output / f"result-{number:02}.png")
    # The overview shows the pictures with the most classes in them.
    rows.sort(key=lambda row: len(np.unique(row.labels[0])), reverse=True)
    overview = draw_figure(headings, rows[: plan.shown_pictures], colours)
    overview.save(output / "result.png", optimize=True)
