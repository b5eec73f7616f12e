"""Each head on pictures whose objects are partly covered.

    nice -n 19 python -m benchmarks.occlusion path/to/backbones

Draws pictures of the base classes of `drawn-6-1`, paints things of no class over the objects of
half of the training pictures, trains a base step with each head on them, and scores it on
validation pictures as they are and with occluders. What is covered is labelled as background. A
picture of 64 pixels has 256 positions for a block behind the head; so pictures are scored side by
side, too: 16 of them have 4,096 positions, 64 have 16,384, which no block has seen in training.
What is trained stays in `--out`: a command that was cut off goes on. Writes, head by head,
`docs/results/occlusion.json`.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Annotated, Any, cast, get_args

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from benchmarks.drawn_pictures import LOOK
from benchmarks.intervals import mean_known
from benchmarks.machine import machine_load, stamped, without_folders
from benchmarks.occluders import Occluded, occluded
from benchmarks.retiring_versions import never, training_told
from demo.pictures import Scene, draw_scene, jpeg
from sats_core.data.protocols import PROTOCOLS
from sats_core.data.readers import EncodedPicture, write_voc_zip
from sats_core.data.transforms import View
from sats_core.evaluation.confusion import ConfusionMatrix
from sats_core.evaluation.predict import predict
from sats_core.export import load_version
from sats_core.job import HeldOutChoice, StepJob, StepResult
from sats_core.models import Segmenter
from sats_core.settings import Limits, StepSettings
from sats_core.training.step import run_step
from sats_core.version_config import HeadName

PROTOCOL = PROTOCOLS["drawn-6-1"]
CLASSES = (PROTOCOL.order or ())[: PROTOCOL.sizes[0]]
SIZE, BATCH, QUALITY = 64, 8, 90
FIRST_SEED = 100
"""Of the validation pictures, which are the same for every seed."""
HELD_OUT = 0.05
"""Of the training pictures; the step scores itself on them, this benchmark on its own."""

TILES = (1, 4, 8)
"""Pictures beside each other, and as many below: 256, 4,096 and 16,384 positions."""

Row = dict[str, Any]


def scenes(count: int, seed: int, size: int = SIZE) -> list[Scene]:
    """Draw pictures of the classes."""
    return [
        draw_scene(np.random.default_rng((seed, number)), size, CLASSES, look=LOOK)
        for number in range(count)
    ]


def covered(drawn: Sequence[Scene], seed: int) -> list[Occluded]:
    """Return the pictures with occluders."""
    return [
        occluded(np.random.default_rng((seed, number, 1)), scene.picture, scene.objects)
        for number, scene in enumerate(drawn)
    ]


def training_pictures(count: int, seed: int) -> Iterator[EncodedPicture]:
    """Yield pictures to train on, every other one with occluders."""
    drawn = scenes(count, seed)
    for number, (scene, hidden) in enumerate(zip(drawn, covered(drawn, seed), strict=True)):
        picture, label = scene.picture, scene.objects
        if number % 2:
            picture, label = hidden.picture, hidden.label
        yield EncodedPicture(f"{number:04d}", ".jpg", jpeg(picture, QUALITY), label)


def trained(
    dataset: Path, folder: Path, head: HeadName, settings: StepSettings, backbones: Path | None
) -> tuple[Segmenter, float]:
    """Return the model of a base step with a head, and the seconds that the step took; it is
    trained where it is not there yet."""
    job = StepJob(
        dataset=dataset,
        old_version=None,
        new_classes=CLASSES,
        indices=tuple(range(1, len(CLASSES) + 1)),
        settings=settings,
        head=head,
        held_out=HeldOutChoice(share=HELD_OUT, keep=False),
        earlier=(),
        limits=Limits(),
        backbone_dir=backbones,
        threads=torch.get_num_threads(),
        work=folder / "work",
        result=folder,
    )
    if not (folder / "result.json").exists():
        run_step(job, training_told(head), never)
    result = StepResult.model_validate_json((folder / "result.json").read_bytes())
    return load_version(folder / "version").model, result.seconds


def scored(model: Segmenter, drawn: Sequence[Scene], hidden: Sequence[Occluded]) -> Row:
    """Return what a model makes of pictures as they are and with occluders."""
    clean, over = (ConfusionMatrix(len(CLASSES) + 1) for _ in range(2))
    taken = []
    for scene, other in zip(drawn, hidden, strict=True):
        clean.add(scene.objects, predict(model, scene.picture, SIZE))
        answer = predict(model, other.picture, SIZE)
        over.add(other.label, answer)
        taken += (answer[other.cover] > 0).tolist()
    figures = [mean_known(matrix.iou()) for matrix in (clean, over)]
    first, second = (figure or 0.0 for figure in figures)
    return {
        "miou_clean": round(first, 4),
        "miou_occluded": round(second, 4),
        "miou_lost": round(first - second, 4),
        "occluders_taken_for_objects": round(mean(taken), 4) if taken else None,
        **{f"miou_at_{256 * side**2}_positions": _tiled_miou(model, drawn, side) for side in TILES},
    }


def _tiled_miou(model: Segmenter, drawn: Sequence[Scene], side: int) -> float | None:
    # A model whose pictures have a view of their own would see the tiles as small as one picture.
    model.view = View(inside=side * SIZE)
    found = miou(model, tiled(drawn, side))
    return None if found is None else round(found, 4)


def tiled(drawn: Sequence[Scene], side: int) -> list[Scene]:
    """Return each `side` x `side` pictures beside each other, as one; what is left over is not."""
    groups = [drawn[i : i + side**2] for i in range(0, len(drawn) - side**2 + 1, side**2)]
    return [Scene(_square([s.picture for s in g]), _square([s.objects for s in g])) for g in groups]


def _square(parts: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    side = round(len(parts) ** 0.5)
    rows = [np.concatenate(parts[i : i + side], axis=1) for i in range(0, len(parts), side)]
    return np.concatenate(rows, axis=0)


def miou(model: Segmenter, drawn: Sequence[Scene]) -> float | None:
    """Return the mIoU over background and classes; None where there are no pictures."""
    matrix = ConfusionMatrix(len(CLASSES) + 1)
    for scene in drawn:
        matrix.add(scene.objects, predict(model, scene.picture, len(scene.picture)))
    return mean_known(matrix.iou()) if drawn else None


def means(rows: Sequence[Row]) -> list[Row]:
    """Return each head's figures, means over the seeds."""
    found = []
    for head in dict.fromkeys(row["head"] for row in rows):
        own = [row for row in rows if row["head"] == head]
        figures = [name for name, value in own[0].items() if isinstance(value, float)]
        averaged = {name: round(mean(row[name] for row in own), 4) for name in figures}
        found.append({"head": head, "seeds": len(own), **averaged})
    return found


def main(
    backbones: Annotated[
        Path | None, typer.Argument(help="Folder that holds mit_b0; without it, from scratch.")
    ] = None,
    heads: Annotated[str, typer.Option(help="Separated by commas.")] = ",".join(get_args(HeadName)),
    seeds: Annotated[str, typer.Option(help="Separated by commas.")] = "0",
    train: Annotated[int, typer.Option(help="Training pictures.")] = 200,
    validation: Annotated[int, typer.Option(help="Validation pictures.")] = 64,
    epochs: Annotated[int, typer.Option(help="Of the base step.")] = 5,
    backbone: Annotated[str, typer.Option(help="Of the model.")] = "mit_b0",
    out: Annotated[Path, typer.Option(help="Where versions stay.")] = Path("runs/occlusion"),
    results: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("docs/results"),
) -> None:
    """Train and score every head, and write the figures."""
    names = heads.split(",")
    for name in names:
        if name not in get_args(HeadName):
            raise typer.BadParameter(f"{name!r} is none of {', '.join(get_args(HeadName))}")
    torch.set_num_threads(1)
    rows: list[Row] = []
    drawn = scenes(validation, FIRST_SEED)
    hidden, load = covered(drawn, FIRST_SEED), machine_load()
    given = without_folders([str(backbones)] if backbones else [])
    options = ["--heads", heads, "--seeds", seeds, "--train", str(train), "--epochs", str(epochs)]
    record = stamped(
        "cpu",
        command=" ".join(["python -m benchmarks.occlusion", *given, *options]),
        protocol=PROTOCOL.name,
        size=SIZE,
        batch_size=BATCH,
        epochs=epochs,
        training_pictures=train,
        validation_pictures=validation,
        nice=os.nice(0),
        load_before=load,
        records=rows,
    )
    results.mkdir(parents=True, exist_ok=True)
    path = results / "occlusion.json"
    start = "scratch" if backbones is None else "pretrained"
    for seed in map(int, seeds.split(",")):
        folder = out / f"{backbone}-{start}-{train}-pictures-{epochs}-epochs-seed{seed}"
        dataset = folder / "posted.zip"
        if not dataset.exists():
            folder.mkdir(parents=True, exist_ok=True)
            partial = dataset.with_suffix(".partial")
            write_voc_zip(partial, training_pictures(train, seed), CLASSES)
            partial.replace(dataset)
        settings = StepSettings(
            backbone=backbone,
            pretrained=backbones is not None,
            size=SIZE,
            epochs=epochs,
            batch_size=BATCH,
            learning_rate=6e-4,
            features=0,
            seed=seed,
        )
        for name in names:
            head = cast(HeadName, name)
            model, seconds = trained(dataset, folder / head, head, settings, backbones)
            row = {"head": name, "seed": seed, **scored(model, drawn, hidden)}
            rows.append(row | {"seconds": round(seconds, 1)})
            typer.echo(", ".join(f"{key} {value}" for key, value in rows[-1].items()))
            path.write_text(json.dumps(record | {"means": means(rows)}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
