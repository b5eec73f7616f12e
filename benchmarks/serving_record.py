"""The record of a measurement of serving: kept as it grows, written with its page and plots.

    python -m benchmarks.serving_record docs/results

writes page and plots anew of the record that lies there.
"""

import importlib.util
import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import typer

from benchmarks.machine import commit, hardware
from benchmarks.serving_plots import write_plots
from benchmarks.serving_report import page

NAME = "serving"
THEN = " && "
PACKAGES = ("onnxruntime", "fastapi", "uvicorn", "litserve", "bentoml", "torch")
ALIKE = ("commit", "hardware", "processors", "packages")
"""What all rounds of a record have in common."""
Record = dict[str, Any]


def begun(command: str, folder: Path, *, add: bool) -> Record:
    """Return a record to be filled: an empty one, or the folder's own, to which rounds are added.

    Raises:
        BadParameter: rounds are added to those of another commit's code, of another machine or of
            other packages: they are not of one service.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}.json"
    machine = _machine()
    before = _read(path, machine) if add and path.exists() else None
    if before is None:
        return {"command": command, "machine": machine, "sets": {}}
    commands = dict.fromkeys([*before["command"].split(THEN), command])
    return before | {"command": THEN.join(commands)}


def keep(written: Record, folder: Path) -> None:
    """Write what was measured so far."""
    (folder / f"{NAME}.json").write_text(json.dumps(written, indent=1) + "\n")


def publish(written: Record, folder: Path) -> None:
    """Write record, page and plots."""
    keep(written, folder)
    (folder / f"{NAME}.md").write_text(page(written))
    write_plots(written, folder)


def _read(path: Path, machine: Record) -> Record:
    found: Record = json.loads(path.read_text())
    for name in ALIKE:
        # `+`: the record itself may be a file that differs from the commit.
        then, now = (str(one[name]).rstrip("+") for one in (found["machine"], machine))
        if then != now:
            said = f"{path} has rounds of {name} {then}, this is {now}: measure without --add"
            raise typer.BadParameter(said)
    return found


def _machine() -> Record:
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    uvloop = importlib.util.find_spec("uvloop") is not None
    return {
        "commit": commit(),
        "hardware": hardware("cpu"),
        "processors": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "packages": packages | {"event loop": "uvloop" if uvloop else "asyncio"},
    }


def main(folder: Path) -> None:
    """Write page and plots of a folder's record."""
    publish(json.loads((folder / f"{NAME}.json").read_text()), folder)


if __name__ == "__main__":
    typer.run(main)
