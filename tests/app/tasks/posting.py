"""Posting a task, for the tests."""

import json
from pathlib import Path
from typing import Any

from tests.fixtures.drawings import voc_zip

SPEC = {"name": "base", "epochs": 1, "size": 32, "batch_size": 2, "pretrained": False}


def post(client: Any, dataset: Path | bytes, spec: Any = None, **headers: str) -> Any:
    """Post a data set; `spec` is added to a small one, or sent as it is if it is text."""
    content = dataset if isinstance(dataset, bytes) else dataset.read_bytes()
    text = spec if isinstance(spec, str) else json.dumps(SPEC | (spec or {}))
    files = {"dataset": ("data.zip", content, "application/zip")}
    return client.post("/tasks", files=files, data={"spec": text}, headers=headers)


def drawn(tmp_path: Path, *classes: str, **how: Any) -> Path:
    """Draw a tiny data set."""
    name = "-".join(classes) + str(sorted(how.items()))
    return voc_zip(
        tmp_path / f"{abs(hash(name))}.zip", classes, **{"pictures": 2, "size": 32} | how
    )
