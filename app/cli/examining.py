"""`sats doctor`: whether database, stores and folders are what they must be."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from sqlalchemy.exc import SQLAlchemyError

from app.cli.common import command_actor, log_aside
from app.cli.printing import AsJson, print_json
from app.cli.refusing import refusal
from app.db import make_engine, said_by
from app.db.migrate import is_current, is_newer, revision
from app.doctor.examination import examine, repair
from app.doctor.finding import Finding, Installation
from app.settings import get_settings
from app.storage import BlobStoreDownError

FINDINGS = 1
"""Exit status where something is not as it must be."""


def doctor(
    mend: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended without losing anything.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check what must always hold of database, stores and folders; docs/doctor.md names it.

    Exits with 0 where all is well, or was mended, and with 1 where something is not. The service
    may run meanwhile. Without --repair nothing is changed.
    """
    with _installation() as installation:
        mended, found = repair(installation) if mend else ([], examine(installation))
    if as_json:
        print_json({"content": not found, "findings": found, "repaired": mended})
    else:
        _say(found, mended)
    if found:
        raise typer.Exit(FINDINGS)


@contextmanager
def _installation() -> Iterator[Installation]:
    """Open what the settings name; unlike other commands this one makes and migrates nothing."""
    log_aside()
    settings = get_settings()
    file = settings.data_dir / "sats.db"
    if settings.database_url is None and not file.is_file():
        raise refusal(f"there is no database {file}: SATS_DATA_DIR must be that of the service")
    engine = make_engine(settings.resolved_database_url)
    try:
        if not is_current(engine):
            raise refusal("the database is not at the newest revision: back it up, sats migrate")
        if is_newer(engine):
            raise refusal(
                f"a newer release has migrated the database (to {revision(engine)}), of which this "
                "one does not know all: use that one's sats doctor"
            )
        yield Installation.of(engine, settings, command_actor())
    except SQLAlchemyError as error:
        raise refusal(f"the database cannot be read: {said_by(error)}") from error
    except BlobStoreDownError as error:
        raise refusal(f"the blob store cannot be read: {error.strerror}") from error
    except OSError as error:
        raise refusal(f"the service's files cannot be read: {error}") from error
    finally:
        engine.dispose()


def _say(found: Sequence[Finding], mended: Sequence[Finding]) -> None:
    for word, findings in (("repaired", mended), ("found", found)):
        for one in findings:
            can = " (--repair mends it)" if one.repairable and word == "found" else ""
            typer.echo(f"{word} {one.kind}: {one.where}: {one.what}{can}")
    typer.echo(f"{len(found)} findings, {len(mended)} repaired" if found or mended else "all well")
