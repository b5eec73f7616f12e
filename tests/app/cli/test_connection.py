import socket

import pytest
from fastapi import FastAPI, Response

from app.cli.stopping import Connection
from tests.fixtures.processes import serving

WAIT = 60
REST = 8 * 1024 * 1024
"""Bytes; more than the system keeps on both sides."""


@pytest.fixture
def refusing():
    """The port of a service that answers before it has read a body."""
    app = FastAPI()

    @app.post("/")
    async def refuse() -> Response:
        return Response("no", 503)

    with serving(app, http=Connection) as url:
        yield int(url.rpartition(":")[2])


def test_an_answer_before_the_end_of_its_request_is_not_taken_back(refusing):
    head = (
        "POST / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"
        f"Content-Length: {REST + 5}\r\n\r\nbegin"
    )
    with socket.create_connection(("127.0.0.1", refusing), timeout=WAIT) as client:
        client.sendall(head.encode())
        answer = b""
        while part := client.recv(1000):
            answer += part
        assert answer.startswith(b"HTTP/1.1 503")
        assert answer.endswith(b"no")
        client.sendall(bytes(REST))  # a reset would be an error here
        client.shutdown(socket.SHUT_WR)


def test_connections_are_kept_for_the_next_request_after_a_whole_one(refusing):
    with socket.create_connection(("127.0.0.1", refusing), timeout=WAIT) as client:
        for _ in range(3):
            client.sendall(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\nwhole")
            answer = b""
            while not answer.endswith(b"no"):
                answer += client.recv(1000)
            assert b"connection: close" not in answer
