"""An embedded service's data as real workers leave it, made once and copied for every test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from app.db import TaskState, make_engine
from app.doctor.finding import Installation
from app.settings import Settings
from app.storage import LocalBlobStore
from tests.worker.bench import Bench
from tests.worker.scripted_child import Control


class Data:
    """A service's data, to be broken on purpose."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(data_dir=folder, redis_url=None, database_url=None)
        self.engine = make_engine(self.settings.resolved_database_url)
        self.installation = Installation.of(self.engine, self.settings)
        self.blobs = LocalBlobStore(self.settings.blob_dir)

    def sql(self, *statements: str) -> None:
        """Write what no service would: nothing is checked."""
        with self.engine.connect() as connection:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            for statement in statements:
                connection.execute(text(statement))
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")
            connection.exec_driver_sql("BEGIN")

    def one(self, query: str) -> str:
        with self.engine.connect() as connection:
            return str(connection.scalar(text(query)))


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Path:
    """Two steps, a held one, an import, a preview, a failed and a cancelled task."""
    folder = tmp_path_factory.mktemp("learned") / "data"
    folder.mkdir()
    shutil.copy(sqlite_template, folder / "sats.db")
    settings = Settings(data_dir=folder, database_url=None, redis_url=None)
    engine = make_engine(settings.resolved_database_url)
    control = Control(folder.parent / "control")
    bench = Bench(settings, engine, LocalBlobStore(settings.blob_dir), control)
    control.plan(epochs=1)
    assert bench.run(["cat"]).state == TaskState.LIVE
    bench.run(["dog"], parent=1, memory=4)
    assert bench.run_import(["wall", "sky"], model="b", evaluate=["sky"]).state == TaskState.LIVE
    previewed = bench.post(["cow"], method="sats_plus", preview=True)
    bench.supervisor().run(bench.preview(previewed).id)
    bench.supervisor().run(previewed)
    control.plan(epochs=1, default_iou=0.0)
    assert bench.run(["owl"]).state == TaskState.HELD
    control.plan(fail="not this time")
    assert bench.run(["fox"]).state == TaskState.FAILED
    bench.cancel(bench.post(["hen"]))
    bench.post(["bat"])
    assert control.starts()
    engine.dispose()
    return folder


@pytest.fixture
def data(learned: Path, tmp_path: Path) -> Iterator[Data]:
    shutil.copytree(learned, tmp_path / "data")
    made = Data(tmp_path / "data")
    yield made
    made.engine.dispose()
