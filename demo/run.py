"""The main job from one end to the other, over HTTP: learn three classes, then a fourth."""

import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from demo import plan
from demo.client import Client
from demo.figures import Labels, Row, draw_figure
from demo.pictures import Scene, draw_dataset, draw_showcase, jpeg
from demo.progress import watch
from demo.scores import Comparison, iou_by_class, mean_iou
from demo.service import DemoError, serving

LABELS = dict(enumerate(("background", *plan.CLASSES)))
INTERRUPTED = 130


@dataclass(frozen=True)
class Learned:
    """A version, how long its task took and what it makes of the showcase."""

    version: dict[str, Any]
    seconds: float
    predictions: list[Labels]

    @property
    def held_out(self) -> dict[str, float | None]:
        """IoU by class on the service's held-out pictures."""
        iou: dict[str, float | None] = self.version["scores"]["iou"]
        return iou


def run_demo(output: Path, console: Console | None = None) -> int:
    """Run the demo into `output`; returns the process's exit code."""
    console = console or Console()
    started = time.monotonic()
    # Being ended is treated like Ctrl-C, so that the service is not left behind.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        broken = _demo(output, console)
    except KeyboardInterrupt:
        console.print("Stopped; the demo's service is down.")
        return INTERRUPTED
    except DemoError as error:
        console.print(f"The demo failed: {error}", markup=False)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    console.print(f"Pictures of the result are in {output}/. Whole demo: {minutes}:{seconds:02}.")
    for sentence in broken:
        console.print(f"CLAIM BROKEN  {sentence}", markup=False, highlight=False)
    return 1 if broken else 0


def _demo(output: Path, console: Console) -> list[str]:
    output.mkdir(parents=True, exist_ok=True)
    console.print(f"Drawing {plan.BASE_PICTURES} + {plan.STEP_PICTURES} labelled pictures")
    base, step = output / "base.zip", output / "step.zip"
    # Pictures of either task show classes of the other as background (the overlapped protocol).
    draw_dataset(
        base,
        plan.OLD_CLASSES,
        plan.BASE_PICTURES,
        plan.SIZE,
        plan.BASE_SEED,
        unlabelled=plan.NEW_CLASSES,
    )
    draw_dataset(
        step,
        plan.NEW_CLASSES,
        plan.STEP_PICTURES,
        plan.SIZE,
        plan.STEP_SEED,
        unlabelled=plan.OLD_CLASSES,
    )
    scenes = draw_showcase(
        plan.CLASSES,
        plan.SHOWCASE_PICTURES,
        plan.SHOWCASE_SIZE,
        plan.SHOWCASE_SEED,
        always=plan.NEW_CLASSES,
    )
    with serving(output / "service") as url:
        console.print(f"The service answers at {url}\n")
        client = Client(url, plan.MODEL)
        try:
            learned = _learn_all(client, console, base, step, scenes)
        finally:
            client.close()
    return _report(output, console, scenes, learned)


def _learn_all(
    client: Client, console: Console, base: Path, step: Path, scenes: Sequence[Scene]
) -> dict[str, Learned]:
    old, new = ", ".join(plan.OLD_CLASSES), ", ".join(plan.NEW_CLASSES)
    # Fine-tuning's version is held back, so that SATS starts from the same version as it did.
    finetune = plan.STEP | {"name": f"{new}, fine-tuned", "method": "finetune"}
    finetune["gate"] = {"promote": False}
    sats = plan.STEP | plan.SATS | {"name": f"{new}, SATS"}
    before = _learn(client, console, f"1  learn {old}", base, plan.BASE | {"name": old}, scenes)
    if not before.version["live"]:
        raise DemoError("the first version was held back, so there is nothing to add a class to")
    return {
        "before": before,
        "finetuned": _learn(
            client, console, f"2  add {new} by plain fine-tuning", step, finetune, scenes
        ),
        "sats": _learn(client, console, f"3  add {new} with SATS", step, sats, scenes),
    }


def _learn(
    client: Client,
    console: Console,
    title: str,
    dataset: Path,
    spec: Mapping[str, Any],
    scenes: Sequence[Scene],
) -> Learned:
    started = time.monotonic()
    task = watch(console, title, client.follow(client.submit(dataset, dict(spec))["id"]))
    seconds = time.monotonic() - started
    if task["version"] is None:
        raise DemoError(f"{title}: the task ended as {task['state']}: {task['error']}")
    version = client.version(task["version"])
    verdict = "live" if version["live"] else "held back: " + "; ".join(version["gate"]["reasons"])
    console.print(f"   version {version['number']} after {seconds:.0f} s, {verdict}\n")
    names = {entry["index"]: entry["name"] for entry in version["classes"]}
    label = {name: value for value, name in LABELS.items()}
    lookup = np.zeros(256, np.uint8)
    for index, name in names.items():
        lookup[index] = label[name]
    answers = [client.segment(scene.picture, version["number"]) for scene in scenes]
    return Learned(version, seconds, [lookup[answer] for answer in answers])


def _report(
    output: Path, console: Console, scenes: Sequence[Scene], learned: Mapping[str, Learned]
) -> list[str]:
    truths = [scene.objects for scene in scenes]
    showcase = {k: iou_by_class(truths, v.predictions, LABELS) for k, v in learned.items()}
    held_out = {k: v.held_out for k, v in learned.items()}
    comparisons = (
        Comparison(f"{len(scenes)} showcase pictures, segmented over HTTP", **showcase),
        Comparison("the tasks' own held-out pictures, scored by the service", **held_out),
    )
    for comparison in comparisons:
        console.print(_table(comparison, learned))
    _save_figures(output, scenes, learned)
    broken = [sentence for comparison in comparisons for sentence in comparison.broken_claims()]
    verdict = learned["sats"].version["gate"]
    if not verdict["passed"]:
        broken.append("the gate held the version of SATS back: " + "; ".join(verdict["reasons"]))
    return broken


def _table(comparison: Comparison, learned: Mapping[str, Learned]) -> Table:
    table = Table(title=f"IoU on {comparison.pictures}", title_justify="left")
    columns = {"before": "before", "finetuned": "after fine-tuning", "sats": "after SATS"}
    table.add_column("class")
    for heading in columns.values():
        table.add_column(heading, justify="right")
    scores = [getattr(comparison, key) for key in columns]
    for name in LABELS.values():
        table.add_row(name, *(_figure(score.get(name)) for score in scores))
    table.add_section()
    for title, names in (
        ("mIoU old classes", plan.OLD_CLASSES),
        ("mIoU new classes", plan.NEW_CLASSES),
        ("mIoU all, with background", tuple(LABELS.values())),
    ):
        table.add_row(title, *(_figure(mean_iou(score, names)) for score in scores))
    table.add_row("seconds", *(f"{learned[key].seconds:.0f}" for key in columns))
    return table


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _save_figures(output: Path, scenes: Sequence[Scene], learned: Mapping[str, Learned]) -> None:
    colours = {i: (LABELS[i], colour) for i, colour in enumerate(plan.COLOURS, start=1)}
    rows = [
        Row(
            scene.picture, [scene.objects, *(each.predictions[number] for each in learned.values())]
        )
        for number, scene in enumerate(scenes)
    ]
    for number, row in enumerate(rows, start=1):
        (output / f"showcase-{number:02}.jpg").write_bytes(jpeg(row.picture, quality=92))
        draw_figure([row], colours).save(output / f"result-{number:02}.png", optimize=True)
    # The overview shows the pictures with the most classes in them.
    rows.sort(key=lambda row: len(np.unique(row.labels[0])), reverse=True)
    draw_figure(rows[: plan.SHOWN_PICTURES], colours).save(output / "result.png", optimize=True)
