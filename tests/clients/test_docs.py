"""The Python of `docs/python.md`, as it stands there, one block after another."""

import re
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.docs.examples import ROOT
from tests.fixtures.drawings import voc_zip

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
QUICK = "size=32, epochs=1, batch_size=2, pretrained=False, gate={'min_iou': 0, 'promote': False}"
"""Instead of minutes; the version is held, so that there is something to promote."""


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_it_runs(
    bench: Any,
    served: httpx.Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with zipfile.ZipFile(voc_zip(tmp_path / "a.zip", ["sheep", "cow"], size=48)) as archive:
        archive.extractall(tmp_path / "my-classes")
    (tmp_path / "photos").mkdir()
    for picture in sorted((tmp_path / "my-classes" / "JPEGImages").iterdir())[:3]:
        picture.rename(tmp_path / "photos" / picture.name)
        (tmp_path / "my-classes" / "SegmentationClass" / f"{picture.stem}.png").unlink()
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    assert len(BLOCKS) >= 6
    with bench.worker("worker.celery_app"):
        for block in BLOCKS:
            here = block.replace("http://127.0.0.1:8000", str(served.base_url))
            exec(here.replace('name="sheep")', f'name="sheep", {QUICK})'), names)
    names["client"].close()
    out, err = capsys.readouterr()
    assert "held 1" in out
    assert "the task asked not to go live" in out
    assert "invalid-dataset" in out
    assert "training" in err
    with Image.open(sorted((tmp_path / "photos").glob("*.png"))[0]) as mask:
        assert mask.size == (48, 48)
    assert (tmp_path / "my-model-1" / "model.onnx").exists()
