"""The memory that the worst files take of a real API process, by each call that reads them."""

import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from PIL import Image

from app.settings import Settings
from benchmarks.load_services import api, stock
from tests.hostile.sets import Entry, entries, write
from tests.hostile.test_memory import MOST_MIB, WORST
from tests.hostile.test_served_memory import SIZE, taken
from tests.sats_core.data.drawn import encode

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
TAKEN = {200, 201, 202}
"""What a file may be answered that is as it should be."""
TOLD = TAKEN | {413, 422}
"""What a hostile file may be answered: it works, or a problem says what is wrong."""


class Served(NamedTuple):
    client: httpx.Client
    files: Path
    idle: int

    def forget(self) -> None:
        """Forget how much was taken so far."""
        self.files.joinpath("clear_refs").write_text("5")

    def over_idle(self) -> int:
        """Return how much more than idle, MiB, was taken since."""
        return taken(self.files, "VmHWM") - self.idle


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    settings = Settings(data_dir=folder / "data", threads=1, serve_threads=1)
    keys = stock(settings, folder)
    headers = {"Authorization": f"Bearer {keys.admin}"}
    with (
        api(settings, folder / "api.log") as (url, process),
        httpx.Client(base_url=url, timeout=300, headers=headers) as client,
    ):
        honest = write(folder / "honest.zip", entries()).read_bytes()
        for status in read(client, honest).values():  # what is read at first stays
            assert status in TAKEN
        files = Path(f"/proc/{process.pid}")
        yield Served(client, files, taken(files, "VmRSS"))


def read(client: httpx.Client, data: bytes) -> dict[str, int]:
    """Have a data set read by all that reads one in the API; return what each call answered."""
    files = {"dataset": ("set.zip", data)}
    sent = client.post("/uploads", files=files)
    upload = sent.json()["upload"]
    spec = {"spec": json.dumps({"name": "hostile", "model": "default"})}
    return {
        "send": sent.status_code,
        "look": client.get(f"/uploads/{upload}").status_code,
        "sheet": client.get(f"/uploads/{upload}/sheet?pictures=0,1,2").status_code,
        "task": client.post("/tasks", files=files, data=spec).status_code,
    }


def imported(client: httpx.Client, folder: Path) -> dict[str, int]:
    """Post a directory as a checkpoint, and what it holds as the pictures that score one."""
    packed = folder / "checkpoint.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.glob("*.*s*n*"):
            archive.write(file, file.name)
    files = {"checkpoint": ("checkpoint.zip", packed.read_bytes())}
    spec = {"spec": json.dumps({"name": "hostile"})}
    answer = client.post("/admin/models/default/versions", files=files, data=spec)
    return {"import": answer.status_code}


def largest(folder: Path, kind: str) -> Path:
    """Write a data set of a picture of as many pixels as one may have, and its mask."""
    picture = Image.new("RGB", SIZE, (9, 8, 7))
    mask = Image.new("P", SIZE, 1)
    mask.putpalette([0, 0, 0, 128, 0, 0])
    return write(
        folder / "set.zip",
        [
            Entry("classes.txt", b"background\ncat\n"),
            Entry(f"JPEGImages/0.{kind.lower()}", encode(picture, kind)),
            Entry("SegmentationClass/0.png", encode(mask)),
        ],
    )


LARGEST: dict[str, Callable[[Path], Path]] = {
    "the largest JPEG": lambda folder: largest(folder, "JPEG"),
    "the largest PNG": lambda folder: largest(folder, "PNG"),
}
MAKE = {name: make for name, (_, make) in WORST.items()} | LARGEST


FEW = ("a picture that claims 60,000 x 60,000", "a list of tensors of 18 MB", "the largest JPEG")


@pytest.mark.parametrize("name", FEW)
def test_the_worst_files_take_little_of_the_api(served: Served, name: str, tmp_path: Path) -> None:
    takes_little(served, name, tmp_path)


@pytest.mark.parametrize("name", [name for name in MAKE if name not in FEW])
def test_the_other_files_take_little_of_the_api(served: Served, name: str, tmp_path: Path) -> None:
    takes_little(served, name, tmp_path)


def takes_little(served: Served, name: str, folder: Path) -> None:
    made = MAKE[name](folder)
    served.forget()
    if made.is_dir():
        answers = imported(served.client, made)
    else:
        answers = read(served.client, made.read_bytes())
    # What was refused at the door was not read: it says nothing of what reading takes.
    assert set(answers.values()) <= (TAKEN if name in LARGEST else TOLD), answers
    assert served.over_idle() <= MOST_MIB, answers
    assert served.client.get("/health/live").status_code == 200
