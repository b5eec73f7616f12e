"""`python -m app.cli` is `sats`."""

from app.cli import cli

cli()
