"""The main job on real pictures, over HTTP: person, dog, cat, horse; then sheep.

    sats serve                                     # in one terminal
    python -m benchmarks.real_pictures DATA        # in another

DATA is a folder in Pascal VOC layout with `classes.txt`. Posts a base task, then the new class
twice, by plain fine-tuning (held back) and by SATS, and prints what the admin endpoints say of
each version. `--help` shows sizes and schedule.
"""

import random
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from demo.progress import watching
from sats_client import Client, Version
from sats_core.data.readers import EncodedPicture, Reader, open_reader, write_voc_zip
from sats_core.data.sources import DirectorySource
from sats_core.settings import Limits

BASE = ("person", "dog", "cat", "horse")
NEW = ("sheep",)
MODEL = "real-pictures"


@dataclass(frozen=True)
class Plan:
    """How large and how long: pictures of each zip, side in pixels, epochs of base and step."""

    base_pictures: int
    step_pictures: int
    size: int
    base_epochs: int
    step_epochs: int
    batch_size: int = 16


def pictures_of(reader: Reader, split: str, classes: Sequence[str], most: int) -> list[str]:
    """Return at most `most` ids of a split that show one of `classes`, the same ones each time."""
    ids = list(reader.splits[split])
    random.Random(0).shuffle(ids)
    found: list[str] = []
    for picture_id in ids:
        if len(found) == most:
            break
        if set(reader.shown(reader.label(picture_id))) & set(classes):
            found.append(picture_id)
    return found


def write_task(reader: Reader, path: Path, classes: Sequence[str], most: int) -> None:
    """Write the zip of a task: at most `most` training pictures that show its classes.

    The service holds a fifth of them out. The data set's own `val` is not posted.
    """
    ids = pictures_of(reader, "train", classes, most)

    def chosen() -> Iterator[EncodedPicture]:
        for picture_id in ids:
            yield reader.encoded(picture_id)

    write_voc_zip(path, chosen(), reader.classes)


def learn(
    client: Client, console: Console, title: str, path: Path, spec: dict[str, Any]
) -> Version:
    """Post a task, follow it to its end and return the version it made."""
    with watching(console, title) as tell:
        task = client.submit(path, model=MODEL, create=True, **spec).wait(progress=tell)
    if task.version is None:
        raise SystemExit(f"{title}: the task has made no version")
    return client.version(MODEL, task.version)


def run(url: str, data: Path, plan: Plan, console: Console) -> dict[str, Version]:
    """Post the tasks to a running service and return the versions: base, finetune, sats."""
    common = {"size": plan.size, "batch_size": plan.batch_size, "pretrained": False}
    step = {**common, "classes": list(NEW), "epochs": plan.step_epochs}
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(DirectorySource(data, Limits())) as source,
        Client(url) as client,
    ):
        reader = open_reader(source)
        base_zip, step_zip = Path(folder, "base.zip"), Path(folder, "step.zip")
        write_task(reader, base_zip, BASE, plan.base_pictures)
        write_task(reader, step_zip, NEW, plan.step_pictures)
        base = {**common, "name": "base", "classes": list(BASE), "epochs": plan.base_epochs}
        # A model trained from scratch for minutes is a poor one: the gate lets it pass all the
        # same, and holds fine-tuning back, so that both steps start from the same version.
        base["gate"] = {"min_iou": 0.0}
        unpromoted = {"gate": {"promote": False}}
        return {
            "base": learn(client, console, "base", base_zip, base),
            "finetune": learn(
                client,
                console,
                "finetune",
                step_zip,
                step | {"name": "f", "method": "finetune"} | unpromoted,
            ),
            "sats": learn(
                client,
                console,
                "sats",
                step_zip,
                step | {"name": "s", "method": "sats"} | unpromoted,
            ),
        }


def table(versions: dict[str, Version]) -> Table:
    """Return IoU per class and mIoU of each version, as the admin endpoints gave them."""
    out = Table(title="IoU on held-out pictures")
    out.add_column("")
    for name, version in versions.items():
        out.add_column(f"{name} (v{version.number})", justify="right")
    for name in ("background", *BASE, *NEW):
        out.add_row(name, *_figures(v.scores.iou.get(name) for v in versions.values()))
    for key in ("miou_old", "miou_new", "miou_all", "mean_forgetting"):
        out.add_row(key, *_figures(getattr(v.scores, key) for v in versions.values()))
    return out


def _figures(values: Iterable[float | None]) -> list[str]:
    return ["" if value is None else f"{value:.3f}" for value in values]


def main(
    data: Annotated[Path, typer.Argument(help="Folder in VOC layout.")],
    url: Annotated[str, typer.Option(help="Of the running service.")] = "http://127.0.0.1:8000",
    base_pictures: Annotated[int, typer.Option(help="Pictures of the base task.")] = 1500,
    step_pictures: Annotated[int, typer.Option(help="Pictures of the new class.")] = 300,
    size: Annotated[int, typer.Option(help="Side of a crop, pixels.")] = 128,
    base_epochs: Annotated[int, typer.Option(help="Epochs of the base task.")] = 15,
    step_epochs: Annotated[int, typer.Option(help="Epochs of the new class.")] = 20,
) -> None:
    """Learn four classes of real pictures, then a fifth, by fine-tuning and by SATS."""
    console = Console()
    plan = Plan(base_pictures, step_pictures, size, base_epochs, step_epochs)
    console.print(table(run(url, data, plan, console)))


if __name__ == "__main__":
    typer.run(main)
