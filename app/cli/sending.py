"""How much of a large file was sent, as a bar on stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

SOON = 1 << 20
"""Bytes that are sent too soon for anybody to ask how many were."""


@contextmanager
def sending() -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal until the block ends; elsewhere nothing.

    Yields:
        what a client tells the bytes that it has sent, and how many there are.
    """
    console = Console(stderr=True)
    columns = BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        shown = bar.add_task("", visible=False)

        def told(sent: int, of: int) -> None:
            bar.update(shown, completed=sent, total=of, visible=of > SOON)

        yield told
