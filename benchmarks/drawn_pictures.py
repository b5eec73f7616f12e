"""Draws the pictures of the protocol `drawn-6-1`: ten classes on textured grounds.

    python -m benchmarks.drawn_pictures runs/drawn

Writes a folder in Pascal VOC layout; the same numbers and seed give the same pictures. Needs no
download, and its classes can be learned well from scratch in minutes: what a method keeps can be
measured against an old model that is sure.
"""

import tempfile
import zipfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.drawn_objects import bottle, butterfly, doughnut, flower, house, star
from demo.objects import OBJECTS
from demo.pictures import Look, draw_dataset
from sats_core.data.protocols import DRAWN

LOOK = Look(
    OBJECTS
    | {
        "star": star,
        "house": house,
        "bottle": bottle,
        "doughnut": doughnut,
        "flower": flower,
        "butterfly": butterfly,
    },
    objects=(1, 2),
    side=(0.65, 0.95),
    clutter=(0, 1),
)


def draw(folder: Path, train: int, validation: int, size: int, seed: int) -> None:
    """Write `train` + `validation` pictures of `size` pixels to `folder`, in VOC layout.

    Raises:
        FileExistsError: the folder holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty")
    pictures = train + validation
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "drawn.zip")
        share = validation / pictures
        draw_dataset(path, DRAWN, pictures, size, seed, held_out=share, look=LOOK)
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)


def main(
    folder: Annotated[Path, typer.Argument(help="Where they go; empty or not there.")],
    train: Annotated[int, typer.Option(help="Training pictures.")] = 3000,
    validation: Annotated[int, typer.Option(help="Validation pictures.")] = 400,
    size: Annotated[int, typer.Option(help="Side, pixels.")] = 64,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 6,
) -> None:
    """Draw the pictures."""
    draw(folder, train, validation, size, seed)


if __name__ == "__main__":
    typer.run(main)
