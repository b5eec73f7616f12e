"""How processes of the API end: on SIGTERM or SIGINT, in order; on the second one, at once."""

import asyncio
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import chain
from multiprocessing.connection import wait
from socket import socket
from types import FrameType
from typing import TYPE_CHECKING, cast

import structlog
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from app.processes.children import Backoff

if TYPE_CHECKING:
    from app.http.draining import Draining

STOPS = (signal.SIGINT, signal.SIGTERM)
QUIET_SECONDS = 2.0
"""How long a connection without a request stays open: one may be on its way."""
REST_SECONDS = 5.0
"""How long the rest of a request is awaited that is answered already."""
LETTING_IN_SECONDS = 0.05
SUPERVISOR_SECONDS = 1.0
"""So much later than it ends by itself a process is killed by the one that started it."""

log = structlog.get_logger(__name__)


class Connection(HttpToolsProtocol):
    """A connection that is closed after the answer that it waits for, or may still ask for.

    Where an answer is the last one and comes before all of its request has, the rest is read and
    forgotten for a while: closed at once, the system would take the answer back.
    """

    _last = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self._closing = _Closing(self)

    def shutdown(self) -> None:
        """Let it have its last answer."""
        if self._is_quiet:
            self._last = True
            self.loop.call_later(QUIET_SECONDS, self._close_if_quiet)
        else:
            super().shutdown()

    def on_headers_complete(self) -> None:
        """Begin a request."""
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.transport = cast("asyncio.Transport", self._closing)
            self.cycle.keep_alive = self.cycle.keep_alive and not self._last

    def on_message_complete(self) -> None:
        """Go on; of a request that was answered before, end."""
        super().on_message_complete()
        if self._closing.begun:
            self.transport.close()

    @property
    def _is_quiet(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close_if_quiet(self) -> None:
        if self._is_quiet:
            self.transport.close()


class _Closing:
    """What an answer sees of its connection's transport.

    Attributes:
        begun: whether nothing more is written, and the rest of a request is awaited.
    """

    def __init__(self, connection: Connection) -> None:
        self.begun = False
        self._connection = connection
        self.write = connection.transport.write
        self.is_closing = connection.transport.is_closing

    def close(self) -> None:
        """Close it once the request that it answers has come, after a while at the latest."""
        inner = self._connection.transport
        if not self._connection.cycle.more_body or self.is_closing() or not inner.can_write_eof():
            inner.close()
        elif not self.begun:
            self.begun = True
            inner.write_eof()
            self._connection.loop.call_later(REST_SECONDS, inner.close)


def heed_signals(draining: "Draining", seconds: float, *, supervised: bool) -> None:
    """Drain a process before uvicorn stops it, and end it `seconds` after the first signal.

    Called on the event loop, on the main thread, where uvicorn has its own handlers.

    Args:
        draining: told of the first signal.
        seconds: that the end may take.
        supervised: whether another process has started this one, to which the second signal is
            left: systemd sends each to all processes of a unit, and it passes each on to this one.
    """
    loop = asyncio.get_running_loop()
    stops = {each: signal.getsignal(each) for each in STOPS}

    # It waits already: who starts a thread in a handler may have interrupted the start of another.
    told = threading.Event()
    threading.Thread(target=_end_after, args=(told, seconds), daemon=True).start()

    def stop(number: int, frame: FrameType | None) -> None:
        if not draining.begun:
            draining.begun = True  # the event loop may be busy
            told.set()  # whatever the event loop does
            loop.call_soon_threadsafe(draining.begin, seconds)
            inner = stops[signal.Signals(number)]
            if callable(inner):
                inner(number, frame)
        elif not supervised:
            _end(128 + number)

    for each in STOPS:
        signal.signal(each, stop)


def _end_after(told: threading.Event, seconds: float) -> None:
    told.wait()
    time.sleep(seconds)
    _end(0)


def _end(status: int) -> None:
    """End the process, whatever its threads do: nobody waits for it any more."""
    os._exit(status)


class Server(uvicorn.Server):
    """One process that answers."""

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Stop, once everybody is let in who has reached the door."""
        for one in chain.from_iterable(server.sockets for server in self.servers):
            with socket(fileno=os.dup(one.fileno())) as listening:
                _let_no_more_come(listening)
        await asyncio.sleep(LETTING_IN_SECONDS)
        await super().shutdown(sockets)


def _let_no_more_come(listening: socket) -> None:
    # Who waits in the system's queue when it is closed would be cut off; who finds the queue full
    # comes again a second later, and then hears that nobody listens.
    listening.listen(0)


class Workers(Multiprocess):
    """Several processes that answer at one port, and end together.

    Args:
        config: of each.
        sockets: that they share.
        seconds: that their end may take.
        supervised: as of `heed_signals`.
        tell: hears how often one was started again, at the start and whenever one is.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        sockets: list[socket],
        seconds: float,
        *,
        supervised: bool,
        tell: Callable[[int], None],
    ) -> None:
        super().__init__(config, sockets)
        self._seconds = seconds
        self._supervised = supervised
        self._tell = tell
        self._stops = 0
        self._restarts = 0
        self._backoffs: defaultdict[int, Backoff] = defaultdict(Backoff)
        self._ends_seen: dict[int, Process] = {}
        tell(0)

    def handle_int(self) -> None:
        """Stop."""
        self._stops += 1
        self.should_exit.set()

    def handle_term(self) -> None:
        """Stop."""
        self.handle_int()

    def keep_subprocess_alive(self) -> None:
        """Start again what has ended, unless it could not start; what keeps ending waits longer.

        uvicorn kills what does not answer it within five seconds, too: on a machine with much to do
        that is a process that still starts, again and again, and signals wait for it.
        """
        for place, one in enumerate(self.processes):
            backoff = self._backoffs[place]
            if one.process.is_alive() or self.should_exit.is_set():
                continue
            one.join()
            if self._ends_seen.get(place) is not one:
                self._ends_seen[place] = one
                log.error("ended_unasked", pid=one.pid, status=one.exitcode)
            if one.exitcode == STARTUP_FAILURE:
                self.should_exit.set()
            elif backoff.begin_when_due():
                self._start_again(place)

    def _start_again(self, place: int) -> None:
        self._restarts += 1
        self._tell(self._restarts)
        self.processes[place] = Process(self.config, self.sockets)
        self.processes[place].start()
        log.info("started", pid=self.processes[place].pid, restarts=self._restarts)

    def terminate_all(self) -> None:
        """Ask them to stop, and let nobody in: a socket takes connections until all have left."""
        for one in self.sockets:
            _let_no_more_come(one)
            one.close()
        super().terminate_all()

    def join_all(self) -> None:
        """Wait until they have ended; kill them when their time is over, or on a second signal."""
        deadline = time.monotonic() + self._seconds + SUPERVISOR_SECONDS
        while alive := [one for one in self.processes if one.process.is_alive()]:
            self._stops += sum(self.signal_queue.pop(0) in STOPS for _ in tuple(self.signal_queue))
            told_again = self._stops > 1 and not self._supervised
            if told_again or time.monotonic() > deadline:
                log.warning("killed", processes=[one.pid for one in alive])
                for one in alive:
                    one.kill()
                break
            wait([one.process.sentinel for one in alive], timeout=0.1)
        super().join_all()
