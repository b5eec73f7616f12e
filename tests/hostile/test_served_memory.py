"""The memory that the largest picture takes of a real process that serves."""

import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from app.settings import Settings
from benchmarks.load_services import Keys, api, stock

MOST_MIB = 300
SIZE = (10_000, 5_000)
"""As many pixels as one picture may have."""


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Path]]:
    """A client of an API process, and that process in /proc."""
    folder = tmp_path_factory.mktemp("served")
    settings = Settings(
        data_dir=folder / "data", threads=1, serve_threads=1, serve_deadline_seconds=600.0
    )
    keys = stock(settings, folder)
    with api(settings, folder / "api.log") as (url, process), client_of(url, keys) as client:
        yield client, Path(f"/proc/{process.pid}")


def client_of(url: str, keys: Keys) -> httpx.Client:
    headers = {"Authorization": f"Bearer {keys.admin}", "Content-Type": "image/jpeg"}
    return httpx.Client(base_url=url, timeout=300, headers=headers)


def jpeg(width: int, height: int) -> bytes:
    image = Image.new("RGB", (width, height), "red")
    image.paste("green", (0, 0, width // 3, height // 2))
    buffer = BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def taken(process: Path, line: str) -> int:
    return int(process.joinpath("status").read_text().split(f"{line}:")[1].split()[0]) // 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("accept", ["image/png", "application/json", "image/png; profile=overlay"])
def test_the_largest_picture_takes_little_and_leaves_nothing(
    serving: tuple[httpx.Client, Path], accept: str
) -> None:
    client, process = serving
    large, headers = jpeg(*SIZE), {"Accept": accept}
    assert client.post("/segment", content=jpeg(64, 64), headers=headers).status_code == 200
    process.joinpath("clear_refs").write_text("5")  # forgets the peak so far
    idle = taken(process, "VmRSS")
    assert client.post("/segment", content=large, headers=headers).status_code == 200
    assert taken(process, "VmHWM") - idle <= MOST_MIB
    assert taken(process, "VmRSS") - idle <= MOST_MIB / 3
