"""The figures of several processes behind one port: whichever is asked tells those of all."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from selectors import EVENT_READ, PollSelector

import structlog
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

WAIT_SECONDS = 3.0
"""How long those that are silent are waited for, together: Prometheus waits for 10 s by default."""
GIVE_SECONDS = 1.0
"""How long one that asks and does not listen is waited for."""
AGAIN_SECONDS = 1.0
"""How long nobody is told anything where no connection can be taken: files have run out, say."""
_PIECE = 65536
_DRAFT, _END = ".", b"\n"

log = structlog.get_logger(__name__)


class Siblings:
    """Where a process tells the others its figures, and asks them for theirs.

    Args:
        folder: that all of them share, and nobody else.
        figures: what this one tells; called on a thread of its own.
        name: of this one, a file name.
    """

    def __init__(
        self, folder: Path, figures: Callable[[], bytes], name: str = str(os.getpid())
    ) -> None:
        self._folder = folder
        self._figures = figures
        self._name = name
        self._listening = socket.socket(socket.AF_UNIX)
        self._over = threading.Event()

    def open(self) -> None:
        """Tell whoever asks, from now on.

        Raises:
            OSError: there can be no socket in the folder; its path may be too long.
        """
        draft = self._folder / f"{_DRAFT}{self._name}"
        self._listening.bind(str(draft))
        self._listening.listen()
        draft.rename(self._folder / self._name)  # who finds it finds somebody who listens
        threading.Thread(target=self._tell, name="siblings", daemon=True).start()

    def close(self) -> None:
        """Tell no more."""
        self._over.set()
        (self._folder / self._name).unlink(missing_ok=True)
        with suppress(OSError):  # it was never opened
            self._listening.shutdown(socket.SHUT_RDWR)  # closing alone wakes nobody
        self._listening.close()

    def others(self) -> Iterator[bytes]:
        """Yield what the others tell, in the order of their names.

        All are asked at once. Those that have not answered in time are left out, and logged.
        """
        until = time.monotonic() + WAIT_SECONDS
        with ExitStack() as opened:
            waiting = opened.enter_context(PollSelector())  # takes no file of its own
            told = [
                _Telling(path, asking) for path in self._paths() if (asking := _ask(path, opened))
            ]
            for one in told:
                waiting.register(one.asking, EVENT_READ, one)
            while waiting.get_map() and (left := until - time.monotonic()) > 0:
                for key, _ in waiting.select(left):
                    if key.data.ended():
                        waiting.unregister(key.fileobj)
        for one in told:
            if one.whole:
                yield bytes(one.told).removesuffix(_END)
            else:
                log.warning("figures_not_told", process=one.path.name, error=one.error)

    def _paths(self) -> list[Path]:
        """Return where the others listen."""
        try:
            found = sorted(self._folder.iterdir())
        except OSError as error:  # somebody has tidied it away
            log.warning("figures_not_told", process="all others", error=str(error))
            return []
        return [one for one in found if one.name != self._name and one.name[0] != _DRAFT]

    def _tell(self) -> None:
        while not self._over.is_set():
            try:
                asking, _ = self._listening.accept()
            except OSError as error:
                if not self._over.is_set():
                    log.warning("figures_told_later", error=str(error))
                    self._over.wait(AGAIN_SECONDS)
                continue
            with asking:
                asking.settimeout(GIVE_SECONDS)
                try:
                    asking.sendall(self._figures() + _END)
                except Exception:
                    log.exception("figures_not_given")


@dataclass
class _Telling:
    """One that was asked, and what it has told."""

    path: Path
    asking: socket.socket
    told: bytearray = field(default_factory=bytearray)
    error: str = "it did not tell all of them in time"

    @property
    def whole(self) -> bool:
        return self.told.endswith(_END)

    def ended(self) -> bool:
        """Take what has come; returns whether nothing more will."""
        try:
            piece = self.asking.recv(_PIECE)
        except OSError as error:
            self.error = str(error)
            return True
        self.told += piece
        return not piece


def _ask(path: Path, opened: ExitStack) -> socket.socket | None:
    """Ask one, without waiting for an answer."""
    try:
        asking = opened.enter_context(socket.socket(socket.AF_UNIX))
        asking.setblocking(False)
        asking.connect(str(path))
    except (ConnectionRefusedError, FileNotFoundError):
        path.unlink(missing_ok=True)  # its process has ended
    except OSError as error:
        log.warning("figures_not_told", process=path.name, error=str(error))
    else:
        return asking
    return None


def packed(collectors: Iterable[Collector], process: str) -> bytes:
    """Return collectors' figures, each with the process that has counted it, for `unpacked`."""
    told = [
        [
            each.name,
            each.documentation,
            each.type,
            [_labelled(one, process) for one in each.samples],
        ]
        for collector in collectors
        for each in collector.collect()
    ]
    return json.dumps(told).encode()


def _labelled(sample: Sample, process: str) -> tuple[str, dict[str, str], float]:
    return sample.name, {**sample.labels, "process": process}, sample.value


def unpacked(told: bytes) -> Iterator[Metric]:
    """Yield the figures that `packed` has packed."""
    for name, documentation, kind, samples in json.loads(told):
        metric = Metric(name, documentation, kind)
        metric.samples = [Sample(*each) for each in samples]
        yield metric


class SiblingsCollector(Collector):
    """The figures of this process and of the others, a family of each name.

    Args:
        own: what this process has counted.
        siblings: the others; None: nobody is known.
    """

    def __init__(self, own: Sequence[Collector], siblings: Siblings | None) -> None:
        self.own = own
        self.siblings = siblings

    def collect(self) -> Iterator[Metric]:
        """Yield the figures."""
        families: dict[str, Metric] = {}
        others = () if self.siblings is None else self.siblings.others()
        for told in (packed(self.own, str(os.getpid())), *others):
            for metric in unpacked(told):
                known = families.setdefault(metric.name, metric)
                if known is not metric:
                    known.samples += metric.samples
        yield from families.values()
