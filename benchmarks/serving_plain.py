"""Contestant: the ten lines that one writes first, FastAPI and a pool of threads.

    uvicorn benchmarks.serving_plain:app

It computes with the exported graph, or with torch where `SERVING_EAGER` is set.
"""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI, Request, Response

from benchmarks.serving_pipeline import EAGER, Eager, answer, load_graph, told

version, setup = told()
here = threading.local()


def start() -> None:
    """Give a thread of the pool its model; torch's is one for all threads."""
    here.model = eager or load_graph(version, setup.threads)


eager = Eager(version, setup.threads) if os.environ.get(EAGER) else None
pool = ThreadPoolExecutor(setup.sessions, initializer=start)
app = FastAPI()


@app.get("/ready")
async def ready() -> None:
    """Answer once the process listens."""


@app.post("/segment")
async def segment(request: Request) -> Response:
    """Answer a picture with its mask."""
    data = await request.body()
    loop = asyncio.get_running_loop()
    mask = await loop.run_in_executor(pool, lambda: answer(here.model, [data])[0])
    return Response(mask, media_type="image/png")
