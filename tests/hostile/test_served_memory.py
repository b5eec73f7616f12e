"""The memory that the largest picture takes of a real process that serves."""

import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from app.segmentation.admission import PIXEL_BYTES
from app.segmentation.negotiation import Representation
from app.settings import MIB, Settings
from benchmarks.load_services import Keys, api, stock
from tests.hostile.test_memory import MOST_MIB

SPARE = 48 * MIB
"""For the model's own run and what Python holds back."""
DRAWN = (Representation.OVERLAY, Representation.OVERLAY_WEBP)
"""What holds the picture whole until it is drawn on."""
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


def rgba(width: int, height: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGBA", (width, height), (0, 128, 0, 200)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def taken(process: Path, line: str) -> int:
    return int(process.joinpath("status").read_text().split(f"{line}:")[1].split()[0]) // 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("picture", [jpeg, rgba])
@pytest.mark.parametrize(
    ("representation", "query"),
    [
        *((representation, "") for representation in Representation),
        (Representation.OVERLAY, "?legend=true"),
        (Representation.OVERLAY_WEBP, "?legend=true"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_largest_picture_takes_little_and_leaves_nothing(
    serving: tuple[httpx.Client, Path],
    picture: Callable[[int, int], bytes],
    representation: Representation,
    query: str,
) -> None:
    client, process = serving
    large, url = picture(*SIZE), f"/segment{query}"
    headers = {"Accept": str(representation.value)}
    assert client.post(url, content=picture(64, 64), headers=headers).status_code == 200
    process.joinpath("clear_refs").write_text("5")  # forgets the peak so far
    idle = taken(process, "VmRSS")
    assert client.post(url, content=large, headers=headers).status_code == 200
    pixels = SIZE[0] * SIZE[1]
    room = PIXEL_BYTES[representation] * pixels + len(large) + SPARE
    if picture is jpeg and representation not in DRAWN:
        room = min(room, MOST_MIB * MIB)
    assert (taken(process, "VmHWM") - idle) * MIB <= room
    assert (taken(process, "VmRSS") - idle) * MIB <= SPARE + 2 * pixels
