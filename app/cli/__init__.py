"""`sats`: run the service, bring models in and out, make keys, clean up."""

import typer

from app.cli.audit import audit
from app.cli.collecting import gc
from app.cli.common import check_settings
from app.cli.demo import demo
from app.cli.examining import doctor
from app.cli.exporting import export
from app.cli.importing import import_model
from app.cli.keys import keys
from app.cli.running import api, migrate, serve, worker

cli = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, callback=check_settings)
cli.command()(serve)
cli.command()(api)
cli.command()(worker)
cli.command()(migrate)
cli.command("import")(import_model)
cli.command()(export)
cli.command()(gc)
cli.command()(doctor)
cli.command()(demo)
cli.add_typer(keys, name="keys")
cli.add_typer(audit, name="audit")
