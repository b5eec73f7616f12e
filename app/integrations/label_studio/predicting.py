"""Tasks to predictions, one after another and a few on their way at once."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import structlog

from app.errors import Problem
from app.inference.cutting import Cut, Segmented
from app.inference.engine import Inference
from app.inference.lanes import ClosedError
from app.inference.loaded_graphs import Served
from app.integrations.label_studio.asked import AskedTask
from app.integrations.label_studio.brush import TooManyRunsError
from app.integrations.label_studio.client import LabelStudio, LabelStudioError
from app.integrations.label_studio.labelling import Control, Labelling
from app.integrations.label_studio.regions import confidence, predicted
from app.integrations.label_studio.schemas import version_name
from app.segmentation import service
from app.segmentation.holding import PIXEL_BYTES, hold_room
from app.segmentation.upload import PostedPicture
from app.settings import Settings

TASK_SECONDS = 80.0
"""For one task: Label Studio waits for 100 until the next bytes come."""
_BESIDE = 2
"""Tasks on their way beside those that lanes work at: their pictures are fetched meanwhile."""

Prediction = dict[str, Any]
LATER: list[Prediction] = []
"""No prediction at all: Label Studio asks again next time. With an empty one it would not."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Predicting:
    """What answers the tasks of one request.

    Attributes:
        inference: where pictures are segmented.
        served: who answers.
        label_studio: where pictures come from.
        labelling: what may be drawn.
        settings: how large pictures may be.
        is_over: whether the process is to end: what has not begun is for the next time.
    """

    inference: Inference
    served: Served
    label_studio: LabelStudio
    labelling: Labelling
    settings: Settings
    is_over: Callable[[], bool]

    @property
    def version(self) -> str:
        """What predictions name the version that answers."""
        return version_name(self.served.exported.model, self.served.exported.number)

    async def answer(self, tasks: Sequence[AskedTask]) -> AsyncGenerator[bytes, None]:
        """Yield the answer's JSON: as many results as tasks, in their order."""
        most = len(self.inference.lanes) + _BESIDE
        coming: deque[asyncio.Task[bytes]] = deque()
        version = json.dumps(self.version)
        try:
            yield b'{"model_version":%s,"results":[' % version.encode()
            between = b""
            for task in tasks:
                coming.append(asyncio.create_task(self._result(task)))
                if len(coming) >= most:
                    yield between + await coming.popleft()
                    between = b","
            while coming:
                yield between + await coming.popleft()
                between = b","
            yield b"]}"
        finally:
            for one in coming:
                one.cancel()
            await asyncio.gather(*coming, return_exceptions=True)

    async def _result(self, task: AskedTask) -> bytes:
        if self.is_over():
            return json.dumps(LATER).encode()
        try:
            async with asyncio.timeout(TASK_SECONDS):
                return await self._predicted(task)
        except (TimeoutError, ClosedError):
            return json.dumps(LATER).encode()
        except LabelStudioError as error:
            self._told(task, error)
            return json.dumps(LATER if error.passing else self._empty()).encode()
        except (Problem, TooManyRunsError) as error:
            self._told(task, error)
            return json.dumps(self._empty()).encode()
        except Exception:
            # The answer has begun, and all other tasks' results are good.
            log.exception("label_studio_task_failed", task=task.id)
            return json.dumps(LATER).encode()

    def _told(self, task: AskedTask, error: Exception) -> None:
        log.info("label_studio_picture_failed", task=task.id, error=str(error))

    def _empty(self) -> Prediction:
        return {"result": [], "model_version": self.version}

    async def _predicted(self, task: AskedTask) -> bytes:
        controls = _of_one_picture(self.labelling.controls, task.data)
        if not controls:
            return json.dumps(self._empty()).encode()
        with ExitStack() as held:
            await hold_room(self.inference, held, 1, 0)
            posted = await self._fetched(task, task.data[controls[0].key])
            pixels = await self.inference.in_thread(
                lambda: service.pixels([posted], self.settings.max_pixels)
            )
            needed = len(posted.data) + PIXEL_BYTES * pixels
            await hold_room(self.inference, held, 0, needed)
            (body,) = await service.delivered(
                self.inference,
                self.served,
                [posted],
                Cut(),
                self.settings.max_pixels,
                lambda _, found: self._written(found, controls),
            )
        return body

    async def _fetched(self, task: AskedTask, address: str) -> PostedPicture:
        """Fetch a picture; nobody says before how long it is."""
        most = self.settings.max_picture_bytes
        with ExitStack() as coming:
            needed = min(most, self.inference.memory.total)
            await hold_room(self.inference, coming, 0, needed)
            data = await self.label_studio.picture(address, task.id, most)
        return PostedPicture(f"task {task.id}", data)

    def _written(self, found: Segmented, controls: Sequence[Control]) -> bytes:
        regions = predicted(found, self.served.graph.catalogue, controls)
        said = {"result": regions, "score": confidence(found), "model_version": self.version}
        return json.dumps(said, separators=(",", ":")).encode()


def _of_one_picture(controls: Sequence[Control], data: Mapping[str, str]) -> tuple[Control, ...]:
    """Return the tags that draw on the first picture that a task has."""
    having = [control for control in controls if control.key in data]
    return tuple(one for one in having if one.key == having[0].key)
