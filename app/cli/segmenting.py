"""`sats segment`: folders of pictures through a running service."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from app.cli.folders import Job, OutputError, Unread, check_output, find, is_picture
from app.cli.refusing import refusal
from app.cli.requesting import PictureError, RefusedError, Wanted, connected, segmented
from sats_core.data.names import printable
from sats_core.files import write_whole

FAILED = 1
"""Exit status where a picture was not answered."""
INTERRUPTED = 130
"""Exit status after ^C, as of a shell."""


class Format(StrEnum):
    """What is written of each picture."""

    MASK = "mask"
    OVERLAY = "overlay"
    JSON = "json"


_ACCEPT = {
    Format.MASK: "image/png",
    Format.OVERLAY: "image/png; profile=overlay",
    Format.JSON: "application/json",
}
_SUFFIX = {Format.MASK: ".png", Format.OVERLAY: ".overlay.png", Format.JSON: ".json"}


@dataclass
class Count:
    """What became of the files so far."""

    written: int = 0
    failed: int = 0
    there: int = 0
    no_pictures: int = 0

    def __str__(self) -> str:
        """Return it in words."""
        others = {
            "failed": self.failed,
            "were there": self.there,
            "no pictures": self.no_pictures,
        }
        told = (f"{number} {what}" for what, number in others.items() if number)
        return ", ".join([f"{self.written} written", *told])


def segment(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", help="Folders and pictures.", exists=True)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for what is written.")],
    url: Annotated[
        str, typer.Option(help="Where the service is.", envvar="SATS_URL")
    ] = "http://127.0.0.1:8000",
    model: Annotated[str, typer.Option(help="The model that answers.")] = "default",
    version: Annotated[
        int | None, typer.Option(help="Number of its version; default: the live one.", min=1)
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="What is written of each picture.")
    ] = Format.MASK,
    jobs: Annotated[int, typer.Option(help="Most requests at once.", min=1, max=64)] = 4,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Read folders inside folders too.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip pictures of which there is one already.")
    ] = False,
    patience: Annotated[
        float,
        typer.Option(help="Seconds for which a busy or missing service is tried again.", min=0),
    ] = 300.0,
) -> None:
    """Segment the pictures of folders with a running service.

    SATS_API_KEY is sent as the key. Of folder/a.jpg comes OUTPUT/a.jpg.png, a mask of class
    indices; --format overlay and json write a.jpg.overlay.png and a.jpg.json. What is a picture is
    seen by its content; other files are passed over.

    Exits with 0 where every picture was answered, with 1 where one was not, and with 2 where none
    can be.
    """
    parameters = {"model": model} | ({} if version is None else {"version": str(version)})
    wanted = Wanted(_ACCEPT[form], parameters, patience)
    try:
        check_output(sources, output)
        output.mkdir(parents=True, exist_ok=True)
        key = _checked(url)
    except (OutputError, OSError) as error:
        raise refusal(printable(str(error))) from error
    found = list(find(sources, output, _SUFFIX[form], recursive=recursive))
    count = Count()
    try:
        with _Run(count, len(found), resume) as run:
            asyncio.run(run.all(iter(found), url, key, wanted, jobs))
    except RefusedError as error:
        typer.echo(str(count))
        raise refusal(printable(str(error))) from error
    except KeyboardInterrupt as error:
        typer.echo(f"{count}; --resume goes on from here")
        raise typer.Exit(INTERRUPTED) from error
    typer.echo(str(count))
    if count.failed:
        raise typer.Exit(FAILED)


def _checked(url: str) -> str | None:
    """Look at the address, and return the key of the environment.

    Raises:
        OutputError: one of both cannot be.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise OutputError(f"{url} is no URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise OutputError(f"{url} is no address of a service, as http://127.0.0.1:8000 is")
    key = os.environ.get("SATS_API_KEY", "").strip()
    if not key.isascii():
        raise OutputError("SATS_API_KEY is no API key")
    return key or None


class _Run:
    """One run over files, its bar and what it says."""

    def __init__(self, count: Count, files: int, resume: bool) -> None:
        console = Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)
        columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._all = self._bar.add_task("", total=files)
        self._count = count
        self._resume = resume

    def __enter__(self) -> "_Run":
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the bar as it is."""
        self._bar.stop()

    async def all(
        self, found: Iterator[Job | Unread], url: str, key: str | None, wanted: Wanted, jobs: int
    ) -> None:
        """Work off the files, so many at once.

        Raises:
            RefusedError: no picture is answered; what is in flight is given up.
        """

        async def work() -> None:
            for one in found:  # all take from the same
                await self._one(client, wanted, one)
                self._bar.advance(self._all)

        async with connected(url, key, jobs) as client:
            working = [asyncio.create_task(work()) for _ in range(jobs)]
            try:
                await asyncio.gather(*working)
            finally:
                for task in working:
                    task.cancel()
                await asyncio.gather(*working, return_exceptions=True)

    async def _one(self, client: httpx.AsyncClient, wanted: Wanted, one: Job | Unread) -> None:
        if isinstance(one, Unread):
            self._fail(one.source, one.why)
        else:
            try:
                if self._resume and one.target.exists():
                    self._count.there += 1
                else:
                    await self._segment(client, wanted, one)
            except PictureError as error:
                self._fail(one.source, str(error))
            except OSError as error:
                self._fail(one.source, error.strerror or str(error))

    async def _segment(self, client: httpx.AsyncClient, wanted: Wanted, job: Job) -> None:
        if not is_picture(job.source):
            if job.named:
                raise PictureError("is no picture")
            self._count.no_pictures += 1
            return
        body = await segmented(client, wanted, job.source)
        await asyncio.to_thread(_write, job.target, body)
        self._count.written += 1

    def _fail(self, source: Path, why: str) -> None:
        self._count.failed += 1
        self._bar.console.print(printable(f"sats: {source}: {why}"))


def _write(target: Path, body: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, body)
