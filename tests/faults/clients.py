"""Clients that post tasks, come back when they are told to, and follow what becomes of them."""

import itertools
import json
import random
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import httpx

from tests.fixtures.drawings import voc_zip

MODELS = ("field", "street")
ENDS = ("succeeded", "failed", "cancelled")
SMALL = {
    "size": 32,
    "batch_size": 2,
    "epochs": 2,
    "pretrained": False,
    "features": 200,
    "gate": {"max_drop": 1, "min_iou": 0},
}
PATIENCE_SECONDS = 900.0
"""How long a task may say the same of itself, and a call go without an answer."""


@dataclass
class Told:
    """What the clients of a run were told, together.

    Attributes:
        accepted: ids of the tasks that were accepted, previews too.
        broken: promises that the answers broke.
        answers: how often each status was answered.
    """

    accepted: set[str] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, status: str) -> None:
        """Count an answer."""
        with self.lock:
            self.answers[status] = self.answers.get(status, 0) + 1


class Client(threading.Thread):
    """Posts tasks one after another, each a class that its model does not know.

    Args:
        number: its own; its classes are called after it.
        url: of the API.
        tasks: how many it posts at least.
        seed: of what it draws.
        told: where it writes what it was told.
        enough: once set, it posts no more than `tasks`.
        over: ends it before its time.
    """

    def __init__(
        self,
        number: int,
        url: str,
        tasks: int,
        seed: int,
        told: Told,
        enough: threading.Event,
        over: threading.Event,
    ) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self._number = number
        self._url = url
        self._tasks = tasks
        self._rng = random.Random(seed)
        self._told = told
        self._enough = enough
        self._over = over

    def run(self) -> None:
        """Post and follow, task by task."""
        with httpx.Client(base_url=self._url, timeout=60) as http:
            for count in itertools.count():
                if count >= self._tasks and self._enough.is_set():
                    return
                model = self._rng.choice(MODELS)
                task = self._post(http, model, f"thing-{self._number}-{count}")
                if task is not None:
                    self._follow(http, task)
                if self._over.is_set():
                    return

    def _post(self, http: httpx.Client, model: str, name: str) -> dict[str, Any] | None:
        """Post until it is accepted, under one Idempotency-Key a spec; None: told to stop."""
        began = time.monotonic()
        while not self._over.is_set():
            if time.monotonic() - began > PATIENCE_SECONDS:
                self._break(f"not-accepted: {name} within {PATIENCE_SECONDS:g} s")
                return None
            spec = self._spec(http, model, name)
            key = {"Idempotency-Key": str(UUID(int=self._rng.getrandbits(128)))}
            files = {"dataset": ("a.zip", drawn(name), "application/zip")}
            answer = self._ask(
                http, "POST", "/tasks", files=files, data={"spec": json.dumps(spec)}, headers=key
            )
            if answer is None:
                return None
            if answer.status_code == 202:
                task: dict[str, Any] = answer.json()
                with self._told.lock:
                    self._told.accepted |= {task["id"], task["preview"]} - {None}
                return task
            time.sleep(0.5)  # its model has a base by now, or none any more: another spec
        return None

    def _spec(self, http: httpx.Client, model: str, name: str) -> dict[str, Any]:
        answer = self._ask(http, "GET", "/classes", params={"model": model})
        is_base = answer is None or answer.status_code != 200
        method = "sats_plus" if is_base else self._rng.choice(["frozen", "frozen", "sats_plus"])
        preview = method != "frozen" and not is_base and self._rng.random() < 0.3
        memory = self._rng.choice([0, 2])
        drawn_up = {
            "name": name,
            "model": model,
            "create": True,
            "method": method,
            "memory": memory,
        }
        return {**SMALL, **drawn_up, "preview": preview}

    def _follow(self, http: httpx.Client, task: dict[str, Any]) -> None:
        """Wait for a task's end; cancel some, and try some failed ones again."""
        path = f"/tasks/{task['id']}"
        cancels = self._rng.random() < 0.1
        tries_again = self._rng.random() < 0.7
        seen, since = "", time.monotonic()
        while (answer := self._ask(http, "GET", path)) is not None:
            if answer.status_code != 200:
                self._break(f"task-lost: {path} was accepted and is {answer.status_code}")
                return
            now = answer.json()
            if cancels and self._rng.random() < 0.1:
                cancels = False
                self._ask(http, "POST", f"{path}:cancel")
            elif now["state"] == "failed" and tries_again:
                tries_again = False
                self._ask(http, "POST", f"{path}:retry")
            elif now["state"] in ENDS:
                return
            told = json.dumps([now["state"], now["phase"], now["progress"], now["queue_place"]])
            seen, since = (seen, since) if told == seen else (told, time.monotonic())
            if time.monotonic() - since > PATIENCE_SECONDS:
                self._break(f"task-stuck: {path} says the same for {PATIENCE_SECONDS:g} s: {told}")
                return
            time.sleep(0.5)

    def _ask(self, http: httpx.Client, method: str, path: str, **request: Any) -> Any:
        """Ask until there is an answer that is none of a part that is down; None: told to stop.

        A status of 500 says that the service does not know what happened: a broken promise.
        """
        began = time.monotonic()
        while not self._over.is_set():
            if time.monotonic() - began > PATIENCE_SECONDS:
                self._break(f"no-answer: {method} {path} within {PATIENCE_SECONDS:g} s")
                return None
            try:
                answer = http.request(method, path, **request)
            except httpx.HTTPError:
                self._told.count("no answer")
                time.sleep(0.3)
                continue
            self._told.count(str(answer.status_code))
            if answer.status_code == 500:
                self._break(f"answer-500: {method} {path}: {answer.text[:300]}")
            if answer.status_code < 500:
                return answer
            time.sleep(0.3)
        return None

    def _break(self, promise: str) -> None:
        with self._told.lock:
            self._told.broken.append(promise)


@cache
def drawn(name: str) -> bytes:
    """Return a small data set of one class, always the same one."""
    with TemporaryDirectory() as folder:
        path = voc_zip(Path(folder) / "a.zip", [name], pictures=4, size=40, seed=sum(name.encode()))
        return path.read_bytes()
