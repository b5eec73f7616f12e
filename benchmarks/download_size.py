"""How much does `make install` download? Asks pip what it would take, and hosts how large that is.

    python -m benchmarks.download_size [--cuda]

Nothing is installed, and next to nothing fetched: a pip of its own in a temporary folder, since
older ones fetch what they only plan for, and the packages' descriptions. `--cuda` looks at PyPI
alone, whatever pip is told otherwise: what a machine with an NVIDIA driver takes. Prints a table.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import httpx
import typer

ROOT = Path(__file__).parents[1]
PIP = "pip>=25.1"
"""It plans an installation by the descriptions of packages alone."""
WANTED = ("-c", "constraints.txt", "-e", "./clients/python", "-e", ".[dev]")
"""What `deploy/install.sh` asks for."""
LARGEST = 8


class SizeError(Exception):
    """What would be fetched cannot be told."""


def planned(cuda: bool) -> list[str]:
    """Return the URLs of what pip would fetch.

    Raises:
        SizeError: pip cannot plan it.
    """
    told = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if cuda:
        told = {name: value for name, value in told.items() if not name.startswith("PIP_FIND")}
        told |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "https://pypi.org/simple"}
    with tempfile.TemporaryDirectory(prefix="download-size-") as scratch:
        report = Path(scratch, "report.json")
        own = Path(scratch, "venv")
        python = own / "bin" / "python"
        _do([sys.executable, "-m", "venv", str(own)], told)
        _do([str(python), "-m", "pip", "install", "--quiet", "--upgrade", PIP], told)
        plan = ("--quiet", "--dry-run", "--ignore-installed", "--report", str(report))
        _do([str(python), "-m", "pip", "install", *plan, *WANTED], told)
        return urls(json.loads(report.read_text()))


def urls(report: Mapping[str, Any]) -> list[str]:
    """Return where the archives of pip's report come from; folders of the checkout are none."""
    sources = [one["download_info"] for one in report["install"]]
    return [str(one["url"]) for one in sources if "dir_info" not in one]


def _do(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SizeError(done.stderr.strip()[-2000:])


def size(url: str) -> int:
    """Return how many bytes an archive has.

    Raises:
        SizeError: nobody says so.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path)).stat().st_size
    try:
        answer = httpx.head(url, follow_redirects=True, timeout=60).raise_for_status()
        return int(answer.headers["Content-Length"])
    except (httpx.HTTPError, KeyError) as error:
        raise SizeError(f"{url}: {error}") from error


def main(
    cuda: Annotated[
        bool, typer.Option("--cuda", help="With torch's CUDA build, from PyPI.")
    ] = False,
) -> None:
    """Print how much an installation downloads, the largest archives first."""
    try:
        found = planned(cuda)
        with ThreadPoolExecutor(4) as pool:
            sizes = dict(zip(found, pool.map(size, found), strict=True))
    except SizeError as error:
        typer.echo(f"download_size: {error}", err=True)
        raise typer.Exit(1) from error
    for url in sorted(sizes, key=lambda one: -sizes[one])[:LARGEST]:
        typer.echo(f"{sizes[url] / 1e6:8.1f} MB  {unquote(url.rpartition('/')[2])}")
    typer.echo(f"{sum(sizes.values()) / 1e9:8.2f} GB in {len(sizes)} archives")


if __name__ == "__main__":
    typer.run(main)
