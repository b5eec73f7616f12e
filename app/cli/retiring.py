"""`sats retire`: a version without some classes, and what was measured of them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.calling import Url, model_and_number, service
from app.cli.completing import complete_version
from app.cli.printing import Form, Output
from app.cli.refusing import refusal
from app.cli.sending import sending
from app.cli.submitting import Wait, finish, read_spec


class Depth(StrEnum):
    """How thoroughly classes are taken away."""

    HIDE = "hide"
    UNLEARN = "unlearn"
    FORGET = "forget"


def retire(
    named: Annotated[
        str,
        typer.Argument(
            metavar="MODEL@N",
            help="The model and the version that the classes are taken from.",
            autocompletion=complete_version,
        ),
    ],
    classes: Annotated[list[str], typer.Argument(metavar="CLASS...", help="What goes.")],
    depth: Annotated[
        Depth,
        typer.Option(
            help="hide: the classes' rows go; unlearn: the features are trained away from them "
            "too; forget: and kept pictures that are labelled for them are deleted, once the new "
            "version is live."
        ),
    ],
    dataset: Annotated[
        Path | None,
        typer.Option(
            help="Labelled pictures of what goes, what stays, or both: a folder or a zip.",
            exists=True,
        ),
    ] = None,
    spec: Annotated[str, typer.Option(help="The rest of the task's spec, as JSON.")] = "{}",
    wait: Wait = False,
    url: Url = None,
    output: Output = Form.TABLE,
) -> None:
    """Make a version without some classes; `sats show` then says what was measured of them.

    The version itself stays, and knows them. Exits as `sats submit` does.
    """
    model, number = model_and_number(named)
    if number is None:
        raise refusal(f"{named}: name the version, as in {model}@2")
    given: dict[str, Any] = read_spec(spec, "model", "number", "classes", "depth")
    with service(url) as client:
        with sending() as told:
            task = client.retire(
                model, number, classes, depth=str(depth), dataset=dataset, **given, progress=told
            )
        finish(task, wait, output)
