"""Data sets whose classes only the worker learns: their files are large, and read whole."""

from typing import Any

from PIL import Image

from tests.app.tasks.posting import post
from tests.sats_core.data.drawn import encode, write_zip


def test_coco_is_not_parsed_when_it_is_posted(client: Any, tmp_path: Any) -> None:
    files = {"a.json": b'{"images": [' + b"[" * 100, "a.png": encode(Image.new("RGB", (8, 6)))}
    answer = post(client, write_zip(tmp_path / "a.zip", files), {"classes": ["cat"]})
    assert answer.status_code == 202, answer.text  # the task's `validating` says what is wrong


def test_what_is_no_coco_is_refused_at_once(client: Any, tmp_path: Any) -> None:
    answer = post(client, write_zip(tmp_path / "a.zip", {"a.json": b"{}"}))
    assert answer.status_code == 422
    assert "no picture" in answer.json()["detail"]
