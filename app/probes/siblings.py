"""The figures of several processes behind one port: whichever is asked tells those of all."""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import structlog
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

WAIT_SECONDS = 1.0
"""How long one that is silent is waited for."""
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
        self._over = False

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
        self._over = True
        (self._folder / self._name).unlink(missing_ok=True)
        with suppress(OSError):  # it was never opened
            self._listening.shutdown(socket.SHUT_RDWR)  # closing alone wakes nobody
        self._listening.close()

    def others(self) -> Iterator[bytes]:
        """Yield what the others tell; one that does not answer in time is left out, and logged."""
        try:
            found = sorted(self._folder.iterdir())
        except OSError as error:  # somebody has tidied it away
            log.warning("figures_not_told", process="all others", error=str(error))
            return
        for path in found:
            if path.name == self._name or path.name.startswith(_DRAFT):
                continue
            try:
                yield _asked(path)
            except (ConnectionRefusedError, FileNotFoundError):
                path.unlink(missing_ok=True)  # its process has ended
            except OSError as error:
                log.warning("figures_not_told", process=path.name, error=str(error))

    def _tell(self) -> None:
        while not self._over:
            try:
                asking, _ = self._listening.accept()
            except OSError:
                if not self._over:
                    log.exception("figures_told_no_more")
                return
            with asking:
                asking.settimeout(WAIT_SECONDS)
                try:
                    asking.sendall(self._figures() + _END)
                except Exception:
                    log.exception("figures_not_given")


def _asked(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(WAIT_SECONDS)
        asking.connect(str(path))
        told = b"".join(iter(lambda: asking.recv(_PIECE), b""))
    if not told.endswith(_END):
        raise ConnectionError("it did not tell all of them")
    return told.removesuffix(_END)


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
