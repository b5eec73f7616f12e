"""The zip opened by a real FiftyOne with its database, as docs/tools.md says.

`make test-fiftyone` runs it, and writes docs/results/fiftyone.json.
"""

import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.app.integrations.fiftyone.test_download import PATH, PICTURE, kept
from tests.app.segmentation.conftest import register
from tests.fixtures.missing import missing

__all__ = ["kept", "register"]

pytestmark = [
    pytest.mark.fiftyone,
    pytest.mark.timeout(1800),
    pytest.mark.parametrize("database_url", ["embedded"], indirect=True),
]

ROOT = Path(__file__).parents[4]
PYTHON = Path(os.environ.get("SATS_FIFTYONE_VENV", ROOT / ".venv-fiftyone")) / "bin/python"
REPORT = "SATS_FIFTYONE_REPORT"
LOOK = """
import sys
import numpy as np
samples = {}
for sample in dataset:
    masks = [getattr(sample, name).get_mask() for name in ("ground_truth", "predictions")]
    samples[sample.filename] = [np.asarray(mask).tolist() for mask in masks]
results = dataset.evaluate_segmentations("predictions", gt_field="ground_truth", eval_key="seen")
said = {
    "fiftyone": fo.__version__,
    "database": fo.core.odm.get_db_conn().client.server_info()["version"],
    "targets": {str(index): name for index, name in dataset.default_mask_targets.items()},
    "samples": samples,
    "accuracy": dataset.mean("seen_accuracy"),
}
with open(sys.argv[1], "w") as file:
    json.dump(said, file)
"""


def snippet() -> str:
    """Return what docs/tools.md says, but for the window that it ends with."""
    blocks = (ROOT / "docs/tools.md").read_text().split("```python\n")[1:]
    (found,) = (block.split("```")[0] for block in blocks if "import fiftyone" in block)
    *lines, last = found.strip().splitlines()
    assert last == "session = fo.launch_app(dataset)"
    return "\n".join(lines)


def opened(folder: Path) -> Any:
    """Run what the page says in a folder, look at what came of it, and return that."""
    out, log = folder / "said.json", folder / "fiftyone.log"
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    own = {
        "HOME": str(folder / "home"),
        "FIFTYONE_DATABASE_DIR": str(folder / "database"),
        "FIFTYONE_DO_NOT_TRACK": "true",
    }
    words = [str(PYTHON), "-c", f"{snippet()}\n{LOOK}", str(out)]
    with log.open("wb") as stream:
        done = subprocess.run(words, cwd=folder, env=plain | own, stdout=stream, stderr=stream)
    assert done.returncode == 0, log.read_text()[-3000:]
    return json.loads(out.read_text())


@pytest.mark.usefixtures("kept")
def test_a_real_fiftyone_shows_truth_beside_predictions(client: TestClient, tmp_path: Path) -> None:
    if not PYTHON.exists():
        missing("FiftyOne is not installed: `make test-fiftyone` does it")
    (tmp_path / "home").mkdir()
    answer = client.get(PATH.format(2))
    with ZipFile(io.BytesIO(answer.content)) as sent:
        sent.extractall(tmp_path / "held-out")
        names = [name for name in sent.namelist() if name.startswith("data/")]
    said = opened(tmp_path)
    assert said["targets"] == {"0": "background", "1": "red", "2": "green", "7": "blue"}
    samples = said.pop("samples")
    assert sorted(samples) == sorted(Path(name).name for name in names)
    headers = {"Accept": "image/png", "Content-Type": "image/png"}
    mask = client.post("/segment?version=2", content=PICTURE, headers=headers).content
    seen = np.asarray(Image.open(io.BytesIO(mask)))
    for name, (truth, predicted) in samples.items():
        np.testing.assert_array_equal(np.array(predicted), seen)
        label = Image.open(tmp_path / "held-out/ground_truth" / name)
        np.testing.assert_array_equal(np.array(truth), np.asarray(label))
    assert 0 < said["accuracy"] < 1
    if report := os.environ.get(REPORT):
        checked = [
            "the snippet of docs/tools.md makes a dataset of the zip",
            "its masks are those of /segment and of the labels, pixel by pixel",
            "its mask targets are the version's classes",
            "evaluate_segmentations scores them",
        ]
        record = {
            "command": "make test-fiftyone",
            "fiftyone": said["fiftyone"],
            "mongod": said["database"],
            "checked": checked,
        }
        Path(report).write_text(json.dumps(record, indent=1) + "\n")
