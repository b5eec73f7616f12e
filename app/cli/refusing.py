"""How a command says why not. It loads nothing of the service: completion waits for this."""

import errno

import typer

REFUSED = 2
"""Exit status of a command that was refused; typer gives it to wrong words too."""
MISSING = 1
"""Exit status of a command that names what is not there."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
"""What a disk says that takes no more: nobody has asked for anything wrong."""
FORBIDDEN = (errno.EACCES, errno.EPERM)
"""What it says to a user whose file it is not."""
FAILURE = 1
"""Exit status of a command that was right and did not go well."""


def refusal(message: str, status: int = REFUSED) -> typer.Exit:
    """Say why not; returns what to raise."""
    typer.echo(f"sats: {message}", err=True)
    return typer.Exit(status)
