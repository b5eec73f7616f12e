"""The Python of `docs/tools.md`, as it stands there, against a service."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from demo import plan
from demo.pictures import draw_scene, jpeg
from tests.app.segmentation.conftest import Register
from tests.docs.examples import ROOT

TEXT = (ROOT / "docs" / "tools.md").read_text()
# FiftyOne brings a database of its own, which is not among what the tests install.
BLOCKS = [
    block
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    if "import fiftyone" not in block
]


def test_there_are_examples() -> None:
    imported = [set(re.findall(r"^from (\w+)", block, re.MULTILINE)) for block in BLOCKS]
    assert any("tritonclient" in names for names in imported)
    assert any("huggingface_hub" in names for names in imported)


@pytest.mark.parametrize("block", BLOCKS)
def test_it_runs_and_prints_what_it_says(
    served: httpx.Client, register: Register, tmp_path: Path, block: str
) -> None:
    register()
    (tmp_path / "demo-output").mkdir()
    scene = draw_scene(np.random.default_rng(3), 256, plan.CLASSES)
    (tmp_path / "demo-output" / "showcase-01.jpg").write_bytes(jpeg(scene.picture, 92))
    here = block.replace("127.0.0.1:8000", served.base_url.netloc.decode())
    done = subprocess.run(
        [sys.executable, "-c", here],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "0", "HF_TOKEN_PATH": str(tmp_path / "none")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = re.findall(r"print\(.*\)  # (.*)$", block, re.MULTILINE)
    assert done.stdout.splitlines()[: len(said)] == said
    assert done.stdout
