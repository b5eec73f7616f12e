"""`scale.json`: what several commands measured of many processes, a section each."""

import json
from pathlib import Path
from typing import Any

from benchmarks.machine import commit, hardware, machine_load

NAME = "scale.json"


def write_section(results: Path, name: str, command: str, found: dict[str, Any]) -> None:
    """Put a section into the record; those of other commands stay as they are.

    Args:
        results: folder of the record.
        name: of the section.
        command: that measured it.
        found: what it measured.
    """
    path = results / NAME
    record = json.loads(path.read_text()) if path.exists() else {}
    stamp = {"command": command, "commit": commit(), "hardware": hardware("cpu"), **machine_load()}
    record[name] = stamp | found
    path.write_text(json.dumps(dict(sorted(record.items())), indent=1) + "\n")
