"""`sats audit gradients`: what one step's gradients give away of its picture."""

import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from app.cli.calling import model_and_number
from app.cli.common import database
from app.cli.printing import AsJson, Form, Row, print_all
from app.cli.refusing import MISSING, REFUSED, refusal
from app.db import read_session
from app.processes.children import END_WITH_PARENT, own
from app.registry.files import lay_out
from app.registry.service import served_version
from app.settings import get_settings
from app.storage import open_store
from sats_core.data.names import printable
from sats_core.leakage_report import (
    LEAST_SIDE,
    MOST_ITERATIONS,
    MOST_SIDE,
    LeakageJob,
    LeakageReport,
)
from sats_core.scratch import Scratch

AUDIT = "sats_core.training.leakage_audit"
"""The process that computes: this one holds no torch."""


def _picture(what: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(help=what, exists=True, dir_okay=False)
    return option


def gradients(
    version: Annotated[
        str,
        typer.Argument(
            metavar="MODEL[@N]|DIR",
            help="The model, and its version if not the live; or what `sats export` wrote.",
        ),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="A new or empty directory for what is found.")
    ],
    picture: Annotated[Path | None, _picture("That the step learns from; default: drawn.")] = None,
    labels: Annotated[
        Path | None,
        _picture("PNG of its class indices; default: what the version predicts."),
    ] = None,
    unrelated: Annotated[
        Path | None, _picture("Another picture: how like the first it is, as a mark.")
    ] = None,
    size: Annotated[
        int, typer.Option(help="Side of what the step sees, pixels.", min=LEAST_SIDE, max=MOST_SIDE)
    ] = LEAST_SIDE,
    iterations: Annotated[
        int, typer.Option(help="Of each attack.", min=1, max=MOST_ITERATIONS)
    ] = 300,
    seed: Annotated[int, typer.Option(help="Of all that is random.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Try to rebuild a picture from the gradients of one step on it, with and without dropout.

    For whoever thinks of training where others see gradients, which this service never does. Works
    on the service's own machine, for minutes. What it prints was measured on one picture by one
    attack, and guarantees nothing.
    """
    if labels is not None and picture is None:
        raise refusal("--labels are of a --picture: name it too")
    if size % LEAST_SIDE:
        raise refusal(f"--size {size}: a multiple of {LEAST_SIDE}")
    _refuse_taken(out)
    with ExitStack() as stack:
        scratch = stack.enter_context(Scratch("gradients"))
        directory = _directory(version, scratch)
        _make(out)
        job = LeakageJob(
            version=directory,
            picture=picture,
            labels=labels,
            unrelated=unrelated,
            size=size,
            iterations=iterations,
            seed=seed,
            out=out,
        )
        report = _run(job, scratch)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
        return
    print_all(_rows(report), Form.TABLE, dict, str)
    typer.echo(f"in {printable(str(out))}. {report.note}", err=True)


def _refuse_taken(out: Path) -> None:
    try:
        taken = out.exists() and not (out.is_dir() and not any(out.iterdir()))
    except (OSError, RuntimeError) as error:  # a loop of links, no right
        raise refusal(f"{out} cannot be read: {error}") from error
    if taken:
        raise refusal(f"{out} is there already and is not an empty directory")


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(f"{out} cannot be written: {error}") from error


def _directory(version: str, scratch: Path) -> Path:
    """Return the directory of a version's files, taken out of the service where it is none yet."""
    if (Path(version) / "config.json").is_file():
        return Path(version)
    if "/" in version:
        raise refusal(f"{printable(version)} holds no version: there is no config.json", MISSING)
    name, number = model_and_number(version)
    directory = scratch / "version"
    with database() as engine:
        with read_session(engine) as session:
            found = served_version(session, name, number)
        try:
            lay_out(open_store(get_settings(), engine), found, directory)
        except OSError as error:
            raise refusal(f"the version's files cannot be read: {error}") from error
    return directory


def _run(job: LeakageJob, scratch: Path) -> LeakageReport:
    file = scratch / "job.json"
    file.write_text(job.model_dump_json())
    done = subprocess.run(
        [*own(AUDIT), str(file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=END_WITH_PARENT,
        check=False,
        text=True,
    )
    if done.returncode == REFUSED:
        raise refusal(printable(done.stderr.strip()))
    if done.returncode:
        typer.echo(done.stderr, err=True)
        raise refusal(f"the audit ended with status {done.returncode}", MISSING)
    return LeakageReport.model_validate_json((job.out / "report.json").read_bytes())


def _rows(report: LeakageReport) -> list[Row]:
    """Return the marks first, then what each attack came to."""
    marks: list[Row] = [
        {"": name, "PSNR dB": one.psnr, "SSIM": one.ssim, "1 - cosine": None, "mask right": None}
        for name, one in report.marks.items()
    ]
    return marks + [
        {
            "": str(one.attack),
            "PSNR dB": one.similarity.psnr,
            "SSIM": one.similarity.ssim,
            "1 - cosine": one.distance,
            "mask right": one.mask_agrees,
        }
        for one in report.attacks
    ]
