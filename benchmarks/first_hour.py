"""Is the first own class live within a quarter of an hour, from nothing but a checkout?

    python -m benchmarks.first_hour ENCODER

Clones this checkout to a temporary folder, puts there what the README says that one brings (a
SegFormer in a directory, a zip of labelled pictures, a photo), and runs the README's commands as
they stand in it, one after another; the quickstart's are the same. ENCODER is a folder of a
SegFormer's encoder in the hub's layout. A command that fails or is missing, and a class that is not
live at the end, end it, and nothing is written. The service listens at its usual port, which must
be free; what is installed comes from where pip is told to look. Writes `first_hour.json`.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from difflib import ndiff
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from benchmarks.first_hour_things import NEW, PICTURES, write_model, write_photo, write_pictures
from benchmarks.machine import commit, hardware
from sats_client import Client, Task

ROOT = Path(__file__).parents[1]
PAGE = Path("docs/quickstart.md")
README = Path("README.md")
SECTIONS = ("Try it", "Your own model and classes")
"""Of the README; its other commands are for those who deploy it or work on it."""
URL = "http://127.0.0.1:8000"
BAR_SECONDS = 900.0
LONGEST_SECONDS = 3600.0

SERVE = "make serve"
INSTALLED = ": installed"
DEMO = "make demo"
"""It shows drawn classes of its own: no part of the way to an own one."""
TASK_ID = "ID-FROM-THE-ANSWER"
MODEL, DATA_SET, PHOTO = Path("path/to/segformer"), Path("my-classes.zip"), Path("photo.jpg")
OVERLAY = Path("masks/photo.jpg.overlay.png")
NEEDED = (SERVE, f"sats import {MODEL}", f"dataset=@{DATA_SET}", f"{TASK_ID}/events", str(PHOTO))
"""What a page's commands must come to, in this order."""

_BLOCK = re.compile(r"^( *)```bash\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


class WalkError(Exception):
    """The page's commands do not lead where it says."""


@dataclass(frozen=True)
class Step:
    """Something that was waited for."""

    what: str
    seconds: float


def commands(page: str) -> list[str]:
    """Return the commands of a page's shell blocks, but the demo's.

    Raises:
        WalkError: one is missing that leads to an own class.
    """
    blocks = (block[2].replace("\\\n", " ") for block in _BLOCK.finditer(page))
    lines = (line.partition(" #")[0].strip() for block in blocks for line in block.splitlines())
    found = [re.sub(r" +", " ", line) for line in lines if line and line != DEMO]
    left = iter(found)
    for needed in NEEDED:
        if not any(needed in command for command in left):
            raise WalkError(f"no command of the page has {needed!r} after those before it")
    return found


def walked(folder: Path) -> list[str]:
    """Return the commands that README and quickstart of a checkout have in common: all.

    Raises:
        WalkError: one of them has another one, or lacks one that leads to an own class.
    """
    whole = (folder / README).read_text()
    parts = [part for part in whole.split("\n## ") if part.partition("\n")[0] in SECTIONS]
    found = commands("\n".join(parts))
    if other := _differing(found, commands((folder / PAGE).read_text())):
        raise WalkError(f"{README} and {PAGE} differ:\n" + "\n".join(other))
    return found


def _differing(first: Sequence[str], second: Sequence[str]) -> list[str]:
    return [line for line in ndiff(first, second) if line.startswith(("+", "-"))]


class Walk:
    """Runs a page's commands in a clone, and times each."""

    def __init__(self, clone: Path) -> None:
        self.steps: list[Step] = []
        self.task: Task | None = None
        self._clone = clone
        self._serve: subprocess.Popen[bytes] | None = None

    def run(self, found: Sequence[str]) -> None:
        """Run them.

        Raises:
            WalkError: one fails, or a class is not live at the end of its task.
        """
        for command in found:
            if command == SERVE:
                self._start(command)
            else:
                self._do(command)

    def end(self) -> None:
        """Stop the service."""
        if self._serve is not None and self._serve.poll() is None:
            os.killpg(self._serve.pid, signal.SIGTERM)
            self._serve.wait(timeout=60)

    def _start(self, command: str) -> None:
        with Path(self._clone, "serve.log").open("wb") as log:
            self._serve = subprocess.Popen(
                command.split(),
                cwd=self._clone,
                env=_environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with self.timed(f"{command}{INSTALLED}"):
            self._until(lambda: Path(self._clone, ".venv", ".installed").exists())
        with self.timed(f"{command}: ready"):
            self._until(_is_ready)

    def _until(self, there: Any) -> None:
        end = time.monotonic() + LONGEST_SECONDS
        while not there():
            if self._serve is None or self._serve.poll() is not None or time.monotonic() > end:
                raise WalkError(f"no service: {Path(self._clone, 'serve.log').read_text()[-2000:]}")
            time.sleep(0.2)

    def _do(self, command: str) -> None:
        if TASK_ID in command and self.task is None:
            raise WalkError(f"{command}: no task was made before")
        ready = command.replace(TASK_ID, self.task.id if self.task else "")
        with self.timed(command):
            said = _said(ready, self._clone)
        if f"@{DATA_SET}" in command:
            self.task = _task(_id_of(said))
        elif TASK_ID in command and self.task is not None:
            self.task = _task(self.task.id)
            if not self.task.live:
                raise WalkError(f"the task is {self.task.outcome or self.task.state}, not live")

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Time what happens inside."""
        began = time.monotonic()
        yield
        self.steps.append(Step(what, round(time.monotonic() - began, 1)))
        typer.echo(f"{self.steps[-1].seconds:7.1f} s  {what}")


def _said(command: str, folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise WalkError(f"{command}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def _environment() -> dict[str, str]:
    """Return what somebody's shell has: nothing of this service's, and not this environment."""
    own = str(Path(sys.executable).parent)
    path = [one for one in os.environ["PATH"].split(os.pathsep) if one != own]
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SATS_") and name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    return kept | {"PATH": os.pathsep.join(path)}


def _id_of(said: str) -> str:
    try:
        return str(json.loads(said)["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise WalkError(f"no task was made: {said}") from error


def _task(task_id: str) -> Task:
    with Client(URL, "") as client:
        return client.task(task_id)


def _is_ready() -> bool:
    try:
        return httpx.get(f"{URL}/health/ready", timeout=5).is_success
    except httpx.TransportError:
        return False


def measure(encoder: Path) -> dict[str, Any]:
    """Take the walk; return its record.

    Raises:
        WalkError: it does not lead to a class that is live.
    """
    if _is_ready():
        raise WalkError(f"something answers at {URL} already")
    load = round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory(prefix="first-hour-") as scratch:
        clone = Path(scratch, "sats")
        walk = Walk(clone)
        with walk.timed("git clone"):
            _said(f"git clone --quiet {ROOT} {clone}", Path(scratch))
        write_model(encoder, clone / MODEL)
        write_pictures(clone / DATA_SET)
        write_photo(clone / PHOTO)
        found = walked(clone)
        try:
            walk.run(found)
            if not (clone / OVERLAY).stat().st_size:
                raise WalkError(f"{OVERLAY} is empty")
            with Client(URL, "") as client:
                classes = [known.name for known in client.classes().classes]
        finally:
            walk.end()
    return {
        "commands": found,
        **summary(walk.steps),
        "classes": classes,
        "load_average_before": load,
    }


def summary(steps: Sequence[Step]) -> dict[str, Any]:
    """Return how long it took until the class was live, and whether that is soon enough."""
    until = next(n for n, step in enumerate(steps) if TASK_ID in step.what) + 1
    live = round(sum(step.seconds for step in steps[:until]), 1)
    installing = sum(step.seconds for step in steps if step.what.endswith(INSTALLED))
    return {
        "steps": [asdict(step) for step in steps],
        "seconds_until_live": live,
        "seconds_until_live_without_installing": round(live - installing, 1),
        "bar_seconds": BAR_SECONDS,
        "holds": live < BAR_SECONDS,
    }


def stale(record: Mapping[str, Any], page: str) -> Sequence[str]:
    """Return in what a page's commands differ from those that a record was taken with."""
    return _differing(record["commands"], commands(page))


def main(
    encoder: Annotated[Path, typer.Argument(help="A SegFormer's encoder.", exists=True)],
    results: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("docs/results"),
) -> None:
    """Run the README's commands in a fresh clone, and say how long each takes."""
    cloned = commit()
    try:
        taken = measure(encoder)
    except WalkError as error:
        typer.echo(f"first_hour: {error}", err=True)
        raise typer.Exit(1) from error
    record = {
        "command": "python -m benchmarks.first_hour ENCODER",
        "page": str(README),
        "commit": cloned,
        "hardware": hardware("cpu"),
        "cores": os.cpu_count(),
        "encoder": encoder.name,
        "new_class": NEW,
        "pictures": PICTURES,
        **taken,
    }
    (results / "first_hour.json").write_text(json.dumps(record, indent=1) + "\n")
    typer.echo(f"live after {taken['seconds_until_live']} s; at most {BAR_SECONDS:g}")


if __name__ == "__main__":
    typer.run(main)
