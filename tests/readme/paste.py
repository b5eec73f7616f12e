"""`make readme`: run the README's examples on a fresh service and paste what they answer."""

import shutil
import sys
import tempfile
from pathlib import Path

from demo.service import serving
from tests.readme.examples import README, Session, find_examples, pasted
from tests.readme.settings_table import replace_table

DEMO_OUTPUT = README.parent / "demo-output"


def main() -> None:
    """Rewrite README.md; takes some minutes, as it trains what the examples train."""
    if not (DEMO_OUTPUT / "step.zip").exists():
        sys.exit("the examples use the demo's pictures: run `make demo` first")
    text = replace_table(README.read_text())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(README, folder)
        shutil.copytree(
            DEMO_OUTPUT, folder / "demo-output", ignore=shutil.ignore_patterns("service")
        )
        with serving(folder / "service") as url:
            environment = {"SATS_DATA_DIR": str(folder / "service" / "data")}
            session = Session(url, folder, environment)
            README.write_text(_pasted_into(text, session))


def _pasted_into(text: str, session: Session) -> str:
    parts = []
    after = 0
    for example in find_examples(text):
        sys.stderr.write(f"$ {example.command}\n")
        printed = session.run(example)
        parts += [text[after : example.start], pasted(printed)]
        after = example.end
    rewritten = "".join([*parts, text[after:]])
    for old, new in session.given.items():
        rewritten = rewritten.replace(old, new)
    return rewritten


if __name__ == "__main__":
    main()
