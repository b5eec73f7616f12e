"""What does the service add to what it computes, and how do others do?

    python -m benchmarks.serving --out docs/results

Exports a version, starts every contestant on it (ours without and with a key, LitServe, BentoML,
plain FastAPI with the graph and with torch), and asks them in turns, round by round, beside the
limit: the same functions in a loop. Then starts ours again and again, promotes under load, and asks
for twice the limit. Writes `serving.json`, `serving.md` and plots to `--out`. LitServe and BentoML
come with `pip install -e ".[bench]"`; a contestant that is not installed is reported as not
measured. Turns are short and rounds are many: what else goes on at a machine comes and goes within
seconds, and a ratio is of two turns that lie close together.
"""

import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import typer
from PIL import Image

from benchmarks import serving_operations as operations
from benchmarks.machine import without_folders
from benchmarks.processes import NotStartedError, Server
from benchmarks.serving_bars import CLIENTS, bars
from benchmarks.serving_contestants import (
    KEYED,
    LIMIT,
    Contestant,
    install,
    others,
    ours,
    workers_name,
)
from benchmarks.serving_limit import setups
from benchmarks.serving_pipeline import Setup, answer, load_graph
from benchmarks.serving_record import begun, keep, publish
from benchmarks.serving_rounds import (
    BUSY,
    WARM_UP_SECONDS,
    Record,
    Setups,
    limit_turn,
    median_of,
    server_turn,
)
from benchmarks.serving_version import make_version, write_pictures

TRY_SECONDS = 2.0


class Measured:
    """One backbone at one size: what is served, who takes part, and what was seen.

    Args:
        folder: empty; takes the version, the pictures, the installations and the logs.
        backbone: of the version.
        size: of the pictures and of what the model sees, pixels.
        weights: a version's directory, or None.
        seconds: of each turn.
        tried: ways to compute, of which the best are taken.
        before: what was measured so far; its ways to compute stay.
    """

    def __init__(
        self,
        folder: Path,
        backbone: str,
        size: int,
        weights: Path | None,
        seconds: float,
        tried: Sequence[Setup],
        before: Record | None,
    ) -> None:
        self.folder, self.seconds = folder, seconds
        self.version, self.pictures = folder / "version", folder / "pictures"
        make_version(self.version, backbone, size, weights)
        self.encoded = [path.read_bytes() for path in write_pictures(self.pictures, size)]
        if before:
            self.setups = Setups(before["setups"])
        else:
            here = (self.version, self.pictures)
            self.setups = Setups.measured(*here, min(TRY_SECONDS, seconds), tried)
        self.record: Record = before or {
            "setups": self.setups.tried,
            "contestants_setup": str(self.setups.contestants()),
            "limit_setups": {},
            "agreement": {},
            "not_measured": {},
            "turns": [],
        }

    def contestants(self, only: Sequence[str], workers: int) -> list[Contestant]:
        """Return the servers that take part; all where `only` is empty."""
        keyless = install(self.folder / "keyless", self.version, keyed=False)
        keyed = install(self.folder / "keyed", self.version, keyed=True)
        found = [
            ours(keyless),
            ours(keyed, KEYED),
            *others(self.version, self.setups.contestants()),
        ]
        if workers > 1:
            found.insert(2, ours(keyless, workers_name(workers), workers))
        return [one for one in found if not only or one.name in only]

    def rounds(
        self,
        contestants: Sequence[Contestant],
        clients: Sequence[int],
        count: int,
        keep: Callable[[], None],
    ) -> None:
        """Ask every contestant and the limit, `count` rounds; each is kept when it is over."""
        for number in clients:
            self.record["limit_setups"][str(number)] = str(self.setups.limit(number))
        done = 1 + max((turn["round"] for turn in self.record["turns"]), default=-1)
        with ExitStack() as stack:
            servers = self._started(contestants, stack)
            for number in range(done, done + count):
                for many in clients:
                    self._round(servers, number, many)
                keep()

    def operations(self) -> None:
        """Start ours again and again, move `live` under load, ask for twice the limit."""
        installation = install(self.folder / "two", self.version, keyed=False, versions=2)
        contestant = ours(installation)
        requests = self._requests(contestant)
        keyless = ours(install(self.folder / "one", self.version, keyed=False))
        seen: Record = {"starts": operations.starts(keyless, self.folder)}
        with contestant.started(self.folder / "two.log") as server:
            seen["promotion"] = operations.promotion(server, requests, BUSY, self.seconds)
            limit = median_of(self.record["turns"], LIMIT, BUSY, "per_second")
            if limit:
                seen["overload"] = operations.overload(
                    server, requests, limit, installation.settings.serve_queue, 2 * self.seconds
                )
        self.record["operations"] = seen

    def _started(
        self, contestants: Sequence[Contestant], stack: ExitStack
    ) -> dict[str, tuple[Server, list[Path]]]:
        """Start who can be started, look at their first mask, and freeze them."""
        expected = _mask(answer(load_graph(self.version, 1), self.encoded[:1])[0])
        servers = {}
        for one in contestants:
            log = self.folder / f"{_file_name(one.name)}.log"
            try:
                server = stack.enter_context(one.started(log))
                same = float((first_mask(server, one, self.encoded[0]) == expected).mean())
            except NotStartedError as error:
                self.record["not_measured"][one.name] = str(error)
                continue
            self.record["not_measured"].pop(one.name, None)
            self.record["agreement"][one.name] = round(same, 5)
            server.freeze()
            servers[one.name] = (server, self._requests(one))
        return servers

    def _round(
        self, servers: dict[str, tuple[Server, list[Path]]], number: int, clients: int
    ) -> None:
        """Ask each once with so many clients; who is first changes from round to round."""
        names = [LIMIT, *servers]
        for name in names[number % len(names) :] + names[: number % len(names)]:
            if name == LIMIT:
                setup = self.setups.limit(clients)
                here = (self.version, self.pictures, setup)
                seen = limit_turn(*here, clients, self.seconds, WARM_UP_SECONDS)
            else:
                server, requests = servers[name]
                seen = server_turn(server, requests, clients, self.seconds, WARM_UP_SECONDS)
            turn = {"contestant": name, "round": number, "clients": clients} | seen
            turn["load_average"] = round(os.getloadavg()[0], 2)
            self.record["turns"].append(turn)
            typer.echo(f"{name}, {clients}: {seen['per_second']}/s, p50 {seen['p50_ms']} ms")

    def _requests(self, contestant: Contestant) -> list[Path]:
        folder = self.folder / f"requests-{_file_name(contestant.name)}"
        folder.mkdir(exist_ok=True)
        paths = [folder / str(number) for number in range(len(self.encoded))]
        for path, picture in zip(paths, self.encoded, strict=True):
            path.write_bytes(contestant.request(picture))
        return paths


def first_mask(server: Server, contestant: Contestant, picture: bytes) -> Any:
    """Return the mask that a contestant answers a picture with, (H, W) uint8.

    Raises:
        NotStartedError: it answers with something else.
    """
    head, _, body = contestant.request(picture).partition(b"\r\n\r\n")
    lines = [line.decode().split(": ", 1) for line in head.split(b"\r\n")[1:]]
    url = f"http://127.0.0.1:{server.port}{contestant.path}"
    answered = httpx.post(url, content=body, headers=dict(lines), timeout=60, trust_env=False)
    if not answered.is_success:
        said = f"{answered.status_code} {answered.text[:300]}"
        raise NotStartedError(f"it answers a picture with {said}")
    return _mask(answered.content)


def _mask(png: bytes) -> Any:
    return np.asarray(Image.open(BytesIO(png)))


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def main(
    clients: Annotated[list[int] | None, typer.Option(help="Of the closed loop.")] = None,
    size: Annotated[list[int] | None, typer.Option(help="Of the pictures, pixels.")] = None,
    backbone: Annotated[list[str] | None, typer.Option(help="Of the version.")] = None,
    seconds: Annotated[float, typer.Option(help="Of each turn.")] = 4.0,
    rounds: Annotated[int, typer.Option(help="How often everybody has a turn.")] = 12,
    weights: Annotated[Path | None, typer.Option(help="A version's folder; else random.")] = None,
    setup: Annotated[list[str] | None, typer.Option(help="Ways to compute; else many.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Names of contestants; else all.")] = None,
    api_workers: Annotated[int, typer.Option(help="Also ours with so many API processes.")] = 1,
    beside: Annotated[bool, typer.Option(help="Start, promote and overload, too.")] = True,
    add: Annotated[bool, typer.Option(help="Keep the record's rounds and add to them.")] = False,
    out: Annotated[Path, typer.Option(help="Where record and page go.")] = Path("docs/results"),
) -> None:
    """Measure, write record and page, and say which bars are reached."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    if weights and len(backbone or ()) > 1:
        raise typer.BadParameter("--weights are of one --backbone: run once for each, with --add")
    tried = [Setup.read(one) for one in setup or []] or setups(os.cpu_count() or 1)
    command = "python -m benchmarks.serving " + shlex.join(without_folders(sys.argv[1:]))
    written = begun(command.strip(), out, add=add)
    for name in backbone or ["mit_b0"]:
        for pixels in size or [256, 512]:
            key = f"{name}, {pixels} px" + (" (random weights)" if weights is None else "")
            with tempfile.TemporaryDirectory(prefix="sats-serving-") as made:
                measured = Measured(
                    Path(made), name, pixels, weights, seconds, tried, written["sets"].get(key)
                )
                written["sets"][key] = measured.record
                taking_part = measured.contestants(only or [], api_workers)
                measured.rounds(taking_part, clients or CLIENTS, rounds, lambda: keep(written, out))
                if beside:
                    measured.operations()
            publish(written, out)
            judged = bars(measured.record)
            typer.echo(f"{key}: {sum(b.reached is True for b in judged)} of {len(judged)} bars")


if __name__ == "__main__":
    typer.run(main)
