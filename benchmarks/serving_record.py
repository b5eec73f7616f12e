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
Record = dict[str, Any]


def begun(command: str, folder: Path, *, add: bool) -> Record:
    """Return a record to be filled: an empty one, or the folder's own, to which rounds are added.

    Raises:
        BadParameter: rounds are added to those of another commit's code: they are not of one
            service.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}.json"
    before = _read(path) if add and path.exists() else None
    if before is None:
        return {"command": command, "machine": _machine(), "sets": {}}
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


def _read(path: Path) -> Record:
    found: Record = json.loads(path.read_text())
    then, now = found["machine"]["commit"], commit()
    if then.rstrip("+") != now.rstrip("+"):  # the record itself may be a file that differs
        said = f"{path} has rounds of commit {then}, this is {now}: measure without --add"
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
