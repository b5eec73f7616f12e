"""`sats segment`: pictures and folders of them through a running service."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from app.cli.calling import Exit, Url, asked_service, endings
from app.cli.completing import complete_model
from app.cli.folders import Job, OutputError, Unread, check_output, find, is_picture
from app.cli.refusing import refusal
from sats_core.data.names import printable
from sats_core.files import write_whole

if TYPE_CHECKING:
    from sats_client import AsyncClient


class Format(StrEnum):
    """What is asked of each picture."""

    MASK = "mask"
    OVERLAY = "overlay"
    JSON = "json"
    JSONL = "jsonl"


_ACCEPT = {
    Format.MASK: "image/png",
    Format.OVERLAY: "image/png; profile=overlay",
    Format.JSON: "application/json",
    Format.JSONL: "application/json",
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
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for what is written; not with jsonl."),
    ] = None,
    url: Url = None,
    model: Annotated[
        str, typer.Option(help="The model that answers.", autocompletion=complete_model)
    ] = "default",
    version: Annotated[
        int | None, typer.Option(help="Number of its version; default: the live one.", min=1)
    ] = None,
    form: Annotated[
        Format,
        typer.Option("--format", help="What is written of each picture; jsonl: lines on stdout."),
    ] = Format.MASK,
    overlay: Annotated[bool, typer.Option("--overlay", help="As --format overlay.")] = False,
    lines: Annotated[bool, typer.Option("--json", help="As --format jsonl.")] = False,
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
    """Segment pictures with a running service.

    Of folder/a.jpg comes OUTPUT/a.jpg.png, a mask of class indices; --format overlay and json write
    a.jpg.overlay.png and a.jpg.json. --format jsonl prints what they show, a line each as they are
    answered, and writes nothing. What is a picture is seen by its content; other files are passed
    over.

    Exits with 0 where every picture was answered, with 1 where one was not; where none is, with 3
    if the key does not allow it, 4 if there is no such model or version, 5 if nobody answers.
    """
    form = _form(form, {Format.OVERLAY: overlay, Format.JSONL: lines})
    with endings():
        from sats_client import Client

        _check_place(sources, output, form, resume=resume)
        found = list(find(sources, output, _SUFFIX.get(form, ""), recursive=recursive))
        asked = asked_service(url)
        with Client(*asked) as client:  # before anything is sent: an address or a key that is wrong
            client.classes(model, version)
        wanted = {"model": model} | ({} if version is None else {"version": version})
        run = _Run(form, wanted, resume=resume)
        ending = ""
        try:
            asyncio.run(run.all(found, asked, jobs, patience))
        except KeyboardInterrupt:
            ending = "" if form == Format.JSONL else "; --resume goes on from here"
            raise
        finally:
            typer.echo(f"{run.count}{ending}", err=form == Format.JSONL)
    if run.count.failed:
        raise typer.Exit(Exit.FAILURE)


def _form(form: Format, short: Mapping[Format, bool]) -> Format:
    """Return the form that is asked for, be it by `--format` or by a short word for one."""
    asked = {one for one, said in short.items() if said}
    asked |= set() if form == Format.MASK else {form}
    if len(asked) > 1:
        raise refusal(f"{' and '.join(sorted(asked))}: which of both?")
    return asked.pop() if asked else form


def _check_place(sources: list[Path], output: Path | None, form: Format, *, resume: bool) -> None:
    """Check where what is asked for goes; makes the folder.

    Raises:
        OutputError: it cannot go there.
        OSError: the folder cannot be made.
    """
    if form == Format.JSONL:
        if output is not None or resume:
            raise OutputError("--format jsonl prints lines: --output and --resume are of files")
        return
    if output is None:
        raise OutputError("name a folder by --output, or take --format jsonl")
    check_output(sources, output)
    output.mkdir(parents=True, exist_ok=True)


class _Run:
    """One run over files, its bar and what it says."""

    def __init__(self, form: Format, wanted: Any, *, resume: bool) -> None:
        self.count = Count()
        self._form = form
        self._wanted = wanted
        self._resume = resume
        self._console = Console(
            stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True
        )

    async def all(
        self,
        found: Sequence[Job | Unread],
        asked: tuple[str, str | None],
        jobs: int,
        patience: float,
    ) -> None:
        """Work off the files, so many at once.

        Raises:
            SatsError: no picture is answered; what is in flight is given up.
        """
        from sats_client import AsyncClient

        columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        hidden = not self._console.is_terminal
        left = iter(found)

        async def work() -> None:
            for one in left:  # all take from the same
                await self._one(client, one)
                bar.advance(progress)

        with Progress(*columns, console=self._console, disable=hidden) as bar:
            progress = bar.add_task("", total=len(found))
            async with AsyncClient(
                *asked, tries=None, patience=patience, connections=jobs
            ) as client:
                working = [asyncio.create_task(work()) for _ in range(jobs)]
                try:
                    await asyncio.gather(*working)
                finally:
                    for task in working:
                        task.cancel()
                    await asyncio.gather(*working, return_exceptions=True)

    async def _one(self, client: "AsyncClient", one: Job | Unread) -> None:
        from sats_client import AccessDenied, BadAnswer, Conflict, NotFound, Problem

        if isinstance(one, Unread):
            self._fail(one.source, one.why)
            return
        try:
            await self._job(client, one)
        except (AccessDenied, NotFound, Conflict):
            raise  # of every picture: no key or a wrong one, no such model or version
        except Problem as problem:
            self._fail(one.source, f"{problem.detail} (HTTP {problem.status})")
        except BadAnswer as error:
            self._fail(one.source, str(error))
        except BrokenPipeError:
            raise  # nobody reads stdout any more
        except OSError as error:
            self._fail(one.source, error.strerror or str(error))

    async def _job(self, client: "AsyncClient", job: Job) -> None:
        if self._resume and job.target is not None and job.target.exists():
            self.count.there += 1
        elif is_picture(job.source):
            body = await client.segment_as(job.source, _ACCEPT[self._form], **self._wanted)
            if job.target is None:
                _print(job.source, body)
            else:
                await asyncio.to_thread(_write, job.target, body)
            self.count.written += 1
        elif job.named:
            self._fail(job.source, "is no picture")
        else:
            self.count.no_pictures += 1

    def _fail(self, source: Path, why: str) -> None:
        self.count.failed += 1
        self._console.print(printable(f"sats: {source}: {why}"))


def _print(source: Path, body: bytes) -> None:
    """Print what a picture shows on a line of its own, at once: who reads may be a program.

    Raises:
        BrokenPipeError: nobody reads it.
    """
    typer.echo(json.dumps({"file": str(source), **json.loads(body)}))


def _write(target: Path, body: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, body)
