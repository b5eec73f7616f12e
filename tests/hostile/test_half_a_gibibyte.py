"""What long uploads take of a real process, and what is left of them: nothing."""

import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from app.settings import MIB, Settings
from benchmarks.load_services import api
from tests.app.tasks.reading import eventually
from tests.hostile.test_served_memory import taken

LENGTH = 512 * MIB
SPARE = 64
"""MiB, for what a body is read and written by, and what Python holds back."""
HEAD = b'--b\r\nContent-Disposition: form-data; name="dataset"; filename="d.zip"\r\n\r\n'
TAIL = b"\r\n--b--\r\n"
HEADERS = {
    "Content-Type": "multipart/form-data; boundary=b",
    "Content-Length": str(len(HEAD) + LENGTH + len(TAIL)),
}


class Served(NamedTuple):
    url: str
    process: psutil.Process
    settings: Settings

    @property
    def files(self) -> Path:
        return Path(f"/proc/{self.process.pid}")

    def connected(self) -> list[object]:
        port = urlsplit(self.url).port
        return [
            one
            for one in self.process.net_connections("tcp")
            if one.laddr.port == port and one.status == psutil.CONN_ESTABLISHED
        ]

    def on_their_way(self) -> list[Path]:
        """Files of what has not come to its end, those without a name among them."""
        folders = (self.settings.incoming_dir, self.settings.blob_dir / "incoming")
        named = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
        opened = (path.readlink() for path in self.files.joinpath("fd").iterdir())
        return named + [path for path in opened if str(path).endswith("(deleted)")]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    settings = Settings(data_dir=tmp_path / "data", threads=1)
    settings.data_dir.mkdir()
    with api(settings, tmp_path / "api.log") as (url, process):
        yield Served(url, process, settings)


def body() -> Iterator[bytes]:
    yield HEAD
    for _ in range(LENGTH // MIB):
        yield bytes(MIB)
    yield TAIL


def cut_off(url: str, sent: int) -> None:
    """Send so much of the body, and leave without a word."""
    at = urlsplit(url)
    lines = [f"{name}: {value}\r\n" for name, value in HEADERS.items()]
    with closing(socket.create_connection((at.hostname, at.port), timeout=60)) as line:
        line.sendall(f"POST /uploads HTTP/1.1\r\nHost: {at.netloc}\r\n".encode())
        line.sendall("".join([*lines, "\r\n"]).encode() + HEAD)
        for _ in range(sent // MIB):
            line.sendall(bytes(MIB))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_half_a_gibibyte_takes_little_memory_and_leaves_nothing(served: Served) -> None:
    small = httpx.post(f"{served.url}/uploads", files={"dataset": ("d.zip", b"0" * MIB)})
    assert small.status_code == 201
    eventually(lambda: not served.on_their_way())
    served.files.joinpath("clear_refs").write_text("5")  # forgets the peak so far
    idle = taken(served.files, "VmRSS")
    whole = httpx.post(f"{served.url}/uploads", content=body(), headers=HEADERS, timeout=600)
    assert (whole.status_code, whole.json()["bytes"]) == (201, LENGTH)
    for _ in range(2):
        cut_off(served.url, LENGTH // 4)
    eventually(lambda: not served.connected())
    eventually(lambda: not served.on_their_way())
    assert taken(served.files, "VmHWM") - idle < SPARE
    assert taken(served.files, "VmRSS") - idle < SPARE // 2
    assert httpx.get(f"{served.url}/health/live").status_code == 200
