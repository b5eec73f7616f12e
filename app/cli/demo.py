"""`sats demo`."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[Path, typer.Option(help="Folder for pictures and data.")] = Path(
        "demo-output"
    ),
    seed: Annotated[int, typer.Option(help="Of its pictures and its training.", min=0)] = 0,
    threads: Annotated[
        int, typer.Option(help="Of its training; its pictures are too small for more.", min=1)
    ] = 1,
) -> None:
    """Show the main job on drawn pictures: learn three classes, then a fourth."""
    from demo.plan import Plan
    from demo.run import run_demo

    raise typer.Exit(run_demo(output, Plan(seed=seed, threads=threads)))
