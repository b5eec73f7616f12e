"""Records on stdout: as a table for people, as JSON or ids for programs."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from sats_core.data.names import printable


class Form(StrEnum):
    """How records are printed."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    ID = "id"


Output = Annotated[
    Form, typer.Option("--output", "-o", help="What is printed on stdout; --json: JSON.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print a JSON object on stdout; words go to stderr.")
]
"""Of a command that answers with one thing, which has a table of its own or none."""
Row = Mapping[str, object]


def print_all(records: Iterable[Any], form: Form, rows: Any, name: Any) -> None:
    """Print records.

    Args:
        records: of `sats_client`.
        form: how.
        rows: gives a record's cells in a table, by column.
        name: gives a record's id.
    """
    match form:
        case Form.JSON:
            print_json(list(records))
        case Form.JSONL:
            for one in records:
                typer.echo(json.dumps(plain(one), ensure_ascii=False))
        case Form.ID:
            for one in records:
                typer.echo(name(one))
        case Form.TABLE:
            _table([rows(one) for one in records])


def print_one(record: Any, form: Form, rows: Any, name: Any) -> None:
    """Print one record; in a table a line for each of its cells."""
    match form:
        case Form.JSON:
            print_json(record)
        case Form.TABLE:
            cells = rows(record)
            width = max(map(len, cells))
            for key, value in cells.items():
                typer.echo(f"{key.ljust(width)}  {_cell(value)}".rstrip())
        case _:
            print_all([record], form, rows, name)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: Any) -> Any:
    """Return a record as JSON has it."""
    if is_dataclass(value) and not isinstance(value, type):
        known = [one.name for one in fields(value) if not one.name.startswith("_")]
        return {name.removesuffix("_"): plain(getattr(value, name)) for name in known}
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, datetime):  # as the API spells it; its own `utc_text` has a database
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value


def _table(rows: list[Row]) -> None:
    """Print rows with columns below each other; a name is one line, whatever is in it."""
    if not rows:
        return
    cells = [list(rows[0]), *([_cell(one) for one in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        padded = (one.ljust(width) for one, width in zip(line, widths, strict=True))
        typer.echo("  ".join(padded).rstrip())


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, tuple | list):
        return printable(", ".join(map(str, value)))
    return printable(str(value))
