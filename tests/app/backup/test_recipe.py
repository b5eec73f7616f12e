"""The commands of docs/backup.md, run as they stand there."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import make_url
from starlette.testclient import TestClient

from app.db import Task, make_engine, utc_now, write_session
from app.doctor.examination import examine
from app.doctor.finding import Installation
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.main import create_app
from app.settings import Settings
from tests.app.inference.colour_graph import write_version
from tests.app.segmentation.requests import encoded, left_red_right_green, mask_of
from tests.fixtures.databases import administer, database_of
from tests.fixtures.missing import missing
from tests.fixtures.processes import environment
from tests.fixtures.versions import add_version

ROOT = Path(__file__).parents[3]
RECIPE = (ROOT / "docs" / "backup.md").read_text()
BLOCKS = dict(re.findall(r"```bash ([a-z-]+)\n(.*?)```", RECIPE, re.DOTALL))


def postgres_tools() -> Path:
    """The folder of pg_dump, of the same release as the server."""
    try:
        import pgserver
    except ImportError:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"))
        if not found:
            missing("no pg_dump")
        return found[-1].parent
    return Path(pgserver.__file__).parent / "pginstall" / "bin"


@pytest.fixture
def learned(engine, blobs, settings, tmp_path):
    """A live version that tells classes by colour; returns a key to ask it with."""
    with write_session(engine) as session:
        version = add_version(session, blobs, ["red", "green"])
        files = write_version(tmp_path / "version")
        stored = {file.name: blobs.put_file(file) for file in files}
        version.files = {n: {"blob": b.key, "bytes": b.size} for n, b in stored.items()}
        session.get_one(Task, version.task_id).finished_at = utc_now()
        key = create_key(session, read_secret(settings), "phone", [Scope.SEGMENT])
    for entry in list(blobs.entries()):
        if entry.name not in {blob.key for blob in stored.values()}:
            blobs.delete(entry.name)
    return key


def run(block: str, settings: Settings, more: Mapping[str, str]) -> str:
    """Run a block of the recipe on the service of these settings."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euxc", BLOCKS[block]],
        cwd=ROOT,
        env={**os.environ, "PATH": path, **environment(settings), **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def address(url: str) -> dict[str, str]:
    """A Postgres URL as libpq's tools read it."""
    made = make_url(url)
    host = made.query.get("host") or made.host or ""
    given = {
        "PGHOST": str(host),
        "PGPORT": str(made.port or ""),
        "PGUSER": made.username or "",
        "PGPASSWORD": str(made.password or ""),
        "PGDATABASE": made.database or "",
        "PATH": f"{postgres_tools()}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    return {name: value for name, value in given.items() if value}


def segmented(settings: Settings, key: str):
    """What /segment answers."""
    with TestClient(create_app(settings), headers={"Authorization": f"Bearer {key}"}) as client:
        return mask_of(client, encoded(left_red_right_green()))


def test_a_restored_service_is_whole_and_answers_the_same(
    request, settings, engine, learned, tmp_path
):
    before = segmented(settings, learned)
    assert len(np.unique(before)) == 2
    kind = engine.dialect.name.replace("postgresql", "postgres")
    more = {"BACKUP": str(tmp_path / "backup")}
    elsewhere = settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    if kind == "sqlite":
        # The test's database lies beside its data_dir; the service's own lies in it.
        engine.dispose()
        shutil.copy(tmp_path / "sats.db", settings.data_dir / "sats.db")
        run("backup-sqlite", settings, more)
        elsewhere = Settings(data_dir=elsewhere.data_dir)
    else:
        server, name = request.getfixturevalue("postgres_url"), f"sats_{uuid4().hex}"
        run("backup-postgres", settings, more | address(settings.resolved_database_url))
        administer(server, f"CREATE DATABASE {name}")
        request.addfinalizer(lambda: administer(server, f"DROP DATABASE {name} WITH (FORCE)"))
        url = database_of(server, name)
        elsewhere = elsewhere.model_copy(update={"database_url": url})
        more |= address(url)
    shutil.rmtree(settings.data_dir)
    assert run(f"restore-{kind}", elsewhere, more).endswith("all well\n")
    np.testing.assert_array_equal(segmented(elsewhere, learned), before)
    restored = make_engine(elsewhere.resolved_database_url)
    assert examine(Installation.of(restored, elsewhere)) == []
    restored.dispose()


def test_a_backup_that_lacks_a_blob_is_named_before_the_service_runs(
    settings, engine, blobs, learned
):
    entry = next(iter(blobs.entries()))
    blobs.delete(entry.name)
    (finding,) = examine(Installation.of(engine, settings))
    assert (finding.kind, entry.name in finding.what) == ("blob-missing", True)


def test_every_command_of_the_recipe_is_run_here():
    assert set(BLOCKS) == {
        f"{what}-{kind}" for what in ("backup", "restore") for kind in ("sqlite", "postgres")
    }
    assert RECIPE.count("```bash") == len(BLOCKS)
