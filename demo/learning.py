"""The main job over HTTP: learn three classes, then a fourth in every way of the plan."""

import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from demo.drawing import drawing
from demo.figures import Labels
from demo.pictures import Scene, jpeg
from demo.plan import CLASSES, MODEL, NEW_CLASSES, OLD_CLASSES, WAYS, Plan
from demo.progress import watching
from demo.service import DemoError, serving
from sats_client import Client, SatsError, Version

LABELS = dict(enumerate(("background", *CLASSES)))


@dataclass(frozen=True)
class Learned:
    """A version, how long its task took and what it makes of the showcase."""

    version: Version
    seconds: float
    predictions: list[Labels]

    @property
    def held_out(self) -> dict[str, float | None]:
        """IoU by class on the service's held-out pictures."""
        return dict(self.version.scores.iou)


@dataclass(frozen=True)
class Outcome:
    """What came out of the job.

    Attributes:
        scenes: pictures that no task has seen, fully labelled.
        before: the first version.
        after: the versions with the new classes, by the key of `plan.Way`.
    """

    scenes: list[Scene]
    before: Learned
    after: Mapping[str, Learned]


def learn_all(plan: Plan, output: Path, console: Console) -> Outcome:
    """Draw the pictures into `output`, start a service and run every task of the plan on it.

    Raises:
        DemoError: the service does not start, or a task makes no version to go on from.
    """
    output.mkdir(parents=True, exist_ok=True)
    console.print(f"Drawing {plan.base_pictures} + {plan.step_pictures} labelled pictures")
    old, new = ", ".join(OLD_CLASSES), ", ".join(NEW_CLASSES)
    with drawing(plan, output) as drawn, serving(output / "service", plan.threads) as url:
        console.print(f"The service answers at {url}\n")
        with Client(url, api_key="") as client:
            spec = plan.base_spec() | {"name": old}
            before = _learn(client, console, f"1  learn {old}", drawn.base, spec, drawn.scenes)
            if not before.version.live:
                raise DemoError(
                    "the first version was held back, so there is nothing to add a class to"
                )
            after = {}
            for number, way in enumerate(WAYS, start=2):
                spec = plan.step_spec(way) | {"name": f"{new}, {way.heading}"}
                title = f"{number}  add {new} by {way.heading}"
                after[way.key] = _learn(client, console, title, drawn.step, spec, drawn.scenes)
    return Outcome(drawn.scenes.result(), before, after)


def _learn(
    client: Client,
    console: Console,
    title: str,
    dataset: Future[Path],
    spec: Mapping[str, Any],
    scenes: Future[list[Scene]],
) -> Learned:
    path = dataset.result()
    started = time.monotonic()
    try:
        with watching(console, title) as tell:
            posted = client.submit(path, model=MODEL, create=True, **spec)
            task = posted.wait(progress=tell)
        seconds = time.monotonic() - started
        if task.version is None:
            raise DemoError(f"{title}: the task has made no version")
        version = client.version(MODEL, task.version)
        pictures = (jpeg(scene.picture, quality=92) for scene in scenes.result())
        asked = client.segment_many(pictures, concurrency=1, model=MODEL, version=version.number)
        answers = [found.mask for found in asked]
    except SatsError as error:
        raise DemoError(f"{title}: {error}") from error
    reasons = version.gate.reasons if version.gate else ()
    verdict = "live" if version.live else "held back: " + "; ".join(reasons)
    console.print(f"   version {version.number} after {seconds:.0f} s, {verdict}\n")
    label = {name: value for value, name in LABELS.items()}
    lookup = np.zeros(256, np.uint8)
    for known in version.classes:
        lookup[known.index] = label[known.name]
    return Learned(version, seconds, [lookup[answer] for answer in answers])
