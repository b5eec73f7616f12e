"""Clients that ask a service one thing after another, a thread each, and note how long it takes.

They stand on `http.client`, which costs a small part of what a full HTTP library does: the machine
is left to the service.
"""

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

from tests.fixtures.drawings import draw, encoded

TIMEOUT_SECONDS = 60
IDLE_SECONDS = 3.0
"""A connection that was not used for longer is opened anew, as careful clients have it."""
LONGEST_WAIT_SECONDS = 5.0
MOST_ERRORS = 50
EXPECTED = {"post a task": (202,), "cancel a task": (202, 409)}
"""By kind of call; the others are answered with 200. A worker with nothing else to do may have
ended a task before it is cancelled: 409."""

SMALL = {
    "create": True,
    "backbone": "mit_b0",
    "size": 32,
    "epochs": 1,
    "batch_size": 2,
    "pretrained": False,
    "method": "finetune",
    "gate": {"max_drop": 1.0, "min_iou": 0.0},
}
"""A step of some seconds, whose version goes live whatever it has learned."""


@dataclass
class Tally:
    """What one client saw.

    Attributes:
        seconds: how long each answered call took, by kind.
        refused: how often it was told to come back later, by status.
        errors: what should not have been, in words.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    refused: Counter[int] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Add what another client saw."""
        for kind, seconds in other.seconds.items():
            self.seconds.setdefault(kind, []).extend(seconds)
        self.refused += other.refused
        self.errors += other.errors

    def wrong(self, message: str) -> None:
        """Note an error; of very many the first ones."""
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(message)


class Client:
    """One connection that is kept, and what was seen through it."""

    def __init__(self, url: str, key: str, tally: Tally) -> None:
        address = urlsplit(url)
        self._http = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=TIMEOUT_SECONDS
        )
        self._authorization = {"Authorization": f"Bearer {key}"}
        self._used = 0.0
        self.tally = tally

    def ask(
        self,
        kind: str,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> bytes | None:
        """Return the answer's body, or None: it was refused, which is waited out, or an error."""
        try:
            if time.monotonic() - self._used > IDLE_SECONDS:
                self._http.close()
            began = time.perf_counter()
            self._http.request(method, path, body, self._authorization | dict(headers or {}))
            answer = self._http.getresponse()
            content = answer.read()
            took = time.perf_counter() - began
        except (OSError, http.client.HTTPException) as error:
            self.tally.wrong(f"{kind}: {error!r}")
            self._http.close()
            return None
        self._used = time.monotonic()
        after = answer.getheader("Retry-After")
        if answer.status in (429, 503) and after is not None:
            self.tally.refused[answer.status] += 1
            time.sleep(min(float(after), LONGEST_WAIT_SECONDS))
            return None
        if answer.status not in EXPECTED.get(kind, (200,)):
            self.tally.wrong(f"{kind}: {answer.status} {content[:300]!r}")
            return None
        self.tally.seconds.setdefault(kind, []).append(took)
        return content

    def close(self) -> None:
        """Give the connection back."""
        self._http.close()


@dataclass(frozen=True)
class Load:
    """What all clients share.

    Attributes:
        pictures: encoded, as /segment takes them.
        data_set: a zip that can be posted as a task.
        over: set when they are to stop.
        pause: seconds between a client's calls.
    """

    pictures: Sequence[bytes]
    data_set: bytes
    over: threading.Event
    pause: float

    @classmethod
    def of(cls, data_set: bytes, over: threading.Event, pause: float) -> "Load":
        """Draw the pictures: sixteen, as photographs are sent, larger than what the model sees."""
        rng = np.random.default_rng(0)
        sizes = (128, 192, 256, 320)
        drawn = [draw(rng, ["red", "green"], size)[0] for size in sizes for _ in range(4)]
        return cls([encoded(picture) for picture in drawn], data_set, over, pause)


def segment(load: Load, client: Client, seed: int) -> None:
    """Ask for masks until it is over."""
    rng = random.Random(seed)
    while not load.over.wait(load.pause):
        _segment(load, client, rng)


def mix(load: Load, client: Client, seed: int) -> None:
    """Ask until it is over: of a hundred calls 95 to /segment, the others about tasks."""
    rng = random.Random(seed)
    known: list[str] = []
    while not load.over.wait(load.pause):
        drawn = rng.random()
        if drawn < 0.95:
            _segment(load, client, rng)
        elif drawn < 0.98 and known:
            client.ask("read a task", "GET", f"/tasks/{rng.choice(known)}")
        elif drawn < 0.99:
            client.ask("list tasks", "GET", "/tasks?limit=20")
        else:
            _post_and_cancel(load, client, known)


def move(load: Load, client: Client, seconds: float) -> None:
    """Promote version 1 and take it back, again and again: version 2 is live before and after."""
    while not load.over.wait(seconds):
        here = "/admin/models/default/versions/1"
        if client.ask("promote", "POST", f"{here}:promote") is None:
            continue
        while client.ask("roll back", "POST", f"{here}:rollback") is None:
            if load.over.wait(seconds):
                return


def learn(load: Load, client: Client, seconds: float) -> list[str]:
    """Post a small step now and then, which a worker runs; returns the tasks' ids."""
    posted: list[str] = []
    while True:
        task = post(client, load.data_set, {"name": "small", "model": f"small-{len(posted)}"})
        if task is not None:
            posted.append(task)
        if load.over.wait(seconds):
            return posted


def post(client: Client, data_set: bytes, spec: Mapping[str, object]) -> str | None:
    """Post a task; returns its id unless it was refused."""
    frame = "load"
    parts = (
        (b'name="spec"', json.dumps({**SMALL, **spec}).encode()),
        (b'name="dataset"; filename="d.zip"', data_set),
    )
    body = b"".join(
        b"--load\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % part for part in parts
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={frame}"}
    answer = client.ask("post a task", "POST", "/tasks", body + b"--load--\r\n", headers)
    return str(json.loads(answer)["id"]) if answer is not None else None


def _segment(load: Load, client: Client, rng: random.Random) -> None:
    accept = "image/png" if rng.random() < 0.5 else "application/json"
    headers = {"Accept": accept, "Content-Type": "image/jpeg"}
    client.ask("segment", "POST", "/segment", rng.choice(load.pictures), headers)


def _post_and_cancel(load: Load, client: Client, known: list[str]) -> None:
    task = post(client, load.data_set, {"name": "cancelled", "model": "waiting"})
    if task is None:
        return
    known.append(task)
    client.ask("cancel a task", "POST", f"/tasks/{task}:cancel")
