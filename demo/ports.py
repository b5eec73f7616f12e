"""A port for a server that is about to start."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_port() -> Iterator[int]:
    """Hold a port that a server may listen at, and nobody else is given, while it is down too.

    Two sockets that both say so (SO_REUSEADDR, as those of uvicorn and of Go do) may have one port
    as long as one of them does not listen: on Linux. Elsewhere the port is free, and not held.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port = int(holder.getsockname()[1])
        if sys.platform != "linux":
            holder.close()
        yield port
