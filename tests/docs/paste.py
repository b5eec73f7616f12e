"""`make readme`: write the table of settings, run every call and paste what it answers."""

import shutil
import sys
import tempfile
from pathlib import Path

from demo.service import serving
from tests.docs.examples import CALLS, ROOT, SETTINGS, Session, find_examples, pasted
from tests.docs.settings_table import replace_table

DEMO_OUTPUT = ROOT / "demo-output"


def main() -> None:
    """Rewrite `docs/settings.md` and `docs/calls.md`; takes the minutes that the calls train."""
    if not (DEMO_OUTPUT / "step.zip").exists():
        sys.exit("the examples use the demo's pictures: run `make demo` first")
    SETTINGS.write_text(replace_table(SETTINGS.read_text()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(ROOT / "README.md", folder)  # one example posts it
        shutil.copytree(
            DEMO_OUTPUT, folder / "demo-output", ignore=shutil.ignore_patterns("service")
        )
        with serving(folder / "service") as url:
            environment = {"SATS_DATA_DIR": str(folder / "service" / "data")}
            session = Session(url, folder, environment)
            CALLS.write_text(_pasted_into(CALLS.read_text(), session))


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
