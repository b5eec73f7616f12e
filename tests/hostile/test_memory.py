"""The memory that the worst files take of a real process."""

import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.hostile.sets import Entry, entries, replaced, write
from tests.hostile.test_pictures_and_masks import BOMBS, png_with
from tests.sats_core.data.drawn import encode

MOST_MIB = 300
PIXELS = 8_000_000
HALF_GIB = 2**29

CHILD = """
import sys, warnings
from pathlib import Path
from PIL import Image
from sats_core.segformer.importing import import_directory
from sats_core.data.readers import glance, open_reader
from sats_core.data.sources import ZipSource
from sats_core.errors import CoreError
from sats_core.settings import Limits

def peak():
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) // 1024

def read(path):
    if path.is_dir():
        import_directory(path, None, None, False)
        return
    with ZipSource(path, Limits()) as source:
        glance(source)
        reader = open_reader(source)
        for picture_id in reader.ids:
            reader.read(picture_id)

warnings.simplefilter("ignore")
Image.init()
for path in sys.argv[1:]:
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    idle = peak()
    try:
        read(Path(path))
        print("read", peak() - idle, flush=True)
    except CoreError as error:
        print("refused", peak() - idle, str(error)[:200].replace("\\n", " "), flush=True)
"""


def zeros(name: str, size: int, claimed: int | None = None) -> Callable[[Path], Path]:
    """Return a writer of the honest set and one file of zeros, packed a thousandfold."""

    def make(folder: Path) -> Path:
        honest = entries()[1:] if name == "labelmap.txt" else entries()
        path = write(folder / "set.zip", honest)
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            with archive.open(name, "w", force_zip64=False) as out:
                for _ in range(size // 2**20):
                    out.write(bytes(2**20))
            header = archive.getinfo(name).header_offset
        if claimed is not None:
            raw = bytearray(path.read_bytes())
            struct.pack_into("<I", raw, header + 22, claimed)
            struct.pack_into("<I", raw, raw.rindex(b"PK\x01\x02") + 24, claimed)
            path.write_bytes(raw)
        return path

    return make


def picture(data: bytes) -> Callable[[Path], Path]:
    return lambda folder: write(folder / "set.zip", replaced("JPEGImages/0.png", data))


def large(mode: str, kind: str = "PNG", **options: object) -> Callable[[Path], Path]:
    """Return a writer of a picture of as many pixels as fit the bound."""

    def make(folder: Path) -> Path:
        image = Image.new(mode, (4000, PIXELS // 4000), 1)
        return picture(encode(image, kind, **options))(folder)

    return make


def crowd(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "set.zip", "w") as archive:
        for number in range(50_000):
            archive.writestr(f"JPEGImages/{number}.png", b"")
        for entry in entries():
            archive.writestr(f"x/{entry.name}", entry.data)
    return folder / "set.zip"


def header(folder: Path) -> Path:
    """A checkpoint whose weights begin with a list of 18 MB."""
    from sats_core.data.transforms import View
    from sats_core.segformer.exporting import hub_config, hub_processor

    grey = (0.5, 0.5, 0.5)
    labels = ["background", "cat"]
    (folder / "config.json").write_text(json.dumps(hub_config("mit_b0", 32, labels, {})))
    said = hub_processor(View(stretch=(64, 64)), grey, grey)
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    one = '"%07d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    text = ("{" + ",".join(one % number for number in range(300_000)) + "}").encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    return folder


def coco(folder: Path) -> Path:
    """36 MB of annotations, in one shape."""
    document = b'{"images": [{"id": 1, "file_name": "0.png", "height": 9, "width": 9}], '
    document += b'"categories": [{"id": 1, "name": "cat"}], "annotations": [{"image_id": 1, '
    document += b'"category_id": 1, "segmentation": [[' + b"1, " * 12_000_000 + b"1]]}]}"
    return write(folder / "set.zip", [Entry("a.json", document), Entry("0.png", b"")])


CLAIM = png_with(b"tEXt", b"k\0v").replace(
    struct.pack(">II", 8, 6), struct.pack(">II", 60_000, 60_000), 1
)
CLAIM = CLAIM[:29] + struct.pack(">I", zlib.crc32(CLAIM[12:29])) + CLAIM[33:]

WORST: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "an entry that lies about its size": ("refused", zeros("labelmap.txt", HALF_GIB, 10)),
    "a class list of 250 MiB": ("refused", zeros("labelmap.txt", 250 * 2**20)),
    "a split of 250 MiB": ("refused", zeros("ImageSets/Segmentation/a.txt", 250 * 2**20)),
    "a picture of 250 MiB of zeros": ("read", zeros("JPEGImages/9.png", 250 * 2**20)),
    "very many entries": ("refused", crowd),
    "a picture that claims 60,000 x 60,000": ("refused", picture(CLAIM)),
    "a text in a picture": ("refused", picture(BOMBS["text"])),
    "a profile in a picture": ("refused", picture(BOMBS["profile"])),
    "a transparent picture": ("refused", large("RGBA")),
    "a transparent palette": ("refused", large("P", transparency=0)),
    "a WebP": ("refused", large("RGBA", "WEBP", lossless=True, method=0)),
    "a list of tensors of 18 MB": ("refused", header),
    "one shape of 36 MB": ("refused", coco),
}

SMALL = (
    "very many entries",
    "a picture that claims 60,000 x 60,000",
    "a text in a picture",
    "a profile in a picture",
    "a transparent palette",
    "a list of tensors of 18 MB",
)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("names", [SMALL, tuple(WORST)], ids=["small", "all"])
def test_the_worst_files_take_little_memory(tmp_path: Path, names: tuple[str, ...]) -> None:
    worst = {name: WORST[name] for name in names}
    paths = []
    for number, (_, make) in enumerate(worst.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        paths.append(make(folder))
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *paths], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stdout + child.stderr
    for (name, (expected, _)), line in zip(worst.items(), child.stdout.splitlines(), strict=True):
        what, mib, *_ = line.split()
        assert what == expected, (name, line)
        assert int(mib) <= MOST_MIB, (name, line)
