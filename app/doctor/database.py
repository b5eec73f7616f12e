"""The SQLite file is whole, and no row points at one that is not there. Postgres sees to both."""

from collections.abc import Sequence

from sqlalchemy import text

from app.doctor.finding import Check, Finding, Installation


def find_damage(held: Installation) -> Sequence[Finding]:
    """Return what SQLite says of its file."""
    if held.engine.dialect.name != "sqlite":
        return []
    with held.engine.connect() as connection:
        said = connection.scalars(text("PRAGMA integrity_check")).all()
    where = held.settings.resolved_database_url
    return [Finding("database-damaged", line, where) for line in said if line != "ok"]


def find_dangling(held: Installation) -> Sequence[Finding]:
    """Return the rows that point at one that is not there."""
    if held.engine.dialect.name != "sqlite":
        return []
    with held.engine.connect() as connection:
        rows = connection.execute(text("PRAGMA foreign_key_check")).all()
    return [
        Finding("row-dangling", f"points at no row of {row[2]}", f"{row[0]} row {row[1]}")
        for row in rows
    ]


CHECKS = (Check(find_dangling),)
