"""Posting a task, for the tests."""

import json
from pathlib import Path
from typing import Any

from tests.fixtures.drawings import voc_zip

SPEC = {
    "name": "base",
    "epochs": 1,
    "size": 32,
    "batch_size": 2,
    "pretrained": False,
    "create": True,
}


def post(client: Any, dataset: Path | bytes, spec: Any = None, **headers: str) -> Any:
    """Post a data set; `spec` is added to a small one, or sent as it is if it is text."""
    content = dataset if isinstance(dataset, bytes) else dataset.read_bytes()
    text = spec if isinstance(spec, str) else json.dumps(SPEC | (spec or {}))
    files = {"dataset": ("data.zip", content, "application/zip")}
    return client.post("/tasks", files=files, data={"spec": text}, headers=headers)


def drawn(tmp_path: Path, *classes: str, seed: int = 0) -> Path:
    """Draw a tiny data set."""
    path = tmp_path / f"{'-'.join(classes)}-{seed}.zip"
    return voc_zip(path, classes, pictures=2, size=32, seed=seed)
