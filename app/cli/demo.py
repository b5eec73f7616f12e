"""`sats demo`."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[Path, typer.Option(help="Folder for pictures and data.")] = Path(
        "demo-output"
    ),
) -> None:
    """Show the main job on drawn pictures: learn three classes, then a fourth."""
    from app.demo.run import run_demo

    raise typer.Exit(run_demo(output))
