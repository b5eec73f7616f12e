"""What would be downloaded is told by what it comes from."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from benchmarks.download_size import WANTED, SizeError, size, urls
from tests.fixtures.listening import listening

INSTALL = Path(__file__).parents[2] / "deploy" / "install.sh"


class Host(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(200 if self.path == "/a%2Bcpu.whl" else 404)
        self.send_header("Content-Length", "12345")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def host() -> Iterator[str]:
    with listening(Host) as port:
        yield f"http://127.0.0.1:{port}"


def test_sizes_are_asked_for_and_nothing_is_fetched(host: str, tmp_path: Path) -> None:
    assert size(f"{host}/a%2Bcpu.whl") == 12345
    local = tmp_path / "b+cpu.whl"
    local.write_bytes(b"four")
    assert size(local.as_uri()) == 4
    with pytest.raises(SizeError, match="404"):
        size(f"{host}/gone.whl")


def test_the_checkout_itself_is_not_downloaded() -> None:
    folder = {"download_info": {"url": "file:///checkout", "dir_info": {"editable": True}}}
    wheel = {"download_info": {"url": "https://example.org/a.whl", "archive_info": {}}}
    assert urls({"install": [folder, wheel]}) == ["https://example.org/a.whl"]


def test_it_asks_for_what_is_installed() -> None:
    (asked,) = [line for line in INSTALL.read_text().splitlines() if line.startswith("exec ")]
    assert [word.strip('"') for word in asked.split()][-4:] == list(WANTED[2:])
