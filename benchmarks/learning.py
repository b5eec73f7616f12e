"""Methods x protocol x seeds: how well old and new classes survive a sequence of steps.

    python -m benchmarks.learning DATA --protocol ccp-15-1 --preset mit_b0 --backbone-dir BACKBONES

DATA is the folder of the data set (of Pascal VOC with a `classes.txt`; ADE20K as it comes; for
`drawn-6-1` what `python -m benchmarks.drawn_pictures` writes). The base step and training on
everything at once (`joint`) are taken once a seed and shared by all methods. Every finished step
stays in `--out`, a step that was interrupted goes on from its last epoch: the same command again
resumes, whenever the last one ended. A run that fails is named and the others go on. Hours of it
beside other work: `setsid nohup nice -n 19 python -m benchmarks.learning ... --workers 2 &`, a
thread a run. Writes a Markdown report, a plot of each preset and `learning-<protocol>.json` to
`--results`, beside what other runs left there.
"""

import multiprocessing
import os
import queue
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.learning_plan import (
    BASE,
    FROZEN_BASE,
    JOINT,
    METHODS,
    PRESETS,
    Sequence,
    Variant,
)
from benchmarks.learning_report import write_report
from benchmarks.learning_run import run_sequence
from sats_core.data.protocols import PROTOCOLS, Setting
from sats_core.events import Event, ProgressEvent
from sats_core.version_config import ALL_MLP

Said = tuple[Sequence, int, Event]


def plan(
    protocol: str,
    setting: Setting,
    data: Path,
    preset: str,
    seeds: list[int],
    variants: list[Variant],
    out: Path,
    tuning: bool,
    backbone_dir: Path | None,
) -> list[Sequence]:
    """Return every run: what others stand on first, then a seed after the other."""
    blank = Sequence(
        protocol,
        setting,
        data,
        preset,
        0,
        Variant(BASE),
        out,
        tuning=tuning,
        backbone_dir=backbone_dir,
    )
    heads = dict.fromkeys((ALL_MLP, *(variant.head for variant in variants)))
    bases = [Variant(BASE, head=head) for head in heads]
    every = [*bases, Variant(JOINT), Variant(FROZEN_BASE), *variants]
    return [replace(blank, seed=seed, variant=variant) for seed in seeds for variant in every]


def run_all(runs: list[Sequence], workers: int, threads: int, console: Console) -> list[str]:
    """Take all steps of all runs, several at a time, and show how far each is.

    Returns:
        What went wrong: a line for every run that failed or whose base step did.
    """
    failed: list[str] = []
    context = multiprocessing.get_context("spawn")
    waiting, running, done = list(runs), dict[Future[None], Sequence](), set[Path]()
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(workers, context, _end_with_parent, (os.getpid(),)) as pool,
        _bars(console) as bars,
    ):
        said: Any = manager.Queue()
        shown: dict[Sequence, Any] = {}
        while waiting or running:
            ready = [run for run in waiting if _needs(run) is None or _needs(run) in done]
            for run in ready[: workers - len(running)]:
                waiting.remove(run)
                running[pool.submit(_work, run, threads, said)] = run
            finished, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            _show(said, shown, bars)
            for future in finished:
                run = running.pop(future)
                if run in shown:
                    bars.remove_task(shown.pop(run))
                name = f"{run.protocol} {run.preset} seed {run.seed} {run.variant.label}"
                if error := future.exception():
                    failed.append(f"{name}: {type(error).__name__}: {error}")
                    waiting = [each for each in waiting if _needs(each) != run.folder]
                    console.print(f"failed: {failed[-1]}", markup=False)
                else:
                    done.add(run.folder)
                    console.print(f"done: {name}")
    return failed


def _end_with_parent(parent: int) -> None:
    """End this process when the command does, however that ends, even while this one starts."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _needs(run: Sequence) -> Path | None:
    """Return the folder of the run that this one starts from; without it, it is not taken."""
    if run.variant.method in (BASE, JOINT):
        return None
    return run.base.folder


def _work(run: Sequence, threads: int, said: "queue.Queue[Said]") -> None:
    def emit(step: int, event: Event) -> None:
        said.put((run, step, event))

    run_sequence(run, threads, emit)


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console
    )


def _show(said: "queue.Queue[Said]", shown: dict[Sequence, Any], bars: Progress) -> None:
    while not said.empty():
        run, step, event = said.get()
        if not isinstance(event, ProgressEvent):
            continue
        if run not in shown:
            shown[run] = bars.add_task("")
        text = f"seed {run.seed} {run.variant.label}: step {step}, {event.phase}"
        if event.epochs:
            text += f", epoch {event.epoch} of {event.epochs}"
        bars.update(shown[run], description=text, completed=event.step, total=event.steps)


def main(
    data: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    protocol: Annotated[str, typer.Option(help=", ".join(PROTOCOLS))] = "ccp-15-1",
    methods: Annotated[
        str,
        typer.Option(help="Separated by commas; options behind @: sats@memory=300@head=scaled."),
    ] = ",".join(METHODS),
    seeds: Annotated[str, typer.Option(help="Separated by commas.")] = "0,1",
    preset: Annotated[str, typer.Option(help=", ".join(PRESETS))] = (
        "gpu" if torch.cuda.is_available() else "cpu"
    ),
    setting: Annotated[str, typer.Option(help="overlapped or disjoint")] = "overlapped",
    workers: Annotated[
        int, typer.Option(help="Runs at a time; 0: one a core, or one on a GPU.")
    ] = 0,
    threads: Annotated[
        int, typer.Option(help="Of each run; 0: the cores, divided by the runs at a time.")
    ] = 0,
    out: Annotated[Path, typer.Option(help="Where finished steps stay.")] = Path("runs"),
    results: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("docs/results"),
    tuning: Annotated[
        bool, typer.Option(help="Validate on a fold of the training pictures.")
    ] = False,
    backbone_dir: Annotated[
        Path | None, typer.Option(help="Folder that holds pretrained weights.")
    ] = None,
    report_only: Annotated[
        bool, typer.Option(help="Report what is there, run nothing; the runs are only read.")
    ] = False,
) -> None:
    """Run what is not there yet, then write the report."""
    for name, known in ((protocol, PROTOCOLS), (preset, PRESETS), (setting, get_args(Setting))):
        if name not in known:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(known)}")
    console = Console()
    cores = os.cpu_count() or 1
    workers = workers or (1 if torch.cuda.is_available() else cores)
    variants = [Variant.parse(text) for text in methods.split(",")]
    chosen = [int(seed) for seed in seeds.split(",")]
    if protocol.split("-", 1)[0] not in PRESETS[preset].epochs:
        raise typer.BadParameter(f"preset {preset!r} has no schedule for {protocol!r}")
    runs = plan(
        *(protocol, cast(Setting, setting), data, preset, chosen, variants),
        *(out, tuning, backbone_dir),
    )
    began, failed = time.monotonic(), list[str]()
    if not report_only:
        failed = run_all(runs, workers, threads or max(1, cores // workers), console)
        console.print(f"all runs: {time.monotonic() - began:.0f} s")
    console.print(write_report(runs, results))
    if failed:
        console.print("failed:", *failed, sep="\n", markup=False)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
