"""Versions that tell classes by colour, registered as a worker would."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from app.db import Task, Version, write_session
from app.registry.moves import go_live
from app.registry.service import ensure_model
from app.storage import BlobStore
from sats_core.classes import ClassInfo
from tests.app.inference.colour_graph import CLASSES, write_version

Register = Callable[..., int]


@pytest.fixture
def register(engine: Engine, blobs: BlobStore, tmp_path: Path) -> Register:
    """Return what adds a version of a model and, by default, makes it live."""

    def add(
        classes: Sequence[ClassInfo] = CLASSES, *, model: str = "default", live: bool = True
    ) -> int:
        with write_session(engine) as session:
            line = ensure_model(session, model)
            task = Task(model_id=line.id, spec={}, dataset="", dataset_bytes=0, request_digest="")
            session.add(task)
            session.flush()
            of_model = select(func.count()).where(Version.model_id == line.id)
            number = (session.scalar(of_model) or 0) + 1
            files = write_version(tmp_path / model / str(number), classes)
            version = Version(
                model_id=line.id,
                model=line,
                number=number,
                task_id=task.id,
                classes=[
                    {"index": c.index, "name": c.name, "colour": list(c.colour), "step": 0}
                    for c in classes
                ],
                new_classes=[],
                settings={},
                backbone_start="scratch",
                scores={},
                gate={},
                files={
                    f.name: {"blob": blobs.put_file(f).key, "bytes": f.stat().st_size}
                    for f in files
                },
                seconds=1.0,
            )
            session.add(version)
            session.flush()
            if live:
                go_live(session, version)
        return number

    return add
