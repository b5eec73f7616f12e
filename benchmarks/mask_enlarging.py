"""What it is worth to enlarge logits in place of labels: IoU of both at the pictures' own size.

    python -m benchmarks.mask_enlarging VERSION DATA --pictures 300

VERSION is a version's directory, DATA a folder in a layout that tasks have; its split `val` is
scored. Prints IoU per class and the mean, and puts them into `mask_enlarging.json` of `--results`,
where every data set has its place.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from benchmarks.machine import commit
from sats_core.data.labels import step_lookup
from sats_core.data.prediction import Prediction, best_channels
from sats_core.data.readers import Reader, open_reader
from sats_core.data.sources import DirectorySource
from sats_core.data.transforms import Pixels, resize_label
from sats_core.evaluation.confusion import ConfusionMatrix
from sats_core.evaluation.predict import model_input
from sats_core.export import LoadedVersion, load_version
from sats_core.settings import Limits

WAYS = ("labels, nearest neighbour", "logits, bilinear")


@torch.no_grad()
def both(version: LoadedVersion, picture: Pixels) -> tuple[Pixels, Pixels]:
    """Return the channels (H, W) of a picture, cut in either way from one run of the model."""
    pixels, (height, width) = model_input(picture, version.config["size"], version.model)
    logits = version.model(pixels).float()
    whole_height, whole_width = pixels.shape[-2:]
    seen = F.interpolate(logits, (whole_height, whole_width), mode="bilinear").argmax(dim=1)
    small = np.ascontiguousarray(seen[0, :height, :width].to(torch.uint8).numpy())
    rows, columns = logits.shape[-2:]
    prediction = Prediction(
        logits[0].numpy(), rows * height / whole_height, columns * width / whole_width
    )
    size = picture.shape[0], picture.shape[1]
    return resize_label(small, *size), best_channels(prediction, *size)


def pictures(reader: Reader, most: int) -> Iterator[tuple[Pixels, Pixels]]:
    """Yield pictures of the split `val` with their labels."""
    for picture_id in list(reader.splits["val"])[:most]:
        found = reader.read(picture_id)
        yield found.picture, found.label


def measure(version: LoadedVersion, reader: Reader, most: int) -> list[ConfusionMatrix]:
    """Count both ways' pixels."""
    classes = version.catalogue
    truth = step_lookup(
        reader.classes, {name: classes.channel(name) for name in classes.foreground}
    )
    matrices = [ConfusionMatrix(len(classes)) for _ in WAYS]
    for picture, label in pictures(reader, most):
        for matrix, answer in zip(matrices, both(version, picture), strict=True):
            matrix.add(truth[label], answer)
    return matrices


def main(
    version: Annotated[Path, typer.Argument(help="A version's directory.")],
    data: Annotated[Path, typer.Argument(help="Folder of labelled pictures.")],
    most: Annotated[int, typer.Option("--pictures", help="Most pictures.")] = 300,
    results: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("docs/results"),
) -> None:
    """Compare the two ways on pictures that were held out."""
    loaded = load_version(version)
    with closing(DirectorySource(data, Limits())) as source:
        reader = open_reader(source)
        scored = min(most, len(reader.splits["val"]))
        found = [matrix.iou() for matrix in measure(loaded, reader, most)]
    table = Table("class", *WAYS, "gain", title=f"IoU, {data.name}")
    rows = [
        (name, before, after)
        for name, before, after in zip(loaded.catalogue.names, *found, strict=True)
        if before is not None and after is not None
    ]
    means = [float(np.mean([row[way] for row in rows])) for way in (1, 2)]
    for name, before, after in [*rows, ("mean", *means)]:
        table.add_row(name, f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}")
    Console().print(table)
    record = {
        "command": f"python -m benchmarks.mask_enlarging VERSION DATA --pictures {most}",
        "commit": commit(),
        "pictures": scored,
        "size": loaded.config["size"],
        "mean_iou": dict(zip(WAYS, means, strict=True)),
        "iou": {name: dict(zip(WAYS, pair, strict=True)) for name, *pair in rows},
        "largest_difference": max(abs(after - before) for _, before, after in rows),
    }
    _keep(results / "mask_enlarging.json", data.name, record)


def _keep(path: Path, name: str, record: dict[str, Any]) -> None:
    records = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**records, name: record}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    typer.run(main)
