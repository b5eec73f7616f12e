"""Server-Sent Events, however they are cut into pieces."""

import pytest

from sats_client._sse import Message, Parser

TEXT = (
    ": a comment\r\n\r\n"
    "event: task.state\rdata: one\rdata:two\rid: 7\r\r"
    "data\n\n"
    "id: 8\nevent: nothing\n\n"
    "data: ä€😀\nid\n\n"
    "data: cut off\n"
).encode()
EVENTS = [
    Message("7", "task.state", "one\ntwo"),
    Message("7", "message", ""),
    Message("", "message", "ä€😀"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
def test_any_pieces(size):
    parser = Parser()
    pieces = [TEXT[at : at + size] for at in range(0, len(TEXT), size)]
    assert [one for piece in pieces for one in parser.feed(piece)] == EVENTS


def test_the_id_of_an_event_that_is_cut_off_is_none():
    parser = Parser()
    assert list(parser.feed(b"id: 3\ndata: a\n\nid: 4\ndata: b\n")) == [
        Message("3", "message", "a")
    ]
    assert parser.last_id == "3"
