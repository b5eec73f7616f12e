"""A disk under the blob store that is slow or fails, for real processes of the service.

Python imports this module at its start where its folder is on PYTHONPATH. As long as the file that
FAULTY_STORE names is there, it says what a sync below FAULTY_STORE_ROOT does:
`{"seconds": 0.5, "errno": 28}`.
"""

import json
import os
import time

_FILE = os.environ.get("FAULTY_STORE", "")
_ROOT = os.environ.get("FAULTY_STORE_ROOT", "")
_sync = os.fsync


def _faulty_sync(handle: int) -> None:
    try:
        with open(_FILE) as file:  # noqa: PTH123 - pathlib would cost every process its import
            fault = json.load(file)
        below = os.readlink(f"/proc/self/fd/{handle}").startswith(_ROOT)  # noqa: PTH115
    except (OSError, ValueError):
        below = False
    if below:
        time.sleep(fault["seconds"])
        if fault["errno"]:
            raise OSError(fault["errno"], os.strerror(fault["errno"]))
    _sync(handle)


if _FILE:
    os.fsync = _faulty_sync
