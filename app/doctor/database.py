"""The SQLite file is whole, and no row points at one that is not there. Postgres sees to both."""

from collections.abc import Sequence

from sqlalchemy import JSON, Connection, Text, func, select, text, type_coerce

from app.db import Base
from app.doctor.finding import Check, Finding, Installation


def find_damage(installation: Installation) -> Sequence[Finding]:
    """Return what SQLite says of its file, and what in it cannot be read back."""
    if installation.engine.dialect.name != "sqlite":
        return []
    with installation.engine.connect() as connection:
        said = connection.scalars(text("PRAGMA integrity_check")).all()
        said = [line for line in said if line != "ok"] or _no_json(connection)
    where = installation.settings.resolved_database_url
    return [Finding("database-damaged", line, where) for line in said]


def _no_json(connection: Connection) -> list[str]:
    """Return what cannot be read back; Postgres lets nothing in that cannot."""
    found = []
    for table in Base.metadata.tables.values():
        for column in table.columns:
            if isinstance(column.type, JSON):
                broken = column.is_not(None) & (func.json_valid(type_coerce(column, Text)) == 0)
                count = connection.scalar(select(func.count()).select_from(table).where(broken))
                found += (
                    [f"{count} rows of {table.name}.{column.name} are no JSON"] if count else []
                )
    return found


def find_dangling(installation: Installation) -> Sequence[Finding]:
    """Return the rows that point at one that is not there."""
    if installation.engine.dialect.name != "sqlite":
        return []
    with installation.engine.connect() as connection:
        rows = connection.execute(text("PRAGMA foreign_key_check")).all()
    return [
        Finding("row-dangling", f"points at no row of {row[2]}", f"{row[0]} row {row[1]}")
        for row in rows
    ]


CHECKS = (Check(find_dangling),)
