"""A disk under the blob store that is slow or fails, for real processes of the service.

Python imports this module at its start where its folder is on PYTHONPATH. As long as the file that
FAULTY_STORE names is there, it says what a write below FAULTY_STORE_ROOT does as it is synced, or a
file there as it is opened to be read: `{"of": "writes", "seconds": 0.5, "errno": 28}`, or "reads".
"""

import builtins
import io
import json
import os
import time

_FILE = os.environ.get("FAULTY_STORE", "")
_ROOT = os.environ.get("FAULTY_STORE_ROOT", "")
_sync, _open = os.fsync, builtins.open


def _suffer(what, path):
    if not path.startswith(_ROOT):
        return
    try:
        with _open(_FILE) as file:
            fault = json.load(file)
    except (OSError, ValueError):
        return
    if fault["of"] == what:
        time.sleep(fault["seconds"])
        if fault["errno"]:
            raise OSError(fault["errno"], os.strerror(fault["errno"]))


def _faulty_sync(handle):
    try:
        path = os.readlink(f"/proc/self/fd/{handle}")  # noqa: PTH115 - pathlib costs its import
    except OSError:
        path = ""
    _suffer("writes", path)
    _sync(handle)


def _faulty_open(file, mode="r", *args, **kwargs):
    if not isinstance(file, int) and not set(mode) & set("wax+"):
        _suffer("reads", os.path.abspath(os.fsdecode(file)))  # noqa: PTH100
    return _open(file, mode, *args, **kwargs)


if _FILE:
    os.fsync = _faulty_sync
    builtins.open = io.open = _faulty_open
