"""`sats push`: a version to a repository of the Hugging Face hub."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from app.cli.calling import Exit, model_and_number, service
from app.cli.common import database
from app.cli.hub import HubError, push_files
from app.cli.printing import AsJson, print_json
from app.cli.refusing import MISSING, refusal
from app.db import read_session
from app.registry.files import version_file
from app.registry.service import lineage, served_version
from app.settings import get_settings
from app.storage import open_store
from sats_core.data.names import printable
from sats_core.scratch import Scratch

CARD, PROCESSOR, FEATURES = "README.md", "preprocessor_config.json", "features.safetensors"
_FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


@dataclass(frozen=True)
class Pushed:
    """A version's files, and what its card says beside its own text.

    Attributes:
        model: the model's name.
        number: the version's.
        line: numbers of the versions it was learned through, itself last.
        files: name -> where it lies.
    """

    model: str
    number: int
    line: Sequence[int]
    files: Mapping[str, Path]

    @property
    def is_hub_model(self) -> bool:
        """Whether `transformers` opens it."""
        return PROCESSOR in self.files


def push(
    version: Annotated[
        str, typer.Argument(metavar="MODEL[@N]", help="The model, and its version if not the live.")
    ],
    repository: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="The repository; made if it is not there.")
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Only where nobody else can see the repository.")
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File that holds the hub's token; default: HF_TOKEN, or `hf auth login`."
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="A running service to take it from. SATS_API_KEY is the key, else the one that "
            "`sats login` keeps for it."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Push a version to the Hugging Face hub, in one commit.

    Its files are those of the service's data on this machine, as `sats export` writes them; with
    --url those of a running service. What it keeps of training pictures for later
    steps is not pushed. HF_ENDPOINT names another hub.
    """
    name, number = model_and_number(version)
    token = None if token_file is None else _token(token_file)
    with _found(name, number, url) as found:
        files: dict[str, Path | bytes] = {
            file: path for file, path in found.files.items() if file != FEATURES
        }
        files[CARD] = card(found).encode()
        said = f"version {found.number} of {found.model}"
        try:
            where = push_files(repository, files, said, token, private=private)
        except HubError as error:
            raise refusal(printable(str(error)), error.status) from error
        if as_json:
            pushed = {"model": found.model, "version": found.number, "repository": repository}
            print_json({**pushed, "files": sorted(files), "commit_url": where})
        else:
            typer.echo(f"{said}: {len(files)} files at {where}")
        if not found.is_hub_model:
            typer.echo(
                "its backbone is no mit_*: transformers does not open it, model.onnx runs anywhere",
                err=True,
            )


def card(found: Pushed) -> str:
    """Return the repository's page: the version's own card, its lineage, and no licence."""
    text = found.files[CARD].read_text("utf-8") if CARD in found.files else ""
    front = _FRONT.match(text)
    lines = front[1].splitlines() if front else ["tags: [semantic-segmentation, sats]"]
    if found.is_hub_model:
        lines = ["library_name: transformers", "pipeline_tag: image-segmentation", *lines]
    body = text[front.end() :] if front else text
    line = " -> ".join(map(str, found.line))
    return "\n".join(
        [
            "---",
            *lines,
            "---",
            body.rstrip(),
            "",
            "## Lineage",
            "",
            f"Version {found.number} of model `{found.model}`, learned through versions {line}.",
            "",
            "## Licence",
            "",
            "None is stated: that is for whoever pushed it. The first weights and the pictures it "
            "learned from may bring conditions of their own.",
            "",
        ]
    )


@contextmanager
def _found(name: str, number: int | None, url: str | None) -> Iterator[Pushed]:
    if url is None:
        yield _of_this_machine(name, number)
        return
    with Scratch("push") as made:
        with service(url) as client:
            number = number or client.live(name).version
            found = client.export(name, number, made)
        files = {file.name: made / file.name for file in found.files}
        yield Pushed(name, number, found.lineage, files)


def _of_this_machine(name: str, number: int | None) -> Pushed:
    with database() as engine:
        blobs = open_store(get_settings(), engine)
        with read_session(engine) as session:
            found = served_version(session, name, number)
            line = list(lineage(session, found).values())
        files = {file: version_file(blobs, found, file) for file in found.files}
    return Pushed(name, found.number, line, files)


def _token(file: Path) -> str:
    try:
        token = file.read_text().strip()
    except (OSError, ValueError) as error:
        raise refusal(f"{file} cannot be read: {error}", MISSING) from error
    # It becomes a header; what is refused there would be printed.
    if not re.fullmatch(r"[!-~]+", token):
        raise refusal(f"{file} holds no token", Exit.ACCESS)
    return token
