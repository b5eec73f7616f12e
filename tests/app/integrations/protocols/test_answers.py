"""Where the tensors of an answer are written."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from app.inference.engine import SMALL_WORKS, Inference
from app.inference.exported_graph import Graph
from app.inference.loaded_graphs import Choice, Exported, Served
from app.inference.tuning import Tuner
from app.integrations.protocols import answers
from app.integrations.protocols.tensors import Tensors
from app.segmentation.upload import PostedPicture
from app.settings import Settings
from app.storage import LocalBlobStore
from tests.app.inference.colour_graph import CLASSES, write_version
from tests.app.segmentation.requests import encoded, left_red_right_green

WAIT = 30
RAW = np.asarray(left_red_right_green())


@pytest.fixture
def inference(tmp_path: Path) -> Iterator[Inference]:
    settings = Settings(data_dir=tmp_path, serve_threads=1)
    made = Inference(settings, LocalBlobStore(tmp_path / "blobs"))
    yield made
    made.close()


@pytest.fixture
def choice(tmp_path: Path) -> Choice:
    tuner = Tuner(tmp_path / "plans", processors=1, lone_threads=1, batch=1)
    graph = Graph(*write_version(tmp_path / "1", CLASSES), tuner)
    loaded: Future[Served] = Future()
    exported = Exported(1, 1, "default", 1, "", "", 1)
    loaded.set_result(Served(exported, graph))
    return Choice(exported, loaded)


@pytest.mark.parametrize(
    "pictures",
    [
        {"raw": [RAW, RAW]},
        {"files": [PostedPicture("a", encoded(left_red_right_green()))] * 2},
    ],
)
@pytest.mark.parametrize("binary", [False, True])
def test_nothing_is_written_on_the_threads_for_small_works(
    inference: Inference, choice: Choice, pictures: dict[str, list[object]], *, binary: bool
) -> None:
    """There every request's pixels are counted: who writes for seconds would hold up everybody."""
    asked = Tensors(None, {"mask": binary, "score": binary}, **pictures)  # type: ignore[arg-type]

    async def answered() -> tuple[bytes, int | None]:
        over = threading.Event()
        busy = [asyncio.create_task(inference.in_thread(over.wait)) for _ in range(SMALL_WORKS)]
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(WAIT):
                _, body, length = await answers.infer(inference, choice, asked, 10**6)
        finally:
            over.set()
            await asyncio.gather(*busy)
        return body, length

    body, length = asyncio.run(answered())
    said = json.loads(body[:length])
    assert [one["shape"] for one in said["outputs"]] == [[2, *RAW.shape[:2]]] * 2
    pixels = 2 * RAW.shape[0] * RAW.shape[1]
    if length is None:
        assert [len(one["data"]) for one in said["outputs"]] == [pixels] * 2
    else:
        assert len(body) - length == (1 + 4) * pixels
