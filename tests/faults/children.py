"""The training processes of a service, as the machine sees them."""

import os
import re
from collections import defaultdict
from pathlib import Path

_JOB = re.compile(r"/work/([0-9a-f-]{36})/job\.json$")


def training_children(data_dir: Path) -> dict[str, set[int]]:
    """Return the process groups that train, by task: a child has a group of its own.

    One that is dying has given its memory back already, and its command line with it.
    """
    found: defaultdict[str, set[int]] = defaultdict(set)
    root = str(data_dir.resolve())
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            last = (folder / "cmdline").read_bytes().rstrip(b"\0").rsplit(b"\0", 1)[-1].decode()
            job = _JOB.search(last)
            if job and last.startswith(root):
                found[job.group(1)].add(os.getpgid(int(folder.name)))
        except (OSError, UnicodeDecodeError):
            continue  # it ended meanwhile
    return dict(found)
