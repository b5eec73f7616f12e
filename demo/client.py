"""The calls of the HTTP service that the demo makes."""

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from demo.pictures import jpeg
from demo.service import DemoError

END_STATES = {"succeeded", "failed", "cancelled"}
POLL_SECONDS = 0.5


class Client:
    """One model of a running service, over HTTP.

    Every method raises DemoError with the service's own words when it refuses.
    """

    def __init__(self, url: str, model: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=60, trust_env=False)
        self._model = model

    def submit(self, dataset: Path, spec: dict[str, Any]) -> dict[str, Any]:
        """Post a task and return it as it was queued."""
        with dataset.open("rb") as file:
            answer = self._http.post(
                "/tasks",
                files={"dataset": (dataset.name, file, "application/zip")},
                data={"spec": json.dumps({"model": self._model, "create": True} | spec)},
            )
        task: dict[str, Any] = _checked(answer).json()
        return task

    def follow(self, task_id: str) -> Iterator[dict[str, Any]]:
        """Yield the task about twice a second until it ends."""
        while True:
            task: dict[str, Any] = _checked(self._http.get(f"/tasks/{task_id}")).json()
            yield task
            if task["state"] in END_STATES:
                return
            time.sleep(POLL_SECONDS)

    def version(self, number: int) -> dict[str, Any]:
        """Return a version with its scores."""
        path = f"/admin/models/{self._model}/versions/{number}"
        version: dict[str, Any] = _checked(self._http.get(path)).json()
        return version

    def segment(self, picture: NDArray[np.uint8], version: int) -> NDArray[np.uint8]:
        """Segment a picture (h, w, 3) with one version; returns class indices (h, w)."""
        answer = self._http.post(
            "/segment",
            params={"model": self._model, "version": version},
            headers={"Accept": "image/png"},
            files={"pictures": ("picture.jpg", jpeg(picture, quality=92), "image/jpeg")},
        )
        return np.asarray(Image.open(io.BytesIO(_checked(answer).content)))

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    request = f"{answer.request.method} {answer.request.url.path}"
    raise DemoError(f"{request} answered {answer.status_code}: {answer.text}")
