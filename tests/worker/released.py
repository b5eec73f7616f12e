"""The release before this one, taken from git, and its worker."""

import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from tests.fixtures.processes import environment
from tests.worker.bench import ROOT, Bench, WorkerProcess

RELEASED = "663d5f523dae50d8c5ba0022e8f6023f316fb8cd"
"""The last commit of the release before; processes of both work side by side during an upgrade."""


def unpack(folder: Path) -> Path | None:
    """Unpack the release before; None where git does not have it, as in a shallow clone."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", RELEASED],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        return None
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as packed:
        packed.extractall(folder, filter="data")
    return folder


def path_of(tree: Path) -> dict[str, str]:
    """Return the environment in which a process imports the packages of the release in `tree`."""
    return {"PYTHONPATH": os.pathsep.join(map(str, (tree, tree / "clients" / "python")))}


@contextmanager
def old_worker(bench: Bench, tree: Path, module: str) -> Iterator[WorkerProcess]:
    """Run a Celery worker of the release in `tree`, with the settings that ours has."""
    log = bench.settings.data_dir / f"old-worker-{time.monotonic_ns()}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "celery", "--app", module, "worker", "--loglevel", "INFO"],
            cwd=tree,
            env={
                **os.environ,
                **environment(bench.settings),
                **path_of(tree),
                "SCRIPTED_CHILD_CONTROL": str(bench.control.path),
            },
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield WorkerProcess(process, log)
    except BaseException:
        sys.stderr.write(log.read_text())
        raise
    finally:
        process.kill()
        process.wait()
