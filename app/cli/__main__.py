"""`python -m app.cli` is `sats`."""

import gc


def main() -> None:
    """Run a command."""
    gc.disable()  # what is imported stays
    from app.cli import cli

    gc.freeze()
    gc.enable()
    cli()


main()
