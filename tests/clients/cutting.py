"""A proxy that cuts connections: what networks, load balancers and restarts do to a client."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

Budget = Callable[[int], int | None]
"""Bytes that the nth connection, from 0, may carry in one direction; None: any."""


class CuttingProxy:
    """Passes on bytes to a service, until a connection has carried what it may.

    Args:
        url: of the service.
        up: what requests may have.
        down: what answers may have.
    """

    def __init__(self, url: str, up: Budget, down: Budget) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)
        self._up, self._down = up, down
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                service = socket.create_connection(self._target)
                number, self.connections = self.connections, self.connections + 1
                for source, target, most in (
                    (client, service, self._up(number)),
                    (service, client, self._down(number)),
                ):
                    pump = threading.Thread(target=_pump, args=(source, target, most), daemon=True)
                    pump.start()


def _pump(source: socket.socket, target: socket.socket, most: int | None) -> None:
    left = most
    with contextlib.suppress(OSError):  # the other direction was cut
        while left is None or left > 0:
            data = source.recv(65536 if left is None else min(65536, left))
            if not data:
                break
            target.sendall(data)
            left = None if left is None else left - len(data)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
            one.close()


@contextlib.contextmanager
def cutting(url: str, up: Budget, down: Budget) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(url, up, down)
    try:
        yield proxy
    finally:
        proxy.close()
